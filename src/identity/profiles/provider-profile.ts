/**
 * What an identity provider does differently from what its discovery document says or leaves open. Where the server or the
 * doctor has to decide by the provider, it asks the profile; `profiles.ts` chooses it.
 */
import type { IdentityProviderSettings, SecretMethod } from "../settings.ts";
import type { TokenExchange } from "./token-exchange.ts";

export interface ProviderProfile {
  readonly name: "auth0" | "google" | "entra" | "generic";
  /** Whether an issuer is one of this provider's, by its host. A custom domain shows nobody's. */
  isIssuer(issuer: URL): boolean;
  /** How it wants the client secret, whatever it lists; absent: as it lists. */
  readonly secretMethod?: SecretMethod;
  /** What it wants as the audience of an assertion; absent: its issuer or its token endpoint. */
  readonly assertionAudience?: "token_endpoint";
  /** Whether its `scopes_supported`, if there is one, names the scopes of APIs too. What is not named is not asked for. */
  readonly listsApiScopes: boolean;
  /** Which `prompt` lets somebody else sign in (OpenID Connect Core §3.1.2.1). */
  readonly promptForAnother: "login" | "select_account";
  /**
   * Whether its discovery document may name another issuer than the one that it was asked for. OpenID Connect Discovery
   * §4.3 has the two be the same.
   */
  readonly namesIssuerOtherwise: boolean;
  /** Where a browser signs out, if discovery names no `end_session_endpoint`. */
  endSessionUrl?(issuer: string): string;
  /** How it gives tokens for other APIs. */
  readonly tokenExchange: TokenExchange;
  readonly errorPages?: ErrorPages;
  readonly setup: ProviderSetup;
}

/** How its error pages say what is wrong, beyond the codes of OAuth. */
export interface ErrorPages {
  /** Codes that no login page has in its scripts: they count whatever the status of the page. */
  readonly codes?: { readonly callback: readonly string[]; readonly client: readonly string[] };
  /** What the address of the page says. */
  ofAddress?(parameters: URLSearchParams): string;
}

/** Where its settings are, here and there: for the operator. Remedies are whole sentences, unless they say otherwise. */
export interface ProviderSetup {
  /** Names of our settings. */
  readonly settings: { readonly issuer: string; readonly clientId: string };
  /** The line of our settings that names this issuer. */
  issuerSetting(issuer: string): string;
  /** The remedy where there is no discovery document for `issuer`. */
  issuerRemedy(issuer: string): string;
  readonly credentialsRemedy: string;
  readonly grantTypesRemedy: string;
  readonly refreshRemedy: string;
  readonly audienceRemedy: string;
  /** What has to be allowed there before a tool gets tokens for other APIs. */
  readonly exchangeRemedy: string;
  /** Where redirect URIs are registered: the callback URL is put behind it. */
  readonly redirectUriPlace: string;
  /** Said if no audience is set, where the issuer shows that one is needed. */
  readonly withoutAudience?: { readonly says: string; readonly remedy: string };
  /** What to enter there, in order; without settings where none are good yet. */
  registration(settings: RegistrationSettings | undefined, toolScopes: readonly string[]): string[];
}

export type RegistrationSettings = Pick<
  IdentityProviderSettings,
  "issuer" | "audience" | "scopeSources" | "credential"
>;
