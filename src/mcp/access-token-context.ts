/** Who is calling, for whoever is asked to act: set by the bearer check, read by tool handlers. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { AccessToken } from "../tokens/access-token.ts";

const current = new AsyncLocalStorage<AccessToken>();

/**
 * The verified access token of the request being handled.
 * @throws Error outside of an authenticated request, so that no code path can mistake "nobody" for somebody.
 */
export function getAccessToken(): AccessToken {
  const token = current.getStore();
  if (token === undefined)
    throw new Error(
      "getAccessToken() was called outside of an authenticated request: call it inside a tool's run().",
    );
  return token;
}

/** Runs `work`, and everything it starts, on behalf of `token`. */
export function withAccessToken<T>(token: AccessToken, work: () => T): T {
  return current.run(token, work);
}
