/** Authenticates the opaque access tokens that this server issued for a resource. */
import { looksLikeToken } from "../../grants/opaque-token.ts";
import { verifyAccessToken } from "../access-token.ts";
import type { TokenAuthenticator } from "../token-authenticator.ts";

export function opaqueTokenAuthenticator(
  dependencies: Parameters<typeof verifyAccessToken>[1],
): TokenAuthenticator {
  return {
    claims: (token) => looksLikeToken("access", token),
    verify: (token) => verifyAccessToken(token, dependencies),
  };
}
