/** Observes what this server waits for: store, identity provider, tools, resources and prompts. */

import { UpstreamRefusal } from "../identity/identity-provider.ts";
import { OAuthError, UnavailableError } from "../oauth/errors.ts";
import type { Metrics } from "./metrics.ts";

export interface Operation {
  of: "store" | "upstream" | "tool" | "resource" | "prompt";
  /** One that is written in the code or declared by the operator. */
  name: string;
  /** Which identity provider it is at, by its name in the configuration. */
  identityProvider?: string;
}

/** Runs and observes `work`; what it returns or throws is passed on unchanged. */
export type Observe = <T>(operation: Operation, work: () => Promise<T>) => Promise<T>;

export function timeOperations({ store, upstream, callSeconds }: Metrics): Observe {
  function record({ of, name, identityProvider = "" }: Operation, outcome: string, seconds: number): void {
    if (of === "store") store.observe({ operation: name, outcome }, seconds);
    else if (of === "upstream")
      upstream.observe({ operation: name, outcome, provider: identityProvider }, seconds);
    else callSeconds.observe({ kind: of, tool: name }, seconds);
  }
  return async (operation, work) => {
    const startedAt = performance.now();
    let outcome = "ok";
    try {
      return await work();
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      record(operation, outcome, (performance.now() - startedAt) / 1000);
    }
  };
}

function outcomeOf(error: unknown): "refused" | "unavailable" | "failed" {
  if (error instanceof UpstreamRefusal) return "refused";
  return error instanceof UnavailableError ? "unavailable" : "failed";
}

/** The kind of an error without its message, which may quote what was sent. */
export function errorType(error: unknown): string {
  if (error instanceof OAuthError) return error.reason;
  return error instanceof Error ? error.name : "unknown";
}
