/**
 * `Mcp-Session-Id` of the 2025 generation: what a client said of itself when it introduced itself, sealed, so that any
 * replica knows it without keeping anything. It opens nothing: who is calling says the access token alone. It is its user's
 * and not their grant's: a client that had to sign them in again goes on with the session that it has.
 */
import type { ClientCapabilities } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { Sealer } from "../../storage/sealer.ts";

export interface SessionIds {
  issue(capabilities: unknown, subject: string): string;
  /** What the client of this user can be asked; nothing, if the id is not one of ours, or another user's. */
  capabilitiesOf(sessionId: string | undefined, subject: string): ClientCapabilities;
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
  const contextOf = (subject: string) => `mcp-session:${subject}`;
  return {
    issue(capabilities, subject) {
      const { data = {} } = Capabilities.safeParse(capabilities);
      return sealer.seal(JSON.stringify(data), contextOf(subject));
    },
    capabilitiesOf(sessionId, subject) {
      const text = sessionId === undefined ? undefined : sealer.open(sessionId, contextOf(subject));
      return text === undefined ? {} : (JSON.parse(text) as ClientCapabilities);
    },
  };
}
