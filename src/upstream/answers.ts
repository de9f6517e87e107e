/** What a failure at the provider means: a definite refusal, or an outage that nobody is signed out for. */
import * as oidc from "openid-client";
import { UnavailableError } from "../oauth/errors.ts";
import { UpstreamRefusal } from "./identity-provider.ts";

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
        description:
          "This server is not set up correctly at its identity provider. Its operator has to repair that.",
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

/** What ends a grant for good; a provider says many other things when it is throttled, patched or misconfigured. */
const ENDS_A_GRANT = new Set([
  "invalid_grant",
  "access_denied",
  "consent_required",
  "interaction_required",
  "login_required",
]);

export async function onlyDefinite<T>(refreshed: Promise<T>): Promise<T> {
  try {
    return await refreshed;
  } catch (cause) {
    if (!(cause instanceof UpstreamRefusal) || ENDS_A_GRANT.has(cause.code)) throw cause;
    throw new UnavailableError("identity provider", { reason: "upstream_refresh_failed", cause });
  }
}

// No user's session ends for what is wrong with our own settings …
function rejectsUs(error: unknown): boolean {
  if (!(error instanceof oidc.ResponseBodyError)) return false;
  // RFC 6749 §5.2 has 401 for a failed client authentication only; Auth0 says it of a wrong secret, as `access_denied`.
  const isUnauthorized = error.status === 401 && error.error !== "invalid_grant";
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
