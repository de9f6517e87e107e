/**
 * The fetch that openid-client uses. It corrects responses of real token endpoints that a strict parser would refuse: by then a
 * rotating refresh token is already spent, and refusing the response would lose the session.
 */

import type { CustomFetch } from "openid-client";
import { parseJsonObject } from "../../oauth/json.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { boundedText } from "./bounded-response.ts";

/** Under which name an answer has an ID token that nothing is decided by. */
export const UNVERIFIED_ID_TOKEN = "unverified_id_token";

// An overloaded provider answers late. No caller waits that long: they got a 503 before.
const REFRESH_PATIENCE_MS = 120_000;

export function tokenEndpointFetch({ fetch = globalThis.fetch }: Pick<Runtime, "fetch">): CustomFetch {
  return async (url, options) => {
    const grantType = options.body instanceof URLSearchParams ? options.body.get("grant_type") : null;
    // An aborted refresh may have been answered all the same, with a refresh token that would be lost.
    const patience = grantType === "refresh_token" && { signal: AbortSignal.timeout(REFRESH_PATIENCE_MS) };
    const answered = await fetch(url, { ...(options as RequestInit), ...patience });
    const text = await boundedText(answered);
    const { status, statusText, headers: sent } = answered;
    const headers = options.body instanceof URLSearchParams ? withoutChallenge(sent) : new Headers(sent);
    if (grantType !== null && isBareRefusal(status, text ?? ""))
      return Response.json({ error: "invalid_grant" }, { status });
    const body = grantType !== null && status === 200 ? mended(text ?? "", grantType) : text;
    return new Response(body, { status, statusText, headers });
  };
}

/** RFC 6749 §5.2 has a challenge beside the error. openid-client would report the challenge, and not the error. */
function withoutChallenge(sent: Headers): Headers {
  const headers = new Headers(sent);
  headers.delete("www-authenticate");
  return headers;
}

/** What real providers send in a successful response and a strict parser would refuse. */
function mended(text: string, grantType: string): string {
  const body = parseJsonObject(text);
  if (body === undefined) return text;
  for (const name of ["refresh_token", "id_token", "scope"]) if (body[name] === null) delete body[name];
  if (body.refresh_token === "") delete body.refresh_token;
  if (Array.isArray(body.scope)) body.scope = body.scope.join(" ");
  body.token_type ??= "bearer";
  const seconds = Number(body.expires_in);
  // Missing, zero, negative or no number at all: unknown, which is what leaving it out means.
  if (Number.isFinite(seconds) && seconds > 0) body.expires_in = Math.floor(seconds);
  else delete body.expires_in;
  // Who the user is was settled at sign-in; an ID token that does not verify must not cost the refresh token.
  if (grantType !== "authorization_code" && body.id_token !== undefined) {
    body[UNVERIFIED_ID_TOKEN] = body.id_token;
    delete body.id_token;
  }
  return JSON.stringify(body);
}

/** Some providers refuse a token with 400 and nothing else. */
export const isBareRefusal = (status: number, text: string): boolean => status === 400 && text.trim() === "";
