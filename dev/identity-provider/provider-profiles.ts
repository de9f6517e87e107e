/** How the behaviour of real identity providers differs, as settings of the embedded one. */

/** The defaults are Auth0's behaviour. */
export interface ProviderBehaviour {
  /** `jwt-when-audience`: an RS256 JWT when asked with `audience` or `resource`, opaque otherwise. */
  accessTokens?: "jwt" | "opaque" | "jwt-when-audience";
  /**
   * `static` answers a refresh without a `refresh_token`: the old one stays good. `with-access-type` is Google's way:
   * static ones, for `access_type=offline` and `prompt=consent`, and no scope `offline_access`.
   */
  refreshTokens?: "rotating" | "static" | "with-consent-prompt" | "with-access-type" | "never";
  /** Adds Auth0's `permissions` array to JWT access tokens. */
  permissionsClaim?: boolean;
  /** `scp` is an array, as Okta sends it; `scp-text` is Entra's, a text with spaces. */
  scopeClaim?: "scope" | "scp" | "scp-text" | "none";
  /** What the API's scopes begin with where they are asked for, but not in the access token: Entra's `api://ID/`. */
  scopePrefix?: string;
  /** Whether the same user has another `sub` in access tokens than in ID tokens, as at Entra. */
  accessTokenSubject?: "same" | "another";
  /** `thin` ones leave what `profile` and `email` ask for to userinfo (OpenID Connect Core §5.4). */
  idTokens?: "full" | "thin";
  trailingSlashIssuer?: boolean;
  /** What Auth0's `audience` does: it selects the API and must be known, or it is ignored. */
  audienceParameter?: "selects" | "ignored";
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
  /** Whether it requires pushed authorization requests (RFC 9126), and of whom. */
  pushedRequests?: "none" | "of all" | "of the client";
  /** What becomes of `max_age` and `acr_values`. `ignored`: nobody is asked again, and `auth_time` and `acr` are left out. */
  stepUp?: "honoured" | "ignored";
  /** How the client may send its secret. */
  clientAuthentication?: "any" | "basic" | "post";
  /** Whether discovery says so. */
  advertisesClientAuthentication?: boolean;
  /** What it wants a token that is exchanged to be called (RFC 8693): Auth0 has it be a URI of one's own. */
  subjectTokenType?: string;
  /** What userinfo answers: JSON, or a JWT (OpenID Connect Core §5.3.2), of which discovery says nothing. */
  userinfo?: "json" | "signed";
}

/** Auth0 itself, whose issuer ends with a slash and which does not say what scopes an API has. */
export const AUTH0: ProviderBehaviour = { trailingSlashIssuer: true, advertisesApiScopes: false };

/** An authorization server of one's own at Okta: it lists public scopes, and refuses those that it does not know. */
export const OKTA: ProviderBehaviour = {
  accessTokens: "jwt",
  audienceParameter: "ignored",
  refreshTokens: "static",
  permissionsClaim: false,
  scopeClaim: "scp",
  idTokens: "thin",
  advertisesApiScopes: true,
  unknownScopes: "refused",
};

/** Entra with tokens of version 2, for an API whose identifier is made of the application's id. */
export const ENTRA: ProviderBehaviour = {
  accessTokens: "jwt",
  audienceParameter: "ignored",
  permissionsClaim: false,
  scopeClaim: "scp-text",
  scopePrefix: "api://3f8c2a40-6d1e-4b7a-9c55-0e2d7b91a6f4/",
  accessTokenSubject: "another",
  advertisesApiScopes: false,
  unknownScopes: "refused",
};

/** Keycloak as it is installed: roles in the access token, which lives for five minutes; unknown scopes are refused. */
export const KEYCLOAK: ProviderBehaviour = {
  accessTokens: "jwt",
  audienceParameter: "ignored",
  permissionsClaim: false,
  claimsInAccessToken: true,
  advertisesApiScopes: false,
  apiScopes: "unknown",
  unknownScopes: "refused",
  accessTokenSeconds: 300,
};

/** Authentik: its JWT access tokens name groups and no scopes, those are in the token response; the issuer ends with a slash. */
export const AUTHENTIK: ProviderBehaviour = {
  accessTokens: "jwt",
  audienceParameter: "ignored",
  permissionsClaim: false,
  scopeClaim: "none",
  claimsInAccessToken: true,
  trailingSlashIssuer: true,
  advertisesApiScopes: true,
  accessTokenSeconds: 300,
};

/** Google knows no scopes but its own, refuses a request that names any other, and gives opaque access tokens. */
export const GOOGLE: ProviderBehaviour = {
  accessTokens: "opaque",
  audienceParameter: "ignored",
  refreshTokens: "with-access-type",
  apiScopes: "unknown",
  unknownScopes: "refused",
  advertisesApiScopes: false,
  organizations: "ignored",
};

const usual: Required<ProviderBehaviour> = {
  stepUp: "honoured",
  accessTokens: "jwt-when-audience",
  refreshTokens: "rotating",
  permissionsClaim: true,
  scopeClaim: "scope",
  scopePrefix: "",
  accessTokenSubject: "same",
  idTokens: "full",
  trailingSlashIssuer: false,
  audienceParameter: "selects",
  unknownResource: "ignored",
  unknownScopes: "ignored",
  accessTokenSeconds: 3600,
  advertisesApiScopes: false,
  apiScopes: "known",
  claimsInAccessToken: false,
  organizations: "honoured",
  clientAuthentication: "any",
  pushedRequests: "none",
  advertisesClientAuthentication: true,
  subjectTokenType: "urn:ietf:params:oauth:token-type:access_token",
  userinfo: "json",
};

/** Fills in Auth0's behaviour where nothing else was asked for. */
export function completeProfile(behaviour: ProviderBehaviour = {}): Required<ProviderBehaviour> {
  return { ...usual, ...behaviour };
}
