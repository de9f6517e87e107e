/** grant_type=authorization_code: a code becomes tokens, once (RFC 6749 §4.1.3, RFC 7636 §4.6, RFC 8707 §2.2). */

import { z } from "zod";
import type { Audit } from "../../audit/audit.ts";
import type { AuthenticatedClient } from "../../clients/authenticate-client.ts";
import {
  about,
  addTokens,
  type CodeState,
  codeOf,
  type Grant,
  type IssuedTokens,
  mintTokens,
  refuseAdmission,
  whose,
} from "../../grants/grant.ts";
import type { GrantChange, Grants } from "../../grants/grants.ts";
import type { Lifetimes } from "../../grants/lifetimes.ts";
import { readToken } from "../../grants/opaque-token.ts";
import { OAuthError } from "../../oauth/errors.ts";
import { CodeVerifier, verifierMatches } from "../../oauth/pkce.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { Repeatable, Text } from "../../oauth/requests.ts";
import {
  namesGrantedResource,
  type ProtectedResources,
  resourceOf,
} from "../../resource/protected-resource.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { GrantType } from "../grant-type.ts";
import type { FindGrant } from "../presented-grant.ts";
import { type TokenResponse, tokenResponse } from "../token-response.ts";

/** RFC 6749 §4.1.3, RFC 7636 §4.5, RFC 8707 §2.2. */
const AuthorizationCodeRequest = z.object({
  code: Text,
  code_verifier: CodeVerifier,
  redirect_uri: Text.optional(),
  resource: Repeatable,
});
export type AuthorizationCodeRequest = z.infer<typeof AuthorizationCodeRequest>;

export const authorizationCode: GrantType<AuthorizationCodeRequest> = {
  name: "authorization_code",
  request: AuthorizationCodeRequest,
  clients: "any",
  handle: redeemCode,
};

interface Dependencies {
  grants: Grants;
  presentedGrant: FindGrant;
  resources: ProtectedResources;
  lifetimes: Lifetimes;
  audit: Audit;
}

type Redemption = { issued: IssuedTokens; grant: Grant } | { replayed: Grant } | { refused: OAuthError };

/**
 * @throws OAuthError `invalid_grant` or `invalid_target`. A refused attempt leaves the code usable for its rightful
 * client; a second redemption ends what the first one issued.
 */
async function redeemCode(
  client: AuthenticatedClient,
  request: AuthorizationCodeRequest,
  { grants, presentedGrant, resources, lifetimes, audit, now, randomBytes, log }: Runtime & Dependencies,
): Promise<TokenResponse> {
  const presented = readToken("code", request.code);
  if (presented === undefined) throw notValid("malformed_code");

  // What was read a moment ago; the store reads again if that is not the latest any more.
  const read = await presentedGrant(presented.grantId);
  const redeem = (grant: Grant | undefined): GrantChange<Redemption> => {
    const code = grant && codeOf(grant);
    if (grant === undefined || code?.hash !== presented.hash) return refuse(notValid("unknown_code"));
    const problem = problemWith(grant, code, client, request, { resources, now: now() });
    if (problem !== undefined) return refuse(problem);
    if (code.redeemed) return { result: { replayed: grant } };
    const { permissions } = resourceOf(grant.resource, resources);
    const notAdmitted = permissions.checkAdmission(grant);
    if (notAdmitted !== undefined) return refuse(refuseAdmission(notAdmitted, grant));
    const tokens = mintTokens(grant, client.grant_types.includes("refresh_token"), randomBytes);
    const { scopes } = grant;
    const permitted = permissions.permitted(grant, scopes);
    const added = addTokens(grant, tokens, { scopes, permitted }, lifetimes, now());
    const origin = { kind: "authorization_code", code: { ...code, redeemed: true } } as const;
    return { write: { ...added.grant, origin }, result: added };
  };
  const redemption = await grants.update<Redemption>(presented.grantId, redeem, read);

  if ("refused" in redemption) throw redemption.refused;
  if ("replayed" in redemption) return await endReplayed(redemption.replayed, client, grants, log);
  const { grant, issued } = redemption;
  audit({ event: "token_issued", decision: "allow", ...whose(grant), scopes: issued.scopes });
  return tokenResponse(issued, now());
}

function problemWith(
  grant: Grant,
  code: CodeState,
  client: AuthenticatedClient,
  request: AuthorizationCodeRequest,
  { resources, now }: Pick<Dependencies, "resources"> & { now: number },
): OAuthError | undefined {
  if (grant.client.id !== client.client_id) return notValid("code_of_another_client", grant);
  if (!verifierMatches(request.code_verifier, code.codeChallenge))
    return new OAuthError("invalid_grant", "The code_verifier does not match the code_challenge.", {
      reason: "wrong_code_verifier",
      about: about(grant),
    });
  if (request.redirect_uri !== undefined && request.redirect_uri !== grant.client.redirectUri)
    return new OAuthError("invalid_grant", "The redirect_uri is not the one the code was sent to.", {
      reason: "wrong_redirect_uri",
      about: about(grant),
    });
  if (!namesGrantedResource(request.resource, grant.resource, resources))
    return new OAuthError("invalid_target", `This code is for the resource ${grant.resource}.`, {
      reason: "foreign_resource",
      about: about(grant),
    });
  return !code.redeemed && code.expiresAt <= now ? notValid("expired_code", grant) : undefined;
}

// RFC 6749 §4.1.2, RFC 9700 §4.5: a code that comes twice was stolen; neither side keeps anything.
async function endReplayed(
  grant: Grant,
  client: AuthenticatedClient,
  grants: Grants,
  log: Runtime["log"],
): Promise<never> {
  await grants.end(grant.id, "code_replayed");
  log.warn(
    { reason: "code_replayed", grantId: grant.id, clientId: client.client_id },
    "Grant ended: its code was redeemed twice",
  );
  throw notValid("code_replayed", grant);
}

function refuse(error: OAuthError): GrantChange<Redemption> {
  return { result: { refused: error } };
}

function notValid(reason: ReasonCode, grant?: Grant): OAuthError {
  return new OAuthError(
    "invalid_grant",
    "The authorization code is not valid: it is unknown, expired, or was used before. Start the sign-in again.",
    { reason, ...(grant && { about: about(grant) }) },
  );
}
