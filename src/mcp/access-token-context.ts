/** Who is calling, for whoever is asked to act: set by the bearer check, read by tool handlers. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { AccessToken } from "../tokens/access-token.ts";

export interface Caller {
  token: AccessToken;
  /** The user's own access token at the identity provider, renewed if need be. */
  upstreamAccessToken(): Promise<string>;
}

const callers = new AsyncLocalStorage<Caller>();

/**
 * The verified access token of the request being handled.
 * @throws Error outside of an authenticated request, so that no code path can mistake "nobody" for somebody.
 */
export function getAccessToken(): AccessToken {
  return caller("getAccessToken").token;
}

/**
 * The user's own access token at the identity provider, for calling an API in their name; renewed if it is about to
 * end. Send it to the API that it is for (its audience), never back to the MCP client.
 * @throws OAuthError `invalid_grant` if the user's sign-in has ended there; UnavailableError on an outage; Error outside
 * of an authenticated request
 */
export async function getUpstreamAccessToken(): Promise<string> {
  return await caller("getUpstreamAccessToken").upstreamAccessToken();
}

function caller(asked: string): Caller {
  const found = callers.getStore();
  if (found === undefined)
    throw new Error(
      `${asked}() was called outside of an authenticated request: call it inside a tool's run().`,
    );
  return found;
}

/** Runs `work`, and everything it starts, on behalf of `caller`. */
export function withCaller<T>(caller: Caller, work: () => T): T {
  return callers.run(caller, work);
}
