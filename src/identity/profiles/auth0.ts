/** Auth0: by the settings AUTH0_…, which its users know. A tenant by OIDC_… is a provider as any other. */
import { identifierOf } from "../../oauth/other-api.ts";
import type { ProviderProfile, ProviderSetup, RegistrationSettings } from "./provider-profile.ts";
import { ACCESS_TOKEN_TYPE, type TokenExchange, tokenExchange } from "./token-exchange.ts";

const GRANT_TYPES =
  "Auth0: the application's Settings → Advanced Settings → Grant Types: tick Authorization Code and Refresh Token.";

const setup: ProviderSetup = {
  settings: { issuer: "AUTH0_DOMAIN", clientId: "AUTH0_CLIENT_ID" },
  issuerSetting: (issuer) => `AUTH0_DOMAIN=${issuer.replace(/^https:\/\/|\/$/g, "")}`,
  issuerRemedy: () =>
    "Set AUTH0_DOMAIN to the Domain that the application's Settings show, such as tenant.eu.auth0.com.",
  credentialsRemedy:
    "Copy Client ID and Client Secret from Auth0: Applications → your Regular Web Application → Settings, into AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET.",
  grantTypesRemedy: GRANT_TYPES,
  refreshRemedy: `${GRANT_TYPES} In the API's Settings: Allow Offline Access.`,
  audienceRemedy:
    "Auth0: copy the Identifier of Applications → APIs → your API into AUTH0_AUDIENCE, letter by letter.",
  exchangeRemedy:
    "Auth0: make a Custom API client of the API of AUTH0_AUDIENCE (app_type resource_server) with On-Behalf-Of Token Exchange, and put its id and secret into OIDC_EXCHANGE_CLIENT_ID and OIDC_EXCHANGE_CLIENT_SECRET. Or make a Custom Token Exchange profile, whose Action verifies the access token and sets its user, put its Subject Token Type into OIDC_SUBJECT_TOKEN_TYPE, and allow this application that by the Management API (token_exchange.allow_any_profile_of_type: custom_authentication).",
  redirectUriPlace: "Auth0: the application's Settings → Allowed Callback URLs",
  withoutAudience: {
    says: "OIDC_AUDIENCE is not set: Auth0 then issues opaque access tokens, which name no permissions",
    remedy:
      "Use the settings AUTH0_DOMAIN, AUTH0_CLIENT_ID, AUTH0_CLIENT_SECRET and AUTH0_AUDIENCE instead of OIDC_…",
  },
  registration,
};

/**
 * On-Behalf-Of Token Exchange, which is RFC 8693 and allowed to "Custom API clients" alone: nobody signs in by them. Or Custom Token
 * Exchange: what `subject_token_type` stands for is an Action of the tenant's own, and the types of RFC 8693 are not taken for it.
 * An API is selected by `audience` alone.
 */
const eitherTokenExchange: TokenExchange = {
  ...tokenExchange,
  name: "On-Behalf-Of or Custom Token Exchange",
  parameters(subjectToken, api, { subjectTokenType, organization }) {
    const asked = {
      subject_token: subjectToken,
      audience: identifierOf(api),
      ...(api.scopes.length > 0 && { scope: api.scopes.join(" ") }),
    };
    return subjectTokenType === undefined
      ? { ...asked, subject_token_type: ACCESS_TOKEN_TYPE, requested_token_type: ACCESS_TOKEN_TYPE }
      : // The token on whose behalf is of the organization already; an Action starts anew.
        {
          ...asked,
          subject_token_type: subjectTokenType,
          ...(organization !== undefined && { organization }),
        };
  },
  problem: ({ subjectTokenType, exchangeClient }) =>
    subjectTokenType === undefined && exchangeClient === undefined
      ? "neither OIDC_EXCHANGE_CLIENT_ID nor OIDC_SUBJECT_TOKEN_TYPE is set: name the Custom API client of your API, or the Subject Token Type of a Custom Token Exchange profile"
      : undefined,
};

export const auth0: ProviderProfile = {
  name: "auth0",
  isIssuer: ({ hostname }) => hostname.endsWith(".auth0.com"),
  secretMethod: "client_secret_post",
  listsApiScopes: false,
  promptForAnother: "login",
  namesIssuerOtherwise: false,
  tokenExchange: eitherTokenExchange,
  // Discovery names an endpoint only in tenants that switched that on; this older one always works.
  endSessionUrl: (issuer) => new URL("/v2/logout", issuer).href,
  setup,
};

/**
 * Whether a refused sign-in is about the API that was asked for: Auth0 says `access_denied` of that, which elsewhere is the
 * user's no. Asked of every provider, because a tenant may be set up by OIDC_… and under a domain of its own.
 */
export function refusesAudience(description: string | undefined): boolean {
  return description?.startsWith("Service not") ?? false;
}

function registration(settings: RegistrationSettings | undefined, toolScopes: readonly string[]): string[] {
  const { audience = "", issuer } = settings ?? {};
  return [
    `Applications → APIs → Create API, Identifier ${audience}, RS256; under Permissions: ${toolScopes.join(", ") || "nothing"}; under Settings: Allow Offline Access.`,
    `Applications → Create Application → Regular Web Application (not a Single Page Application: it can keep no secret).${issuer === undefined ? "" : ` Its Domain is ${new URL(issuer).hostname}.`}`,
    "There under Settings → Allowed Callback URLs: the callback URL above, and nothing with a * in it.",
    "There under Advanced Settings → Grant Types: Authorization Code and Refresh Token.",
  ];
}
