/** A user's own access token at the identity provider, for tools that call an API in their name. */
import { noUpstreamTokens } from "../grants/grant.ts";
import type { Grants } from "../grants/grants.ts";
import { UPSTREAM_MARGIN_SECONDS, type UpstreamRefresh } from "../grants/upstream-renewal.ts";
import { OAuthError } from "../oauth/errors.ts";
import type { Runtime } from "../runtime/runtime.ts";

/**
 * The user's own access token at the identity provider, good for at least a minute where the provider can renew it.
 * @throws OAuthError `invalid_grant` if the grant has ended, here or there, `unauthorized_client` if nobody signed in there for
 * it; UnavailableError on an outage
 */
export async function upstreamAccessToken(
  grantId: string,
  {
    grants,
    upstreamRefresh,
    now,
  }: Pick<Runtime, "now"> & { grants: Grants; upstreamRefresh: UpstreamRefresh },
): Promise<string> {
  const grant = await grants.find(grantId);
  if (grant === undefined)
    throw new OAuthError("invalid_grant", "The grant has ended. Sign in again.", { reason: "grant_ended" });
  const { upstream } = await upstreamRefresh.ensureFreshUntil(grant, now() + UPSTREAM_MARGIN_SECONDS);
  if (upstream === undefined) throw noUpstreamTokens();
  return upstream.accessToken;
}
