/** Admission by organization and by the domain of the e-mail address. Pure. */
import { claimAt } from "./claims.ts";

export interface Membership {
  /** The user's organization must be one of these, letter by letter; none listed: any, and nobody needs one. */
  organizations: readonly string[];
  /** The claim that names it, or a dotted path to it. */
  organizationClaim: string;
  /** In lower case; none listed: any, and nobody needs an e-mail address. */
  emailDomains: readonly string[];
  /** Auth0's: an id such as `org_abc`, or a name. */
  auth0Organization?: string;
  /** What takes the place of this for users of several providers. */
  ofIssuers?: ReadonlyMap<string, OwnMembership>;
}

/** What a provider asks of its own users. */
export type OwnMembership = Pick<Membership, "emailDomains" | "auth0Organization">;

/** What is asked of the users of one issuer. */
export function membershipOf(issuer: string, membership: Membership): Membership {
  const { organizations, organizationClaim, ofIssuers } = membership;
  const own = ofIssuers?.get(issuer);
  return own === undefined ? membership : { organizations, organizationClaim, ...own };
}

/** The message is for the person. It does not list the organizations and domains of others. */
export interface MembershipProblem {
  reason: "wrong_organization" | "wrong_email_domain" | "email_not_verified";
  message: string;
}

type Claims = Readonly<Record<string, unknown>>;

/**
 * Why a user with these claims is not admitted, or undefined if they are. A claim that is missing or has an unexpected form
 * admits nobody.
 */
export function membershipProblem(claims: Claims, membership: Membership): MembershipProblem | undefined {
  const { organizations, organizationClaim, emailDomains, auth0Organization } = membership;
  if (auth0Organization !== undefined && !isOfAuth0Organization(claims, auth0Organization))
    return wrongOrganization(claims);
  const organization = claimAt(claims, organizationClaim);
  if (organizations.length > 0 && !organizations.some((allowed) => allowed === organization))
    return wrongOrganization(claims);
  return emailDomains.length > 0 ? emailProblem(claims, emailDomains) : undefined;
}

/** The claims that decide about it, by name or dotted path. */
export function claimsOfMembership(membership: Membership): string[] {
  const { organizations, organizationClaim, ofIssuers } = membership;
  const each = [membership, ...(ofIssuers?.values() ?? [])];
  return [
    ...(organizations.length > 0 ? [organizationClaim] : []),
    ...(each.some(({ emailDomains }) => emailDomains.length > 0) ? ["email", "email_verified"] : []),
    ...(each.some(({ auth0Organization }) => auth0Organization !== undefined) ? ["org_id", "org_name"] : []),
  ];
}

/** Auth0 writes names in lower case and compares them without regard to it; ids are exact. */
function isOfAuth0Organization({ org_id, org_name }: Claims, organization: string): boolean {
  if (organization.startsWith("org_")) return org_id === organization;
  return isAscii(org_name) && org_name.toLowerCase() === organization.toLowerCase();
}

function emailProblem(claims: Claims, domains: readonly string[]): MembershipProblem | undefined {
  const domain = emailDomain(claims.email);
  if (domain === undefined || !domains.includes(domain))
    return {
      reason: "wrong_email_domain",
      // Not listed: they may be several customers, whose names a stranger must not see.
      message: `${signedIn(claims)}, and this server admits e-mail addresses of ${domains.length === 1 ? domains[0] : "other domains"} only.`,
    };
  // Anybody can claim an address that nobody checked. Cognito writes the boolean as text.
  if (claims.email_verified === true || claims.email_verified === "true") return undefined;
  return {
    reason: "email_not_verified",
    message: `${signedIn(claims)}, and your identity provider has not verified that address. Verify it there, and sign in again.`,
  };
}

/**
 * The domain of an e-mail address, in lower case; undefined if there is more than one way to read it. Only ASCII:
 * lower case turns some other letters into ASCII ones (U+212A, the Kelvin sign, into a k).
 */
export function emailDomain(email: unknown): string | undefined {
  if (typeof email !== "string") return undefined;
  return /^[^@\s]+@([a-z0-9.-]+)$/i.exec(email)?.[1]?.toLowerCase();
}

function wrongOrganization(claims: Claims): MembershipProblem {
  return {
    reason: "wrong_organization",
    message: `${signedIn(claims)}, which does not belong to an organization that this server admits.`,
  };
}

/** Names the account, so that somebody with two accounts sees which one it was. */
function signedIn({ email }: Claims): string {
  const plain = isAscii(email) && email !== "" && email.length <= 254;
  return plain ? `You signed in as ${email}` : "You signed in with an account without a usual e-mail address";
}

function isAscii(value: unknown): value is string {
  return typeof value === "string" && /^[\x20-\x7e]*$/.test(value);
}
