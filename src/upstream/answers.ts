/** What a failure at the provider means: a definite refusal, or an outage that nobody is signed out for. */
import * as oidc from "openid-client";
import { UnavailableError } from "../oauth/errors.ts";
import { UpstreamRefusal } from "./identity-provider.ts";

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
    const code = refusalCode(cause);
    if (code !== undefined) throw new UpstreamRefusal(code, { description: descriptionOf(cause), cause });
    throw new UnavailableError("identity provider", { reason: "identity_provider_failed", cause });
  }
}

function descriptionOf(error: unknown): string | undefined {
  const isAnswer =
    error instanceof oidc.ResponseBodyError || error instanceof oidc.AuthorizationResponseError;
  return isAnswer ? error.error_description : undefined;
}

/** Codes that speak of the user, or of what the user allowed, whatever the status. */
export const SPEAKS_OF_THE_USER = new Set([
  "invalid_grant",
  "consent_required",
  "interaction_required",
  "login_required",
  "mfa_required",
]);

// No user's session ends for what is wrong with our own settings …
function rejectsUs(error: unknown): boolean {
  if (!(error instanceof oidc.ResponseBodyError)) return false;
  // RFC 6749 §5.2 has 401 for a failed client authentication only; Auth0 says it of a wrong secret, as `access_denied`.
  const isUnauthorized = error.status === 401 && !SPEAKS_OF_THE_USER.has(error.error);
  return isUnauthorized || ["invalid_client", "unauthorized_client"].includes(error.error);
}

// … nor for what is the provider's fault.
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
  if (error instanceof oidc.AuthorizationResponseError) return error.error;
  if (!(error instanceof oidc.ClientError)) return undefined;
  return INVALID_MESSAGE.has(error.code ?? "") ? "invalid_response" : undefined;
}
