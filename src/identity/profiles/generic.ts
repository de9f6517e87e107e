/** Any provider of which nothing is known but its discovery document. */
import type { ProviderProfile, ProviderSetup, RegistrationSettings } from "./provider-profile.ts";
import { tokenExchange } from "./token-exchange.ts";

const setup: ProviderSetup = {
  settings: { issuer: "OIDC_ISSUER", clientId: "OIDC_CLIENT_ID" },
  issuerSetting: (issuer) => `OIDC_ISSUER=${issuer}`,
  issuerRemedy,
  credentialsRemedy:
    "Copy both anew from the application at the provider into OIDC_CLIENT_ID and OIDC_CLIENT_SECRET (the secret itself, not its id; it may have expired).",
  grantTypesRemedy:
    "Allow the application the grant types authorization_code and refresh_token (Keycloak: Standard flow).",
  refreshRemedy: "Allow the application the grant type refresh_token.",
  audienceRemedy: "Set OIDC_AUDIENCE to the identifier of the API at the provider, letter by letter.",
  exchangeRemedy:
    "Allow the application the grant type urn:ietf:params:oauth:grant-type:token-exchange, and the other API as its target (Keycloak: Standard token exchange, and the API's client as an audience).",
  redirectUriPlace: "Register this redirect URI at the provider",
  registration,
};

export const generic: ProviderProfile = {
  name: "generic",
  isIssuer: () => true,
  listsApiScopes: true,
  promptForAnother: "login",
  namesIssuerOtherwise: false,
  tokenExchange,
  setup,
};

/** Where the issuers of well-known products are. */
function issuerRemedy(issuer: string): string {
  const { hostname, pathname } = new URL(issuer);
  if (hostname.includes("okta"))
    return `Set OIDC_ISSUER to the issuer of the authorization server, such as https://${hostname}/oauth2/default, or https://${hostname} for the organization's own.`;
  if (pathname.includes("/auth/realms/"))
    return `Keycloak has no /auth in its path since version 17: try OIDC_ISSUER=${issuer.replace("/auth/realms/", "/realms/")}.`;
  return "Set OIDC_ISSUER to the issuer as the provider shows it: that URL followed by /.well-known/openid-configuration opens a JSON document in a browser. Keycloak's is https://HOST/realms/REALM, Authentik's https://HOST/application/o/APPLICATION/.";
}

function registration(settings: RegistrationSettings | undefined, toolScopes: readonly string[]): string[] {
  const sources = settings?.scopeSources;
  const isElsewhere = sources?.kind === "consent" || sources?.claim !== undefined;
  const asksForScopes = !isElsewhere && toolScopes.length > 0;
  return [
    "A confidential client (“web application”, client authentication on) with the authorization code flow and refresh tokens.",
    "Its redirect URI: the callback URL above, exactly, without wildcards.",
    ...(asksForScopes
      ? [`The scopes of the tools, for those who may have them: ${toolScopes.join(", ")}.`]
      : []),
    holdsSecret(settings)
      ? "Its client id and secret go into OIDC_CLIENT_ID and OIDC_CLIENT_SECRET, the issuer into OIDC_ISSUER."
      : "Its client id goes into OIDC_CLIENT_ID, the issuer into OIDC_ISSUER; there is no client secret.",
  ];
}

function holdsSecret(settings: RegistrationSettings | undefined): boolean {
  const { kind } = settings?.credential ?? { kind: "secret" };
  return kind === "secret" || kind === "secret_file";
}
