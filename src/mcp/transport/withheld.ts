/**
 * A request that does not leave, because its caller has no token of the kind that its backend wants. It is told as a tool of our own
 * would tell it: what the client can bring is asked for with 403 or 401, everything else is said in words to whoever called.
 */
import type { ServerResponse } from "node:http";
import { requestFacts } from "../../http/request-facts.ts";
import { sendJson } from "../../http/send-json.ts";
import { OAuthError, UnavailableError } from "../../oauth/errors.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import {
  InsufficientAuthenticationError,
  InsufficientScopeError,
} from "../../resource/access-token-context.ts";
import type { Caller } from "../../resource/caller.ts";
import type { Message } from "../authoring/features.ts";
import { errorMessage, type Lacking, lacks } from "../server/ending.ts";
import { denial } from "../server/invoke.ts";
import type { ChallengeOptions } from "../server/server.ts";
import { requestIds } from "./gate.ts";
import { type Challenge, refuseStopped } from "./refusals.ts";

export type Withheld = OAuthError | InsufficientScopeError | InsufficientAuthenticationError;

export function isWithheld(error: unknown): error is Withheld {
  return [OAuthError, InsufficientScopeError, InsufficientAuthenticationError].some(
    (kind) => error instanceof kind,
  );
}

/** For the audit log. */
export function withheldInAudit(error: Withheld) {
  if (error instanceof InsufficientScopeError) return denial(error.decision);
  if (error instanceof InsufficientAuthenticationError)
    return { decision: "deny", reason: error.reason } as const;
  return { decision: "allow", outcome: "error", reason: error.reason } as const;
}

export async function refuseWithheld(
  error: Withheld,
  said: readonly Message[],
  res: ServerResponse,
  caller: Caller,
  options: ChallengeOptions & Challenge,
): Promise<void> {
  const ids = requestIds(said);
  const reason = withheldInAudit(error).reason as ReasonCode;
  requestFacts(res).reason = reason;
  // An outage is nobody's sign-in: 401 would have the client go through one in vain.
  if (error instanceof UnavailableError)
    return send(
      503,
      ids.map((id) => errorMessage(id, { reason, message: error.message })),
    );
  const lacking = lackingIn(error);
  const isUnderstood =
    lacking !== undefined &&
    ("scopes" in lacking || (await options.mayChallenge(caller, lacking.authentication)));
  // Its session may have ended meanwhile, and its client have been told so.
  if (res.headersSent) return;
  if (isUnderstood) return refuseStopped(res, lacks(lacking, error.message), caller, ids, options);
  const answers = said
    .filter((message) => requestIds([message]).length > 0)
    .map(({ id, method }) =>
      method === "tools/call"
        ? toolError(id, error.message)
        : errorMessage(id, { reason, message: error.message }),
    );
  send(answers.length > 0 ? 200 : 403, answers);

  function send(status: number, answers: readonly object[]): void {
    if ("retryAfterSeconds" in error && error.retryAfterSeconds !== undefined)
      res.setHeader("Retry-After", String(error.retryAfterSeconds));
    const nobody = errorMessage(null, { reason, message: error.message });
    sendJson(res, status, answers.length > 1 ? answers : (answers[0] ?? nobody));
  }
}

function lackingIn(error: Withheld): Lacking | undefined {
  if (error instanceof InsufficientScopeError)
    return error.decision.because === "scopes" ? { scopes: error.decision.missing } : undefined;
  const mayTryAgain =
    error instanceof InsufficientAuthenticationError && error.reason === "insufficient_user_authentication";
  return mayTryAgain ? { authentication: error.required } : undefined;
}

/** MCP 2026-07-28 wants `resultType`; the revisions before it take no notice of what they do not know. */
function toolError(id: unknown, text: string): object {
  const result = { resultType: "complete", content: [{ type: "text", text }], isError: true };
  return { jsonrpc: "2.0", id, result };
}
