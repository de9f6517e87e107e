/**
 * Issuers of a provider with many tenants (Entra ID): its discovery document names a pattern, and each tenant's tokens an
 * issuer of its own, with the id that their claim `tid` has. Pure.
 */

/** As Entra writes it. */
const PLACEHOLDER = "{tenantid}";
/** In its place, where the tenant is not known yet: sign-in is for work and school accounts. */
const ANY_TENANT = "organizations";

/** An identity provider, or what many tenants have in common. */
export interface Issuing {
  /** The issuer, or the pattern. */
  readonly issuer: string;
  /** Ids of those tenants whose users may sign in; there are some where the issuer is a pattern, and only there. */
  readonly tenants?: readonly string[];
}

export function isPatternOfTenants(issuer: string): boolean {
  return issuer.includes(PLACEHOLDER);
}

/** Every issuer that a user may have. */
export function issuersOf({ issuer, tenants }: Issuing): readonly string[] {
  return isPatternOfTenants(issuer) ? (tenants ?? []).map((tenant) => ofTenant(issuer, tenant)) : [issuer];
}

/** Where the metadata of all tenants is. */
export function metadataOfTenants(pattern: string): URL {
  return new URL(`${ofTenant(pattern, ANY_TENANT).replace(/\/$/, "")}/.well-known/openid-configuration`);
}

/**
 * The issuer of whoever has these claims; undefined for a tenant that is not let in, and for claims that do not agree. Nobody
 * has verified them yet: a signature has to, for this issuer.
 */
export function issuerOfTenant(
  { issuer, tenants = [] }: Issuing,
  { iss, tid }: Readonly<Record<string, unknown>>,
): string | undefined {
  const tenant = tenants.find((each) => each === tid);
  const expected = tenant === undefined ? undefined : ofTenant(issuer, tenant);
  return expected === iss ? expected : undefined;
}

function ofTenant(pattern: string, tenant: string): string {
  return pattern.replace(PLACEHOLDER, tenant);
}
