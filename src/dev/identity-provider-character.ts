/** How real identity providers differ, as settings of the embedded one. */

/** The defaults are Auth0's habits. */
export interface Character {
  /** `jwt-when-audience`: an RS256 JWT when asked with `audience` or `resource`, opaque otherwise. */
  accessTokens?: "jwt" | "opaque" | "jwt-when-audience";
  /** `static` answers a refresh without a `refresh_token`: the old one stays good. */
  refreshTokens?: "rotating" | "static" | "with-consent-prompt" | "never";
  /** Adds Auth0's `permissions` array to JWT access tokens. */
  permissionsClaim?: boolean;
  /** `scp` is an array, as Okta sends it. */
  scopeClaim?: "scope" | "scp" | "none";
  trailingSlashIssuer?: boolean;
  unknownResource?: "ignored" | "refused";
  unknownScopes?: "ignored" | "refused";
  accessTokenSeconds?: number;
  /** Whether `scopes_supported` also lists the API's scopes. */
  advertisesApiScopes?: boolean;
  /** `unknown`: there is no API here, and nobody can be granted its scopes. */
  apiScopes?: "known" | "unknown";
  /** Whether JWT access tokens carry a user's further claims too. */
  claimsInAccessToken?: boolean;
  /** What becomes of Auth0's `organization` parameter: it selects the one that the ID token names, or nothing. */
  organizations?: "honoured" | "ignored";
}

/** Google knows no scopes but its own, refuses a request that names any other, and gives opaque access tokens. */
export const GOOGLE: Character = {
  accessTokens: "opaque",
  apiScopes: "unknown",
  unknownScopes: "refused",
  advertisesApiScopes: false,
  organizations: "ignored",
};

const auth0: Required<Character> = {
  accessTokens: "jwt-when-audience",
  refreshTokens: "rotating",
  permissionsClaim: true,
  scopeClaim: "scope",
  trailingSlashIssuer: false,
  unknownResource: "ignored",
  unknownScopes: "ignored",
  accessTokenSeconds: 3600,
  advertisesApiScopes: false,
  apiScopes: "known",
  claimsInAccessToken: false,
  organizations: "honoured",
};

/** Fills in Auth0's habits where nothing else was asked for. */
export function completeCharacter(character: Character = {}): Required<Character> {
  return { ...auth0, ...character };
}
