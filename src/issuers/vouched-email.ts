/**
 * For which e-mail addresses the word of a trusted issuer counts. Otherwise whoever administers it could pass for anybody in every
 * rule that speaks of addresses.
 */
import { emailDomain } from "../access/membership.ts";

/** Domains in lower case. */
export interface VouchedEmails {
  /** Those in which it vouches for addresses; absent: everywhere but in `emailDomainsOfOthers`. */
  readonly vouchedEmailDomains?: readonly string[];
  /** Those of the identity providers, unless it is one of them. */
  readonly emailDomainsOfOthers?: readonly string[];
}

/** The claims of its JWT or introspection, with `email_verified` only as far as it counts. */
export function withVouchedEmail<C extends Readonly<Record<string, unknown>>>(
  claims: C,
  { vouchedEmailDomains, emailDomainsOfOthers = [] }: VouchedEmails,
): C {
  if (claims.email_verified === undefined) return claims;
  const domain = emailDomain(claims.email);
  const counts =
    domain !== undefined && (vouchedEmailDomains?.includes(domain) ?? !emailDomainsOfOthers.includes(domain));
  return counts ? claims : { ...claims, email_verified: false };
}
