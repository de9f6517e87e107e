/** POST /introspect (RFC 7662): another resource server asks whether one of our tokens is good. */

import { subjectOf } from "../access/principal.ts";
import type { AuthenticatedClient } from "../clients/authenticate-client.ts";
import type { Grant } from "../grants/grant.ts";
import type { Grants } from "../grants/grants.ts";
import { type PresentedToken, readToken } from "../grants/opaque-token.ts";
import { OAuthError } from "../oauth/errors.ts";
import { type ProtectedResources, resourceOf } from "../resource/protected-resource.ts";
import { authenticateToken } from "../resource/token-authenticator.ts";
import { effectiveScopes } from "../resource/token-worth.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { refreshTokenStatus } from "./grant-types/refresh-token.ts";

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
      /** RFC 9470 §6.2. */
      auth_time?: number;
      acr?: string;
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
  { grants, resources, issuer, now }: Pick<Runtime, "now"> & Dependencies,
): Promise<Introspection> {
  if (client.token_endpoint_auth_method === "none")
    throw new OAuthError("unauthorized_client", "Introspection is for clients that authenticate.", {
      reason: "public_client_introspects",
      status: 403,
    });
  const dependencies = { resources, issuer, now };
  const access = readToken("access", token);
  const presented = access ?? readToken("refresh", token);
  const grant = presented && (await grants.find(presented.grantId));
  if (presented === undefined || grant === undefined) return { active: false };
  if (client.provenance !== "configured" && grant.client.id !== client.client_id) return { active: false };
  return access === undefined
    ? refreshTokenState(grant, presented, dependencies)
    : await accessTokenState(grant, access, dependencies);
}

type State = Pick<Runtime, "now"> & Omit<Dependencies, "grants">;

/** Decided as where the token would be used. */
async function accessTokenState(
  grant: Grant,
  { value, hash }: PresentedToken,
  { resources, issuer }: State,
): Promise<Introspection> {
  const { authenticators } = resourceOf(grant.resource, resources);
  const verification = await authenticateToken(value, authenticators);
  if ("refused" in verification) return { active: false };
  const { principal, client, resource, scopes, expiresAt, authTime, acr } = verification.caller;
  const issuedAt = grant.accessTokens.find((issued) => issued.hash === hash)?.issuedAt;
  return {
    active: true,
    token_type: "Bearer",
    scope: scopes.join(" "),
    client_id: client.id,
    sub: subjectOf(principal),
    aud: resource,
    iss: issuer,
    ...(issuedAt !== undefined && { iat: issuedAt }),
    exp: expiresAt,
    ...(authTime !== undefined && { auth_time: authTime }),
    ...(acr !== undefined && { acr }),
  };
}

/** Decided as where its client would use it. */
function refreshTokenState(
  grant: Grant,
  presented: PresentedToken,
  { resources, issuer, now }: State,
): Introspection {
  const { principal, client, resource, scopes, expiresAt } = grant;
  const status = refreshTokenStatus(
    grant,
    presented,
    { client_id: client.id },
    { resource: [resource] },
    { resources, now },
  );
  if (status.is !== "current") return { active: false };
  const { permissions, scopes: catalogue } = resourceOf(resource, resources);
  return {
    active: true,
    scope: effectiveScopes(scopes, grant, { permissions, catalogue }).join(" "),
    client_id: client.id,
    sub: subjectOf(principal),
    aud: resource,
    iss: issuer,
    exp: expiresAt,
  };
}
