/**
 * `Mcp-Session-Id` of the 2025 generation: what a client said of itself when it introduced itself, sealed, so that any
 * replica knows it without keeping anything. It opens nothing: who is calling says the access token alone. It is its principal's
 * and not their grant's: a client that had to sign them in again goes on with the session that it has.
 */
import type { ClientCapabilities } from "@modelcontextprotocol/server";
import { z } from "zod";
import { type Principal, type Requester, subjectOf } from "../../access/principal.ts";
import type { StoredUsers } from "../../access/stored-users.ts";
import type { Sealer } from "../../storage/sealer.ts";

export interface SessionIds {
  issue(capabilities: unknown, principal: Principal): string;
  /** What the client of this principal can be asked; nothing, if the id is not one of ours, or another principal's. */
  capabilitiesOf(sessionId: string | undefined, principal: Principal): ClientCapabilities;
  /**
   * A session id of a backend, in the form in which its client has it. A session has streams and answers in it: another client
   * of the same principal, which may have fewer scopes, is another caller.
   */
  seal(backendsId: string, backend: string, caller: Requester): string;
  /** What the backend calls it; undefined if it is another caller's, or of another backend. */
  open(sessionId: string, backend: string, caller: Requester): string | undefined;
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

export function sessionIds(sealer: Sealer, users: Pick<StoredUsers, "unique">): SessionIds {
  const contextOf = (principal: Principal) => `mcp-session:${nameOf(principal, users)}`;
  const contextAt = (backend: string, { principal, client }: Requester) =>
    `backend-session:${[backend, client.id, nameOf(principal, users)].join("\n")}`;
  return {
    issue(capabilities, principal) {
      const { data = {} } = Capabilities.safeParse(capabilities);
      return sealer.seal(JSON.stringify(data), contextOf(principal));
    },
    capabilitiesOf(sessionId, principal) {
      const text = sessionId === undefined ? undefined : sealer.open(sessionId, contextOf(principal));
      return text === undefined ? {} : (JSON.parse(text) as ClientCapabilities);
    },
    seal: (backendsId, backend, caller) => sealer.seal(backendsId, contextAt(backend, caller)),
    open: (sessionId, backend, caller) => sealer.open(sessionId, contextAt(backend, caller)),
  };
}

/** No two principals have one name. That of the first provider's users is their `sub`, as in 0.1.0; none has a line break in it. */
function nameOf(principal: Principal, users: Pick<StoredUsers, "unique">): string {
  const { kind, issuer = "" } = principal;
  if (kind === "user") return users.unique(principal.issuer, principal.subject);
  return [kind, issuer, subjectOf(principal)].join("\n");
}
