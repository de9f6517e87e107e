/** The settings of an identity provider. */
import type { ScopeSources } from "./scope-sources.ts";

/** `client_secret_basic_plain` is Basic for a provider that does not percent-decode it, as RFC 6749 §2.3.1 would have it. */
export const SECRET_METHODS = [
  "client_secret_post",
  "client_secret_basic",
  "client_secret_basic_plain",
] as const;
export type SecretMethod = (typeof SECRET_METHODS)[number];

/** What proves to the provider that this server is its client. Files are read again when they are used. */
export type CredentialSettings =
  | { kind: "secret"; secret: string }
  /** One secret in each line, two while one replaces the other. */
  | { kind: "secret_file"; path: string }
  | PrivateKeySettings
  /** A JWT that the platform keeps fresh, such as Kubernetes' projected token. */
  | { kind: "token_file"; path: string };

export interface PrivateKeySettings {
  kind: "private_key";
  /** PEM or JWK, here or in a file. */
  text?: string;
  path?: string;
  keyId?: string;
  algorithm?: string;
  /** PEM. */
  certificatePath?: string;
}

export interface IdentityProviderSettings {
  /** Its name here: in records, in its callback URL, in messages. */
  id: string;
  /** What people call it. */
  label?: string;
  /** Whose names its settings have: AUTH0_… or OIDC_…. What follows of that, its profile says. */
  preset: "auth0" | "oidc";
  /** Of many tenants: the pattern of theirs (oauth/tenant-issuer.ts). */
  issuer: string;
  /** Ids of the tenants whose users may sign in, where there are many. */
  tenants?: readonly string[];
  /** In lower case: its users have a verified e-mail address in one of them, and who has one signs in here. None: any. */
  emailDomains?: readonly string[];
  clientId: string;
  credential: CredentialSettings;
  audience?: string;
  /** Asked for at every sign-in, beside what the tools need; absent: the default scopes, as far as discovery lists them. */
  scopes?: readonly string[];
  /** The sources of a user's scopes. */
  scopeSources: ScopeSources;
  /** Auth0's: sign-in is for members of it. */
  organization?: string;
  /** Further parameters of each authorization request, such as Google's `access_type`. */
  authorizationParameters: Readonly<Record<string, string>>;
  /** Back-Channel Logout §2.4 requires `exp` of a logout token since December 2023; not every provider sends it. */
  logoutTokenExp: "required" | "optional";
  /** How the client secret is sent; `auto`: as discovery lists it. */
  tokenEndpointAuthMethod: "auto" | SecretMethod;
  /** RFC 9126: `auto`, where the provider requires it of every client; it may require it of this one alone. */
  pushedAuthorizationRequests: "auto" | "always";
  /** What a user's access token is called where it is exchanged (RFC 8693 §3); absent: an access token. Auth0's is a profile's. */
  subjectTokenType?: string;
  /** Which client exchanges, where it is another one than that by which people sign in: Auth0's "Custom API client". */
  exchangeClient?: Pick<IdentityProviderSettings, "clientId" | "credential">;
  /** Whether ID tokens are kept with a user's tokens, to be exchanged for other authorization servers. Default: no. */
  keepsIdToken?: boolean;
  timeoutSeconds: number;
}
