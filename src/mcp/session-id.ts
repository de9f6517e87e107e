/**
 * `Mcp-Session-Id` of the 2025 generation: what a client said of itself when it introduced itself, sealed, so that any
 * replica knows it without keeping anything. It opens nothing: who is calling says the access token alone.
 */
import type { ClientCapabilities } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { Sealer } from "../storage/sealer.ts";

export interface SessionIds {
  issue(capabilities: unknown, grantId: string): string;
  /** What the client of this grant can be asked; nothing, if the id is not one of ours, or another grant's. */
  capabilitiesOf(sessionId: string | undefined, grantId: string): ClientCapabilities;
}

/** What matters here; the rest would only make every request longer. */
const Capabilities = z.object({
  elicitation: z
    .object({ form: z.object({}).optional(), url: z.object({}).optional() })
    .optional()
    .catch(undefined),
  sampling: z
    .object({ tools: z.object({}).optional() })
    .optional()
    .catch(undefined),
  roots: z.object({}).optional().catch(undefined),
});

export function sessionIds(sealer: Sealer): SessionIds {
  const contextOf = (grantId: string) => `mcp-session:${grantId}`;
  return {
    issue(capabilities, grantId) {
      const { data = {} } = Capabilities.safeParse(capabilities);
      return sealer.seal(JSON.stringify(data), contextOf(grantId));
    },
    capabilitiesOf(sessionId, grantId) {
      const text = sessionId === undefined ? undefined : sealer.open(sessionId, contextOf(grantId));
      return text === undefined ? {} : (JSON.parse(text) as ClientCapabilities);
    },
  };
}
