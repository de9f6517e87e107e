/**
 * Which of several identity providers vouches for an e-mail address: where a domain is listed as one's own (`emailDomains`), no
 * other can say that an address in it was verified. Otherwise whoever administers one directory could pass for anybody of another
 * in every rule that speaks of addresses.
 */
import { emailDomain } from "../access/membership.ts";
import type { IdentityProvider } from "./identity-provider.ts";
import type { ConfiguredProvider } from "./identity-providers.ts";

type Claims = Record<string, unknown>;

export function withOwnEmails(
  provider: ConfiguredProvider,
  all: readonly ConfiguredProvider[],
): IdentityProvider {
  const own = provider.settings.emailDomains ?? [];
  const others = new Set(all.flatMap(({ settings }) => settings.emailDomains ?? []));
  for (const domain of own) others.delete(domain);
  if (others.size === 0) return provider;

  function vouchedFor(claims: Claims): Claims {
    if (!("email_verified" in claims)) return claims;
    const { email_verified, ...rest } = claims;
    // A renewal that leaves the address out would vouch for the one that is known.
    if (claims.email === undefined) return rest;
    // What is no plain address may end in anybody's domain, and a rule may have a wildcard for what is before it.
    const domain = emailDomain(claims.email);
    return domain === undefined || others.has(domain) ? { ...rest, email_verified: false } : claims;
  }

  return {
    ...provider,
    async finishLogin(parameters, request) {
      const login = await provider.finishLogin(parameters, request);
      return { ...login, claims: vouchedFor(login.claims) };
    },
    async identify(parameters, request) {
      const identity = await provider.identify(parameters, request);
      return { ...identity, claims: vouchedFor(identity.claims) };
    },
    async refresh(refreshToken, login) {
      const renewal = await provider.refresh(refreshToken, login);
      return { ...renewal, claims: renewal.claims && vouchedFor(renewal.claims) };
    },
  };
}
