/**
 * What is found out about a request while it is handled, for its line in the log, its metrics and its span. Of what is not named
 * here nothing is kept. Never a token, a code or a secret.
 */
import type { ServerResponse } from "node:http";
import type { ReasonCode } from "../oauth/reason-codes.ts";

export interface RequestFacts {
  /** There from the beginning (request-log.ts). */
  requestId: string;
  /** W3C Trace Context. */
  trace_id?: string;
  /** Why it was refused. */
  reason?: ReasonCode;
  /** What came before that. */
  cause?: unknown;
  subject?: string;
  /** What the subject is … */
  principalKind?: string;
  /** … and who says so. */
  issuer?: string;
  clientId?: string;
  grantId?: string;
  grantType?: string;
  /** Of a sign-in: absent where a client waits for it. */
  purpose?: "connections";
  /** The URI of the protected resource (RFC 9728) that it was sent to. */
  protectedResource?: string;
  mcpMethod?: string;
  tool?: string;
  /** Of MCP: what was read. */
  resource?: string;
  prompt?: string;
}

/** To be read and written. They are kept where express has its `res.locals`, which is typed as anything. */
export function requestFacts(res: ServerResponse & { locals?: unknown }): RequestFacts {
  res.locals ??= Object.create(null);
  return res.locals as RequestFacts;
}
