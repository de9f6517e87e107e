/** grant_type=refresh_token: rotation with an idempotent grace (RFC 6749 §6, RFC 9700 §4.14.2). */

import { z } from "zod";
import type { NotAdmitted } from "../../access/permissions.ts";
import type { Audit } from "../../audit/audit.ts";
import type { AuthenticatedClient } from "../../clients/authenticate-client.ts";
import {
  about,
  addTokens,
  allowedScopes,
  type Grant,
  type IssuedTokens,
  mintTokens,
  refuseAdmission,
  rememberReplaced,
  whose,
} from "../../grants/grant.ts";
import type { GrantChange, Grants } from "../../grants/grants.ts";
import type { Lifetimes } from "../../grants/lifetimes.ts";
import { belongsToFamily, type PresentedToken, readToken } from "../../grants/opaque-token.ts";
import type { UpstreamRefresh } from "../../grants/upstream-renewal.ts";
import { OAuthError, type OAuthErrorCode } from "../../oauth/errors.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { Repeatable, Scope, Text } from "../../oauth/requests.ts";
import { intersect, missingScopes, parseRequestedScope } from "../../oauth/scope.ts";
import type { ScopeCatalogue } from "../../oauth/scope-catalogue.ts";
import {
  namesGrantedResource,
  type ProtectedResources,
  resourceOf,
} from "../../resource/protected-resource.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { GrantType } from "../grant-type.ts";
import type { FindGrant } from "../presented-grant.ts";
import { type TokenResponse, tokenResponse } from "../token-response.ts";

/** RFC 6749 §6, RFC 8707 §2.2. */
const RefreshTokenRequest = z.object({
  refresh_token: Text,
  scope: Scope.optional(),
  resource: Repeatable,
});
type RefreshTokenRequest = z.infer<typeof RefreshTokenRequest>;

export const refreshToken: GrantType<RefreshTokenRequest> = {
  name: "refresh_token",
  request: RefreshTokenRequest,
  clients: "any",
  handle: rotateRefreshToken,
};

interface Dependencies {
  grants: Grants;
  presentedGrant: FindGrant;
  upstreamRefresh: UpstreamRefresh;
  resources: ProtectedResources;
  lifetimes: Lifetimes;
  audit: Audit;
}

/** Why a refresh token that has the form of one is not accepted. */
export type RefreshTokenRefusal =
  | Extract<
      ReasonCode,
      | "unknown_grant"
      | "refresh_token_of_another_client"
      | "foreign_resource"
      | "unknown_refresh_token"
      | "scope_widened"
    >
  | NotAdmitted["reason"];

/** What a presented refresh token is to its grant at this moment. */
export type RefreshTokenStatus =
  | { is: "current"; grant: Grant }
  | { is: "superseded"; answer: IssuedTokens; grant: Grant }
  | { is: "reused"; grant: Grant }
  | { is: "refused"; reason: RefreshTokenRefusal; error: OAuthError };

/** Every status but "current" ends the request. */
type Settled = Exclude<RefreshTokenStatus, { is: "current" }>;

/**
 * @throws OAuthError `invalid_grant`, `invalid_scope`, `invalid_target`; UnavailableError during an outage, in which
 * case the same refresh token works later.
 */
async function rotateRefreshToken(
  client: AuthenticatedClient,
  request: RefreshTokenRequest,
  dependencies: Runtime & Dependencies,
): Promise<TokenResponse> {
  const presented = readToken("refresh", request.refresh_token);
  if (presented === undefined) throw notValid("malformed_refresh_token");
  const { grants, presentedGrant, upstreamRefresh, resources, lifetimes, now, randomBytes } = dependencies;
  const statusIn = (grant: Grant | undefined) =>
    refreshTokenStatus(grant, presented, client, request, dependencies);

  let before = statusIn(await presentedGrant(presented.grantId));
  // A rotation is decided by the latest grant anyway; an answer that is given again is not. The grant may have ended while the client
  // was looked up, which may have to fetch its document and keys.
  if (before.is === "superseded") before = statusIn(await grants.find(presented.grantId));
  if (before.is !== "current") return await conclude(before, presented, dependencies, "refresh_repeated");
  const rotate = (grant: Grant | undefined): GrantChange<Settled> => {
    const found = statusIn(grant);
    if (found.is !== "current") return { result: found };
    const { permissions, scopes: catalogue } = resourceOf(found.grant.resource, resources);
    const asked = requestedScopes(request, catalogue);
    const scopes = asked ? catalogue.limitTo(asked, found.grant.scopes) : found.grant.scopes;
    const permitted = permissions.permitted(found.grant, scopes);
    const added = addTokens(
      found.grant,
      mintTokens(found.grant, true, randomBytes),
      { scopes, permitted },
      lifetimes,
      now(),
    );
    const until = now() + lifetimes.refreshGraceSeconds;
    return {
      write: rememberReplaced(added.grant, presented.hash, added.issued, until, now()),
      result: { is: "superseded", answer: added.issued, grant: added.grant },
    };
  };
  const until = now() + lifetimes.accessTokenSeconds;
  const after = await upstreamRefresh.updateFresh(before.grant, until, rotate);
  return await conclude(after, presented, dependencies);
}

