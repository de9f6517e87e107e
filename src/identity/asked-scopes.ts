/** Which scopes a sign-in asks the provider for, and which of our tools it therefore leaves out. Pure. */

import { union } from "../oauth/scope.ts";
import { type NamedProvider, profileOf } from "./profiles/profiles.ts";
import type { IdentityProviderSettings } from "./settings.ts";

// offline_access is what brings a refresh token, and with it sessions that outlast the provider's access token.
const USUAL_SCOPES = ["openid", "profile", "email", "offline_access"];

type AskedProvider = NamedProvider & Pick<IdentityProviderSettings, "scopes" | "scopeSources">;
type Metadata = Readonly<Record<string, unknown>>;

/** An unknown scope may fail the whole request (Google), so only what discovery lists is asked for unbidden. */
export function scopesToAsk(
  provider: AskedProvider,
  { scopes_supported: listed }: Metadata,
  toolScopes: readonly string[],
): string[] {
  const { scopes, scopeSources } = provider;
  const offers = (scope: string) => !Array.isArray(listed) || listed.includes(scope);
  const usual = scopes ?? USUAL_SCOPES.filter(offers);
  if (scopeSources.kind === "consent") return [...usual];
  return union(usual, profileOf(provider).listsApiScopes ? toolScopes.filter(offers) : toolScopes);
}

/**
 * Those of our tools that no sign-in asks for, where asking is what gives them: a claim or consent gives without. In a
 * request they may be longer than in the token that comes of it, as at Entra (`api://ID/weather:read`), whose
 * `api://ID/.default` stands for all of them.
 */
export function unaskedScopes(
  provider: AskedProvider,
  metadata: Metadata,
  toolScopes: readonly string[],
): string[] {
  const { scopeSources } = provider;
  if (scopeSources.kind === "consent" || scopeSources.claim !== undefined) return [];
  const asked = scopesToAsk(provider, metadata, toolScopes);
  if (asked.some((scope) => scope.endsWith("/.default"))) return [];
  return toolScopes.filter((scope) => !asked.some((each) => each === scope || each.endsWith(`/${scope}`)));
}
