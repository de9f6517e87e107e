/** What a failure at the provider means: a definite refusal, or an outage that nobody is signed out for. */

import * as oidc from "openid-client";
import { UnavailableError } from "../../oauth/errors.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { type RequiredAuthentication, requiredByError } from "../../oauth/required-authentication.ts";
import { UnacceptableAnswer, UpstreamRefusal } from "../identity-provider.ts";

/** For people, of what is refused because our own settings, or our registration there, are wrong. */
export const NOT_SET_UP =
  "This server is not set up correctly at its identity provider. Its operator has to repair that.";

/** Sorts every failure into a definite refusal or an outage; an unknown one is an outage, so that nobody is signed out. */
export async function answer<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (cause) {
    if (cause instanceof UpstreamRefusal || cause instanceof UnavailableError) throw cause;
    if (rejectsUs(cause))
      throw new UnavailableError("identity provider", {
        reason: "client_credentials_rejected",
        cause: new Error("the provider rejects this server's client id or secret: check them", { cause }),
        description: NOT_SET_UP,
        untilRepaired: true,
      });
    if (isUnacceptable(cause)) throw new UnacceptableAnswer("invalid_response", { cause });
    const code = refusalCode(cause);
    if (code !== undefined)
      throw new UpstreamRefusal(code, {
        description: descriptionOf(cause),
        required: requiredAuthentication(cause),
        cause,
      });
    throw outageOf("identity_provider_failed", cause);
  }
}

const AGAIN =
  "Try again in a moment. If it stays so, the operator of this server finds the reason in its log.";

/** What went wrong, for clients and people: nobody answered, or the answer was an error, or our own check refused it. */
export function outageOf(
  reason: ReasonCode,
  cause: unknown,
  more: { retryAfterSeconds?: number } = {},
): UnavailableError {
  const description = ofAnswer(cause);
  return new UnavailableError("identity provider", {
    reason,
    cause,
    ...more,
    ...(description !== undefined && { description: `${description} ${AGAIN}` }),
  });
}

const NOT_USABLE = "The identity provider's answer is not what this server can use.";

/** Undefined if there was none, or nobody knows. */
function ofAnswer(cause: unknown): string | undefined {
  const chain: unknown[] = [];
  for (let each = cause; each !== undefined; each = each instanceof Error ? each.cause : undefined)
    chain.push(each);
  const statuses = chain.flatMap((each) => statusOf(each) ?? []);
  const failed = statuses.find((status) => status >= 400);
  if (failed !== undefined) return `The identity provider answers with an error (HTTP ${failed}).`;
  return statuses.length > 0 || chain.some(isNotUsable) ? NOT_USABLE : undefined;
}

function statusOf(error: unknown): number | undefined {
  const hasStatus =
    error instanceof Response ||
    error instanceof oidc.ResponseBodyError ||
    error instanceof oidc.WWWAuthenticateChallengeError;
  return hasStatus ? error.status : undefined;
}

/** openid-client has a code for everything that it finds wrong with an answer; these say that there was none. */
function isNotUsable(error: unknown): boolean {
  const noAnswer = ["OAUTH_TIMEOUT", "OAUTH_ABORT"];
  if (error instanceof UnacceptableAnswer) return true;
  return error instanceof oidc.ClientError && error.code !== undefined && !noAnswer.includes(error.code);
}

function descriptionOf(error: unknown): string | undefined {
  const isAnswer =
    error instanceof oidc.ResponseBodyError || error instanceof oidc.AuthorizationResponseError;
  return isAnswer ? error.error_description : undefined;
}

/** draft-ietf-oauth-identity-assertion-authz-grant, "Step-Up Authentication": an error in the form of RFC 9470 §3. */
function requiredAuthentication(error: unknown): RequiredAuthentication | undefined {
  const isAsked =
    error instanceof oidc.ResponseBodyError && error.error === "insufficient_user_authentication";
  return isAsked ? requiredByError({ ...error.cause }) : undefined;
}

/** Codes that speak of the user, or of what the user allowed, whatever the status. */
export const SPEAKS_OF_THE_USER = new Set([
  "invalid_grant",
  "consent_required",
  "interaction_required",
  "login_required",
  "mfa_required",
]);

// An error of our own settings must not end a user's session …
function rejectsUs(error: unknown): boolean {
  if (!(error instanceof oidc.ResponseBodyError)) return false;
  // RFC 6749 §5.2 has 401 for a failed client authentication only; Auth0 says it of a wrong secret, as `access_denied`.
  const isUnauthorized = error.status === 401 && !SPEAKS_OF_THE_USER.has(error.error);
  return isUnauthorized || ["invalid_client", "unauthorized_client"].includes(error.error);
}

// … nor an error of the provider.
const NOT_DEFINITE = new Set(["server_error", "temporarily_unavailable", "slow_down"]);

const INVALID_MESSAGE = new Set([
  "OAUTH_JWT_CLAIM_COMPARISON_FAILED",
  "OAUTH_JWT_TIMESTAMP_CHECK_FAILED",
  "OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED",
  "OAUTH_INVALID_RESPONSE",
]);

function refusalCode(error: unknown): string | undefined {
  if (error instanceof oidc.ResponseBodyError) {
    return error.status >= 500 || error.status === 429 || NOT_DEFINITE.has(error.error)
      ? undefined
      : error.error;
  }
  return error instanceof oidc.AuthorizationResponseError ? error.error : undefined;
}

function isUnacceptable(error: unknown): boolean {
  return error instanceof oidc.ClientError && INVALID_MESSAGE.has(error.code ?? "");
}
