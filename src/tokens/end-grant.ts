/** Ends a grant for good: here, on every replica, and at the provider. */
import { causes } from "../oauth/errors.ts";
import type { Surroundings } from "../surroundings.ts";
import type { IdentityProvider } from "../upstream/identity-provider.ts";
import type { Grant } from "./grant.ts";
import type { GrantEnd, Grants } from "./grants.ts";

/**
 * What comes back resolves to the grant as it was, for the caller who ended it. Our own tokens are dead by then whatever
 * the provider answers, so its failure is logged and nobody else's.
 */
export function endGrant(
  grants: Pick<Grants, "end">,
  identityProvider: Pick<IdentityProvider, "revoke">,
  log: Surroundings["log"],
): (id: string, reason: GrantEnd) => Promise<Grant | undefined> {
  return async (id, reason) => {
    const grant = await grants.end(id, reason);
    const refreshToken = grant?.upstream.refreshToken;
    if (refreshToken === undefined) return grant;
    try {
      await identityProvider.revoke(refreshToken);
    } catch (error) {
      log.warn(
        { reason: "upstream_revocation_failed", grantId: id, cause: causes(error) },
        "The provider still holds its refresh token",
      );
    }
    return grant;
  };
}
