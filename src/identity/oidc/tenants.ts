/**
 * A provider with many tenants (Entra ID): whose tenant somebody is of, their ID token alone says, and the issuer that the
 * token has to have follows from it. Only tenants that the operator lists are let in.
 */
import { decodeJwt } from "jose";
import type * as oidc from "openid-client";
import { parseJsonObject } from "../../oauth/json.ts";
import { isPatternOfTenants, issuerOfTenant, issuersOf } from "../../oauth/tenant-issuer.ts";
import { UnacceptableAnswer } from "../identity-provider.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import type { Discovered } from "./discovery.ts";

type Exchange = (
  configuration: oidc.Configuration,
) => Promise<oidc.TokenEndpointResponse & oidc.TokenEndpointResponseHelpers>;

/** What was found, as it is for the users of one issuer. */
export function foundOf(issuer: string, found: Discovered): Discovered {
  const { metadata } = found;
  if (!isPatternOfTenants(metadata.issuer)) return found;
  return { ...found, metadata: { ...metadata, issuer }, configuration: found.as(issuer) };
}

/**
 * Exchanges a code. openid-client has to know the issuer before it reads an answer, and here the answer says it: so it is
 * given the answer twice, the second time as that of the tenant.
 * @throws UnacceptableAnswer for a tenant that is not let in
 */
export async function exchangeOfTenant(
  found: Discovered,
  config: IdentityProviderSettings,
  exchange: Exchange,
): ReturnType<Exchange> {
  const { send } = found;
  let answered: Response | undefined;
  const asking = found.as(config.issuer, async (url, options) => {
    const response = await send(url, options);
    // A refusal means the same of every tenant.
    if (!response.ok) return response;
    answered = response;
    throw new Answered();
  });
  try {
    return await exchange(asking);
  } catch (error) {
    if (answered === undefined) throw error;
  }
  const { headers, status } = answered;
  const body = await answered.text();
  return await exchange(
    found.as(issuerIn(body, config), async () => new Response(body, { headers, status })),
  );
}

class Answered extends Error {}

/** By what nobody has verified yet: a signature has to, and the same `tid` and `iss` are in what is signed. */
function issuerIn(body: string, config: IdentityProviderSettings): string {
  const { id_token: idToken } = parseJsonObject(body) ?? {};
  if (typeof idToken !== "string") throw new UnacceptableAnswer("no_id_token");
  const claims = decoded(idToken);
  const issuer = issuerOfTenant(config, claims);
  if (issuer !== undefined) return issuer;
  throw new UnacceptableAnswer("foreign_tenant", {
    cause: new Error(`its tid is ${shown(claims.tid)}, and its iss ${shown(claims.iss)}`),
  });
}

/** The issuer that a logout token claims, if it is that of a tenant that is let in; otherwise one that no token has. */
export function issuerClaimedBy(token: string, config: IdentityProviderSettings): string {
  const { iss } = decoded(token);
  return issuersOf(config).find((issuer) => issuer === iss) ?? config.issuer;
}

function decoded(token: string): Record<string, unknown> {
  try {
    return decodeJwt(token);
  } catch {
    return {};
  }
}

/** A tenant is no secret; what is no text, or a long one, is nobody's tenant. */
function shown(claim: unknown): string {
  return typeof claim === "string" ? JSON.stringify(claim.slice(0, 100)) : "missing";
}
