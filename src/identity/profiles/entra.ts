/** Microsoft Entra ID, and Azure AD B2C. */
import { generic } from "./generic.ts";
import type { ProviderProfile } from "./provider-profile.ts";

const HOST = "login.microsoftonline.com";

/** Also where the document is that of `common`, whose issuer is a pattern for every tenant. */
export const TENANT_ISSUER_REMEDY = `Set OIDC_ISSUER=https://${HOST}/TENANT-ID/v2.0, with the tenant's id in place of common, organizations or a name; or, for several tenants, write {tenantid} there and list them in OIDC_TENANTS.`;

export const entra: ProviderProfile = {
  ...generic,
  name: "entra",
  isIssuer: ({ hostname }) => hostname === HOST || hostname.endsWith(".b2clogin.com"),
  assertionAudience: "token_endpoint",
  // It answers to a tenant's name, and the issuer has its id.
  namesIssuerOtherwise: true,
  // Its error pages are answered with 200.
  errorPages: { codes: { callback: ["AADSTS50011"], client: ["AADSTS700016"] } },
  setup: {
    ...generic.setup,
    issuerRemedy: (issuer) =>
      new URL(issuer).hostname === HOST ? TENANT_ISSUER_REMEDY : generic.setup.issuerRemedy(issuer),
  },
};
