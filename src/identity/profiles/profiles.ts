/** Which profile is whose. */
import type { IdentityProviderSettings } from "../settings.ts";
import { auth0 } from "./auth0.ts";
import { entra } from "./entra.ts";
import { generic } from "./generic.ts";
import { google } from "./google.ts";
import type { ProviderProfile } from "./provider-profile.ts";

/** All of them; whichever comes first is taken. */
export const PROFILES: readonly ProviderProfile[] = [auth0, google, entra, generic];

/** Without an issuer the preset decides alone. */
export type NamedProvider = Pick<IdentityProviderSettings, "preset"> &
  Partial<Pick<IdentityProviderSettings, "issuer">>;

/**
 * The profile by which a provider is treated. Auth0's is the operator's choice: by the settings for any provider, what a
 * tenant's discovery document says counts there, too.
 */
export function profileOf({ preset, issuer }: NamedProvider): ProviderProfile {
  if (preset === "auth0") return auth0;
  const profile = issuer === undefined ? generic : profileOfIssuer(issuer);
  return profile === auth0 ? generic : profile;
}

/** Whose an issuer is, whatever the settings call it. */
export function profileOfIssuer(issuer: string): ProviderProfile {
  if (!URL.canParse(issuer)) return generic;
  const url = new URL(issuer);
  return PROFILES.find((profile) => profile.isIssuer(url)) ?? generic;
}
