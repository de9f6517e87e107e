/** Observes what this server waits for: store, identity provider, tools, resources and prompts. */

import { UpstreamRefusal } from "../identity/identity-provider.ts";
import { BackendError } from "../mcp/backends/backend.ts";
import { isWithheld } from "../mcp/transport/withheld.ts";
import { OAuthError, UnavailableError } from "../oauth/errors.ts";
import type { Metrics } from "./metrics.ts";

export interface Operation {
  of: "store" | "upstream" | "backend" | "tool" | "resource" | "prompt";
  /** One that is written in the code or declared by the operator. */
  name: string;
  /** Which identity provider it is at, by its name in the configuration. */
  identityProvider?: string;
  /** Of a request to a backend: its HTTP method. */
  method?: string;
  /** Of which protected resource a tool, resource or prompt is, by its path. */
  protectedResource?: string;
}

/** Runs and observes `work`; what it returns or throws is passed on unchanged. */
export type Observe = <T>(operation: Operation, work: () => Promise<T>) => Promise<T>;

export function timeOperations({ store, upstream, backends, callSeconds }: Metrics): Observe {
  function record({ of, name, ...more }: Operation, outcome: string, seconds: number): void {
    const { identityProvider: provider = "", method = "", protectedResource = "" } = more;
    if (of === "store") store.observe({ operation: name, outcome }, seconds);
    else if (of === "upstream") upstream.observe({ operation: name, outcome, provider }, seconds);
    else if (of === "backend") backends.observe({ backend: name, method, outcome }, seconds);
    else callSeconds.observe({ kind: of, tool: name, protected_resource: protectedResource }, seconds);
  }
  return async (operation, work) => {
    const startedAt = performance.now();
    let outcome = "ok";
    try {
      return await work();
    } catch (error) {
      outcome = operation.of === "backend" ? outcomeAtBackend(error) : outcomeOf(error);
      throw error;
    } finally {
      record(operation, outcome, (performance.now() - startedAt) / 1000);
    }
  };
}

/** One word for each reason: an operator has to know which. */
function outcomeAtBackend(error: unknown): BackendError["reason"] | "withheld" | "aborted" | "failed" {
  if (error instanceof BackendError) return error.reason;
  if (isWithheld(error)) return "withheld";
  return error instanceof Error && error.name === "AbortError" ? "aborted" : "failed";
}

function outcomeOf(error: unknown): "refused" | "unavailable" | "failed" {
  if (error instanceof UpstreamRefusal) return "refused";
  return error instanceof UnavailableError ? "unavailable" : "failed";
}

/** The kind of an error without its message, which may quote what was sent. */
export function errorType(error: unknown): string {
  if (error instanceof OAuthError || error instanceof BackendError) return error.reason;
  return error instanceof Error ? error.name : "unknown";
}
