/** Authenticates the opaque access tokens that this server issued for a resource. */
import { looksLikeOurs } from "../../grants/opaque-token.ts";
import { verifyAccessToken } from "../access-token.ts";
import type { TokenAuthenticator } from "../token-authenticator.ts";

export function opaqueTokenAuthenticator(
  dependencies: Parameters<typeof verifyAccessToken>[1],
): TokenAuthenticator {
  return {
    // A refresh token or a code is refused here: as an opaque token of somebody else's it would be sent to an issuer.
    claims: looksLikeOurs,
    verify: (token) => verifyAccessToken(token, dependencies),
  };
}
