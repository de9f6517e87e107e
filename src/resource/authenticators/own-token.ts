/** Authenticates the opaque access tokens that this server issued for a resource: one look-up, and none for a grant seen a moment ago. */

import type { ExchangedTokens } from "../../grants/exchanged-tokens.ts";
import { codeOf, notGiven, whose } from "../../grants/grant.ts";
import type { CachedGrant, GrantCache } from "../../grants/grant-cache.ts";
import { looksLikeOurs, readToken } from "../../grants/opaque-token.ts";
import type { ApiRequest } from "../../oauth/other-api.ts";
import { authenticationIn } from "../../oauth/required-authentication.ts";
import { intersect } from "../../oauth/scope.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { AccessTokenRefusal, Verification } from "../caller.ts";
import type { TokenAuthenticator } from "../token-authenticator.ts";
import { createTokenJudge, type JudgeToken, type Rules } from "../token-worth.ts";

interface Dependencies extends Pick<Runtime, "now">, Rules {
  grants: GrantCache;
  resource: string;
  /** Why a grant is no longer good although it is there: a reason code. Asked at each request, from memory. */
  takenBack?(grant: CachedGrant): AccessTokenRefusal | undefined;
  /** The principal's own access token at the identity provider. */
  upstreamToken(grantId: string): Promise<string>;
  /** For other APIs in their name. */
  exchangedTokens: ExchangedTokens;
}

export function ownTokenAuthenticator(dependencies: Dependencies): TokenAuthenticator {
  const judge = createTokenJudge(dependencies);
  return {
    // A refresh token or a code is refused here: as an opaque token of somebody else's it would be sent to an issuer.
    claims: looksLikeOurs,
    verify: (token) => verify(token, { ...dependencies, judge }),
  };
}

async function verify(
  value: string,
  {
    grants,
    resource,
    takenBack,
    upstreamToken,
    exchangedTokens,
    catalogue,
    now,
    judge,
  }: Dependencies & { judge: JudgeToken },
): Promise<Verification> {
  const presented = readToken("access", value);
  if (presented === undefined) return { refused: "malformed_access_token" };
  const issuedBy = ({ accessTokens }: CachedGrant) =>
    accessTokens.find(({ hash }) => hash === presented.hash);
  const grant = await grants.find(presented.grantId, (found) => issuedBy(found) !== undefined);
  if (grant === undefined) return { refused: "grant_ended" };
  const issued = issuedBy(grant);
  if (issued === undefined) return { refused: "unknown_access_token" };
  const taken = takenBack?.(grant);
  if (taken !== undefined) return { refused: taken, whose: whose(grant) };
  if (issued.expiresAt <= now()) return { refused: "expired_access_token", whose: whose(grant) };
  if (grant.resource !== resource)
    return { refused: "access_token_for_another_resource", whose: whose(grant) };
  // A grant that changes is another object, with other tokens.
  return judge(issued, grant, () => ({
    requester: grant,
    held: catalogue.limitTo(issued.scopes, grant.scopes),
    resource: grant.resource,
    notGiven: notGiven(grant, catalogue),
    ...authenticationIn(grant),
    expiresAt: issued.expiresAt,
    grantId: grant.id,
    tokenId: presented.hash,
    sessionKey: grant.id,
    upstreamToken: () => upstreamToken(grant.id),
    ...(codeOf(grant) !== undefined && {
      otherApis: Object.freeze({
        declaredHere: (named: readonly string[]) => intersect(named, catalogue.names),
        tokenFor: (api: ApiRequest) => exchangedTokens.tokenFor(grant.id, api),
        refused: (api: ApiRequest, accessToken: string) =>
          exchangedTokens.refused(grant.id, api, accessToken),
      }),
    }),
  }));
}
