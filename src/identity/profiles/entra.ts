/** Microsoft Entra ID, and Azure AD B2C. */
import { JWT_BEARER_GRANT } from "../../oauth/client-metadata.ts";
import { identifierOf } from "../../oauth/other-api.ts";
import { generic } from "./generic.ts";
import type { ProviderProfile } from "./provider-profile.ts";
import type { TokenExchange } from "./token-exchange.ts";

const HOST = "login.microsoftonline.com";

/** Also where the document is that of `common`, whose issuer is a pattern for every tenant. */
export const TENANT_ISSUER_REMEDY = `Set OIDC_ISSUER=https://${HOST}/TENANT-ID/v2.0, with the tenant's id in place of common, organizations or a name; or, for several tenants, write {tenantid} there and list them in OIDC_TENANTS.`;

/** On-behalf-of, an assertion grant (RFC 7523 §2.1) with a parameter of its own. There an API is the first part of its scopes. */
const onBehalfOf: TokenExchange = {
  name: "the on-behalf-of flow",
  grantType: JWT_BEARER_GRANT,
  parameters(subjectToken, api) {
    const asked = api.scopes.length === 0 ? [".default"] : api.scopes;
    return {
      assertion: subjectToken,
      requested_token_use: "on_behalf_of",
      scope: asked.map((scope) => (scope.includes("/") ? scope : `${identifierOf(api)}/${scope}`)).join(" "),
    };
  },
  saysIssuedType: false,
  // `sub` is another one in the tokens for each application.
  subjectClaim: "oid",
  audienceIsIdentifier: false,
  // The answer has the API before it, the token has not; and it may be written in other cases than it was asked for.
  scopeName: (scope) => scope.slice(scope.lastIndexOf("/") + 1).toLowerCase(),
  refusalCode: ({ suberror }) => (suberror === "consent_required" ? suberror : undefined),
};

export const entra: ProviderProfile = {
  ...generic,
  name: "entra",
  isIssuer: ({ hostname }) => hostname === HOST || hostname.endsWith(".b2clogin.com"),
  assertionAudience: "token_endpoint",
  // It answers to a tenant's name, and the issuer has its id.
  namesIssuerOtherwise: true,
  tokenExchange: onBehalfOf,
  // Its error pages are answered with 200.
  errorPages: { codes: { callback: ["AADSTS50011"], client: ["AADSTS700016"] } },
  setup: {
    ...generic.setup,
    exchangeRemedy:
      "Entra: in the application's API permissions add the other API's delegated permissions, and grant admin consent for them.",
    issuerRemedy: (issuer) =>
      new URL(issuer).hostname === HOST ? TENANT_ISSUER_REMEDY : generic.setup.issuerRemedy(issuer),
  },
};
