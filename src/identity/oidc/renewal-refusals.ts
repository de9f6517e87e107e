/** Which error of a refresh is definite, and ends the grant. All others are outages, or faults of our registration. */
import { STATUS_CODES } from "node:http";
import * as oidc from "openid-client";
import { UnavailableError } from "../../oauth/errors.ts";
import { UpstreamRefusal } from "../identity-provider.ts";
import { NOT_SET_UP, outageOf, SPEAKS_OF_THE_USER } from "./answers.ts";

/**
 * Lets only a refusal pass that ends a grant.
 * @throws UpstreamRefusal; UnavailableError for everything else
 */
export async function onlyDefinite<T>(refreshed: Promise<T>): Promise<T> {
  try {
    return await refreshed;
  } catch (cause) {
    if (!(cause instanceof UpstreamRefusal)) throw cause;
    const { code } = cause;
    const isOurs = isOurMistake(cause);
    // Absent where the answer was a good one that our own check refused.
    const status = cause.cause instanceof oidc.ResponseBodyError ? cause.cause.status : undefined;
    if (status !== undefined && !isOurs && endsGrant(status, code)) throw cause;
    throw isOurs
      ? new UnavailableError("identity provider", {
          reason: "upstream_refresh_misconfigured",
          cause,
          description: NOT_SET_UP,
          untilRepaired: true,
        })
      : outageOf("upstream_refresh_failed", cause);
  }
}

/**
 * RFC 6749 §5.2, and the codes that providers add to it (§8.5): repeating the refresh would not help. With 401 it is the client
 * that is refused, unless the code concerns the user.
 */
function endsGrant(status: number, code: string): boolean {
  if (SPEAKS_OF_THE_USER.has(code)) return true;
  return (status === 400 || status === 403) && isOAuthCode(code) && !passesByItself(code);
}

const PHRASES = new Set(Object.values(STATUS_CODES).map(asCode));

/** Gateways and application servers write the phrase of the HTTP status there: "Forbidden", "bad_request". */
export function isOAuthCode(code: string): boolean {
  return /^[a-z][a-z0-9_]*$/.test(code) && !PHRASES.has(code);
}

function asCode(phrase = ""): string {
  return phrase.toLowerCase().replaceAll(/\W+/g, "_");
}

/**
 * Of this server's registration or request: repaired there, or in our settings, and then every session goes on. A secret that
 * the provider does not look for where it was sent is `invalid_request` (RFC 6749 §5.2), as a refresh token is elsewhere.
 */
export function isOurMistake({ code, description = "" }: UpstreamRefusal): boolean {
  if (code === "invalid_request") return SPEAKS_OF_CREDENTIALS.test(description);
  return /(^|_)client(_|$)|^unsupported_|dpop/.test(code) || code === "invalid_target";
}

const SPEAKS_OF_CREDENTIALS = /client[ _-]?(id|secret|authentication|credentials|assertion)/i;

/**
 * Throttling and outages, which most say with 429 and 5xx, and some with 400 or 403: Salesforce's hiccups are
 * `unknown_error`, "retry your request".
 */
export function passesByItself(code: string): boolean {
  return PASSING.some((pattern) => pattern.test(code));
}

const PASSING = [
  /rate_?limit|limit_?(exceeded|reached)|throttl|quota|too_many|slow_down/,
  /try_again|retry|temporar|unavailable|maintenance|overload|busy|time_?out/,
  /(server|internal|unknown|unexpected|gateway|upstream|backend|network|connection)_(error|failure)/,
];
