/** Issues a token for which no user is asked: what a client's credentials or an assertion entitle to, less what the policy denies. */
import type { Requester } from "../access/principal.ts";
import { type Origin, refuseAdmission, whose } from "../grants/grant.ts";
import type { GrantEnd } from "../grants/grants.ts";
import { type OAuthError, UnavailableError } from "../oauth/errors.ts";
import type { ProtectedResource } from "../resource/protected-resource.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Use } from "../storage/use-once.ts";
import type { GrantTypeDependencies } from "./grant-type.ts";
import { grantedScopes } from "./granted-scopes.ts";
import { type TokenResponse, tokenResponse } from "./token-response.ts";

/** Who asks, with what right, and for what. */
export interface Entitlement {
  requester: Requester;
  origin: Exclude<Origin, { kind: "authorization_code" }>;
  resource: ProtectedResource;
  /** The `scope` of the request. */
  asked: string | undefined;
  /** The most that may be granted. */
  ceiling: readonly string[];
  /** The error for a request of which the ceiling leaves nothing. */
  beyond(): OAuthError;
}

/** What is special about an assertion. */
interface Once {
  /** Before anything is issued. After an outage that is undone: most platforms make the next one much later. */
  useUp(): Promise<Use>;
  /** Asked when the grant is stored: whoever ends access writes a mark first, and then ends the grants that exist. */
  endedMeanwhile(): Promise<GrantEnd | undefined>;
  /** The error for what was ended meanwhile. */
  ended(): OAuthError;
}

/** @throws OAuthError `invalid_grant` where the policy does not admit the requester, `invalid_scope`, or what `once` throws */
export async function issueWithoutUser(
  { requester, origin, resource, asked, ceiling, beyond }: Entitlement,
  { grants, audit, now }: Pick<GrantTypeDependencies, "grants" | "audit"> & Pick<Runtime, "now">,
  once?: Once,
): Promise<TokenResponse> {
  const { permissions, scopes: catalogue, uri } = resource;
  const notAdmitted = permissions.checkAdmission(requester);
  if (notAdmitted !== undefined) throw refuseAdmission(notAdmitted, { ...requester, resource: uri });
  const scopes = grantedScopes(asked, ceiling, catalogue, beyond);
  const use = await once?.useUp();
  const issue = async () => {
    const made = await grants.issue({
      ...requester,
      origin,
      resource: uri,
      scopes,
      permitted: permissions.permitted(requester, scopes),
    });
    return { ...made, ended: await once?.endedMeanwhile() };
  };
  const { grant, issued, ended } = await issue().catch((error) => {
    if (error instanceof UnavailableError) use?.undo();
    throw error;
  });
  if (once !== undefined && ended !== undefined) {
    await grants.end(grant.id, ended);
    throw once.ended();
  }
  audit({ event: "token_issued", decision: "allow", ...whose(grant), scopes: issued.scopes });
  return tokenResponse(issued, now());
}
