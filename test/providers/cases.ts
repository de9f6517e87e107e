/** The providers of provider-profiles.test.ts: each with its behaviour, and the settings that its guide recommends. */
import assert from "node:assert/strict";
import type { ProviderBehaviour } from "../../dev/identity-provider/identity-provider.ts";
import {
  AUTH0,
  AUTHENTIK,
  ENTRA,
  GOOGLE,
  KEYCLOAK,
  OKTA,
} from "../../dev/identity-provider/provider-profiles.ts";
import type { Config } from "../../src/config/config.ts";
import { settingsOf } from "../support/guide.ts";

export interface Case {
  behaviour: ProviderBehaviour;
  /** What its guide says, without what every deployment has of its own. */
  settings: Record<string, string>;
  /** What makes alice a person with `weather:read` there, beside her permissions. */
  claims?: Record<string, unknown>;
  /** What a refresh does to the provider's refresh token; `none` if there is none to begin with. */
  refreshToken: "replaced" | "kept" | "none";
  /** Whether bob, who has no rights there, has none here; not where consent alone decides. */
  distinguishesPeople: boolean;
  /** Whether the real one reports sign-outs. */
  backchannelLogout: boolean;
  adjust?: (config: Config) => Config;
}

/** What the test's own deployment has instead. */
const OWN = ["BASE_URL", "OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "REDIS_URL", "SECRET_KEY"];

/** Those of one block of a guide, the first unless said otherwise. */
export function guideSettings(guide: string, block = 0): Record<string, string> {
  const settings = settingsOf(guide)[block];
  assert.ok(settings, `${guide} has no such block of settings`);
  const { AUTH0_AUDIENCE, ...rest } = settings;
  const usable = Object.entries(rest).filter(([name]) => !OWN.includes(name) && !name.startsWith("AUTH0_"));
  return { OIDC_AUDIENCE: AUTH0_AUDIENCE ?? "", ...Object.fromEntries(usable) };
}

/** Auth0's preset has no place for an issuer on http://localhost. */
export const asAuth0 = (config: Config): Config => ({
  ...config,
  identityProviders: [{ ...config.identityProviders[0], preset: "auth0" }],
});

const EMBEDDED = { distinguishesPeople: true, backchannelLogout: true };
const AUDIENCE_SETTING = { OIDC_AUDIENCE: "https://weather.example.com" };

export const cases: Record<string, Case> = {
  Auth0: {
    ...EMBEDDED,
    behaviour: AUTH0,
    settings: guideSettings("auth0"),
    refreshToken: "replaced",
    adjust: asAuth0,
  },
  "Auth0 without rotation": {
    ...EMBEDDED,
    behaviour: { ...AUTH0, refreshTokens: "static" },
    settings: guideSettings("auth0"),
    refreshToken: "kept",
    adjust: asAuth0,
  },
  Authentik: {
    ...EMBEDDED,
    behaviour: { ...AUTHENTIK, apiScopes: "unknown" },
    settings: guideSettings("authentik"),
    claims: { groups: ["forecasters"] },
    refreshToken: "replaced",
  },
  "Authentik with scopes": {
    ...EMBEDDED,
    behaviour: AUTHENTIK,
    settings: guideSettings("authentik", 1),
    refreshToken: "replaced",
  },
  Keycloak: {
    ...EMBEDDED,
    behaviour: KEYCLOAK,
    settings: guideSettings("keycloak"),
    claims: { realm_access: { roles: ["offline_access", "weather-reader"] } },
    refreshToken: "replaced",
  },
  "Keycloak with scopes": {
    ...EMBEDDED,
    behaviour: { ...KEYCLOAK, apiScopes: "known", advertisesApiScopes: true },
    settings: guideSettings("keycloak", 1),
    refreshToken: "replaced",
  },
  Okta: {
    ...EMBEDDED,
    behaviour: OKTA,
    settings: guideSettings("okta"),
    refreshToken: "kept",
    backchannelLogout: false,
  },
  Entra: {
    ...EMBEDDED,
    behaviour: ENTRA,
    settings: guideSettings("entra"),
    refreshToken: "replaced",
    backchannelLogout: false,
  },
  "Entra with app roles": {
    ...EMBEDDED,
    behaviour: { ...ENTRA, claimsInAccessToken: true },
    settings: guideSettings("entra", 2),
    claims: { roles: ["Weather.Reader"] },
    refreshToken: "replaced",
    backchannelLogout: false,
  },
  Google: {
    behaviour: GOOGLE,
    settings: guideSettings("google"),
    claims: { hd: "example.com" },
    refreshToken: "kept",
    distinguishesPeople: false,
    backchannelLogout: false,
  },
  "strict about resource": {
    ...EMBEDDED,
    behaviour: { unknownResource: "refused", unknownScopes: "refused" },
    settings: AUDIENCE_SETTING,
    refreshToken: "replaced",
  },
  "one that wants resource instead of audience": {
    ...EMBEDDED,
    behaviour: { unknownResource: "refused" },
    settings: {
      OIDC_AUDIENCE: "",
      OIDC_AUTHORIZATION_PARAMETERS: "resource=https://weather.example.com",
      SCOPES_FROM: "scope",
    },
    refreshToken: "replaced",
  },
  "offline_access without prompt=consent": {
    ...EMBEDDED,
    behaviour: { refreshTokens: "with-consent-prompt" },
    settings: AUDIENCE_SETTING,
    refreshToken: "none",
  },
  "offline_access with prompt=consent": {
    ...EMBEDDED,
    behaviour: { refreshTokens: "with-consent-prompt" },
    settings: { ...AUDIENCE_SETTING, OIDC_AUTHORIZATION_PARAMETERS: "prompt=consent" },
    refreshToken: "replaced",
  },
  "no refresh tokens": {
    ...EMBEDDED,
    behaviour: { refreshTokens: "never" },
    settings: AUDIENCE_SETTING,
    refreshToken: "none",
  },
};
