/** POST /introspect (RFC 7662): another resource server asks whether one of our tokens is good. */

import { subjectOf } from "../access/principal.ts";
import type { AuthenticatedClient } from "../clients/authenticate-client.ts";
import type { Grant } from "../grants/grant.ts";
import type { Grants } from "../grants/grants.ts";
import { readToken } from "../grants/opaque-token.ts";
import { OAuthError } from "../oauth/errors.ts";
import { effectiveScopes } from "../resource/access-token.ts";
import { type ProtectedResources, resourceOf } from "../resource/protected-resource.ts";
import type { Runtime } from "../runtime/runtime.ts";

/** RFC 7662 §2.2. */
export type Introspection =
  | { active: false }
  | {
      active: true;
      /** As in RFC 6749 §7.1: of an access token alone. */
      token_type?: "Bearer";
      scope: string;
      client_id: string;
      sub: string;
      aud: string;
      iss: string;
      /** When the token was issued, where that is known. */
      iat?: number;
      exp: number;
    };

interface Dependencies {
  grants: Grants;
  resources: ProtectedResources;
  issuer: string;
}

/**
 * A client of the configuration may ask about every token, one that registered itself about its own only: otherwise
 * anybody could register and learn what a token that they found is good for (RFC 7662 §4).
 * @throws OAuthError `unauthorized_client` for a public client, which proved nothing
 */
export async function introspectToken(
  client: AuthenticatedClient,
  token: string,
  { grants, resources, issuer, now }: Runtime & Dependencies,
): Promise<Introspection> {
  if (client.token_endpoint_auth_method === "none")
    throw new OAuthError("unauthorized_client", "Introspection is for clients that authenticate.", {
      reason: "public_client_introspects",
      status: 403,
    });
  const presented = readToken("access", token) ?? readToken("refresh", token);
  const grant = presented && (await grants.find(presented.grantId));
  if (grant === undefined) return { active: false };
  if (client.provenance !== "configured" && grant.client.id !== client.client_id) return { active: false };
  const found = liveToken(grant, presented?.hash, now());
  const { permissions, scopes: catalogue } = resourceOf(grant.resource, resources);
  // Same decision as at /mcp: a user whom the policy denies has no active token.
  if (found === undefined || permissions.checkAdmission(grant) !== undefined) return { active: false };
  return {
    active: true,
    ...(found.isAccessToken && { token_type: "Bearer" }),
    scope: effectiveScopes(found.scopes, grant, { permissions, catalogue }).join(" "),
    client_id: grant.client.id,
    sub: subjectOf(grant.principal),
    aud: grant.resource,
    iss: issuer,
    ...(found.issuedAt !== undefined && { iat: found.issuedAt }),
    exp: found.expiresAt,
  };
}

interface LiveToken {
  isAccessToken: boolean;
  scopes: readonly string[];
  expiresAt: number;
  issuedAt?: number | undefined;
}

function liveToken(grant: Grant, hash: string | undefined, now: number): LiveToken | undefined {
  if (grant.expiresAt <= now) return undefined;
  if (grant.refreshToken === hash)
    return { isAccessToken: false, scopes: grant.scopes, expiresAt: grant.expiresAt };
  const access = grant.accessTokens.find((token) => token.hash === hash && token.expiresAt > now);
  return access && { isAccessToken: true, ...access };
}