/** Pure; who presents it, and asking for what, is for the caller to know. */
export function refreshTokenStatus(
  grant: Grant | undefined,
  presented: PresentedToken,
  client: Pick<AuthenticatedClient, "client_id">,
  request: Pick<RefreshTokenRequest, "resource" | "scope">,
  { resources, now }: Pick<Runtime & Dependencies, "resources" | "now">,
): RefreshTokenStatus {
  const refuse = (reason: RefreshTokenRefusal, code: OAuthErrorCode, description: string) => {
    const error = new OAuthError(code, description, { reason, ...(grant && { about: about(grant) }) });
    return { is: "refused", reason, error } as const;
  };
  if (grant === undefined || grant.expiresAt <= now())
    return { is: "refused", reason: "unknown_grant", error: notValid("unknown_grant") };
  // Another client learns nothing and changes nothing, whatever it presents.
  if (grant.client.id !== client.client_id)
    return refuse("refresh_token_of_another_client", "invalid_grant", NOT_VALID);
  if (!namesGrantedResource(request.resource, grant.resource, resources))
    return refuse(
      "foreign_resource",
      "invalid_target",
      `This refresh token is for the resource ${grant.resource}.`,
    );
  const replaced = grant.replaced.find(({ hash }) => hash === presented.hash);
  if (replaced !== undefined && now() < replaced.until)
    return { is: "superseded", answer: answerAgain(replaced.answer, grant), grant };
  if (grant.refreshToken !== presented.hash)
    return belongsToFamily(presented.value, grant.familyKey)
      ? { is: "reused", grant }
      : refuse("unknown_refresh_token", "invalid_grant", NOT_VALID);
  const { permissions, scopes: catalogue } = resourceOf(grant.resource, resources);
  const asked = requestedScopes(request, catalogue) ?? [];
  const widened = missingScopes(asked, catalogue.expand(allowedScopes(grant)));
  if (widened.length > 0)
    return refuse(
      "scope_widened",
      "invalid_scope",
      `This sign-in was not for: ${widened.join(" ")}. Ask for it with /authorize.`,
    );
  // The grant stays: what the policy says today may be otherwise tomorrow.
  const notAdmitted = permissions.checkAdmission(grant);
  if (notAdmitted === undefined) return { is: "current", grant };
  return { is: "refused", reason: notAdmitted.reason, error: refuseAdmission(notAdmitted, grant) };
}

/**
 * The answer that was given before, with the refresh token that is good now: the one that was in it may have been replaced since,
 * by another process of the client, and would be taken for a stolen one when its grace is over.
 */
function answerAgain(given: IssuedTokens, { replaced: [newest] }: Grant): IssuedTokens {
  const { refreshToken } = newest?.answer ?? given;
  return { ...given, ...(refreshToken !== undefined && { refreshToken }) };
}

/**
 * RFC 6749 §6: undefined for none, which means all that is granted; fewer may be asked for, and what the provider took away
 * may be repeated. Unknown ones are left out, as at /authorize.
 */
function requestedScopes(
  request: Pick<RefreshTokenRequest, "scope">,
  catalogue: ScopeCatalogue,
): string[] | undefined {
  const asked = parseRequestedScope(request.scope ?? "");
  if (asked === undefined)
    throw new OAuthError("invalid_scope", "The scope has illegal characters.", { reason: "malformed_scope" });
  const known = intersect(asked, catalogue.names);
  return known.length === 0 ? undefined : known;
}

async function conclude(
  found: Settled,
  presented: PresentedToken,
  { grants, audit, now, log }: Runtime & Dependencies,
  reason?: ReasonCode,
): Promise<TokenResponse> {
  switch (found.is) {
    case "superseded":
      audit({
        event: "token_refreshed",
        decision: "allow",
        reason,
        ...whose(found.grant),
        scopes: found.answer.scopes,
      });
      return tokenResponse(found.answer, now());
    case "refused":
      throw found.error;
    case "reused":
      // RFC 9700 §4.14.2: reuse means theft, and it is unknown which of the two presented it rightfully.
      await grants.end(presented.grantId, "refresh_token_reused");
      log.warn(
        { reason: "refresh_token_reused", ...about(found.grant) },
        "Grant ended: a replaced refresh token was used again",
      );
      throw notValid("refresh_token_reused", found.grant);
  }
}

const NOT_VALID = "The refresh token is not valid any more. Sign in again.";

function notValid(reason: ReasonCode, grant?: Grant): OAuthError {
  return new OAuthError("invalid_grant", NOT_VALID, {
    reason,
    ...(grant && { about: about(grant) }),
  });
}
