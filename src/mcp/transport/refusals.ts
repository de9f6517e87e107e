/** How /mcp answers a call that it does not serve, or not to its end, while nothing has been sent yet. */

import type { ServerResponse } from "node:http";
import { requestFacts } from "../../http/request-facts.ts";
import { sendJson } from "../../http/send-json.ts";
import { union } from "../../oauth/scope.ts";
import {
  type ChallengedResource,
  insufficientAuthentication,
  insufficientScope,
  invalidToken,
} from "../../resource/bearer-authentication.ts";
import type { Caller } from "../../resource/caller.ts";
import { type Ending, errorMessage } from "../server/ending.ts";

export interface Challenge {
  /** Which is called. */
  resource: ChallengedResource;
}

/** @param ids of the requests that are not answered */
export function refuseStopped(
  res: ServerResponse,
  ending: Ending,
  { scopes }: Caller,
  ids: readonly unknown[],
  { resource }: Challenge,
): void {
  const { needs } = ending;
  if (needs === undefined) sendErrors(res, ending, ids);
  else if ("token" in needs) invalidToken(res, resource, ending);
  else if ("authentication" in needs)
    insufficientAuthentication(res, resource, scopes, {
      required: needs.authentication,
      message: ending.message,
    });
  else insufficientScope(res, resource, union(scopes, needs.scopes), needs.scopes);
}

/** A stream and a notification ask for nothing: MCP 2025-11-25, Streamable HTTP, has a status say that it is refused. */
function sendErrors(res: ServerResponse, ending: Ending, ids: readonly unknown[]): void {
  const refused = ending.reason === "call_too_long" ? 504 : 403;
  const errors = (ids.length > 0 ? ids : [null]).map((id) => errorMessage(id, ending));
  sendJson(res, ids.length > 0 ? res.statusCode : refused, errors.length === 1 ? errors[0] : errors);
}

/** Where nothing says how long. */
export const RETRY_AFTER_SECONDS = 5;

const CROWDED = {
  /** RFC 6585 §4. */
  grant: {
    status: 429,
    reason: "too_many_running_calls",
    message: "Too many calls of this session are running at once. Wait for one to end, and call again.",
  },
  process: {
    status: 503,
    reason: "too_many_calls_in_process",
    message: "This server is running as many calls as it can. Call again in a moment.",
  },
} as const;

/** @param whose places are all taken */
export function refuseCrowded(
  res: ServerResponse,
  whose: keyof typeof CROWDED,
  ids: readonly unknown[],
): void {
  const { status, reason, message } = CROWDED[whose];
  requestFacts(res).reason = reason;
  res.setHeader("Retry-After", String(RETRY_AFTER_SECONDS));
  sendJson(res, status, errorMessage(ids.length === 1 ? ids[0] : null, { reason, message }));
}
