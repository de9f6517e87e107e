/** Decorates the identity provider with metrics of duration and refusals. */
import type { IdentityProvider } from "../identity/identity-provider.ts";
import type { Observe } from "./operation.ts";

/** @param identityProvider its name in the configuration */
export function observedIdentityProvider(
  identityProvider: string,
  provider: IdentityProvider,
  observe: Observe,
): IdentityProvider {
  const watched = <T>(name: string, work: () => Promise<T>) =>
    observe({ of: "upstream", name, identityProvider }, work);
  return {
    authorizationUrl: (request) => watched("authorization_url", () => provider.authorizationUrl(request)),
    finishLogin: (parameters, request) =>
      watched("finish_login", () => provider.finishLogin(parameters, request)),
    identificationUrl: (request, another) =>
      watched("identification_url", () => provider.identificationUrl(request, another)),
    identify: (parameters, request) => watched("identify", () => provider.identify(parameters, request)),
    refresh: (refreshToken, subject) => watched("refresh", () => provider.refresh(refreshToken, subject)),
    exchange: (accessToken, api, user) =>
      watched("exchange", () => provider.exchange(accessToken, api, user)),
    assertionFor: (idToken, api, user) =>
      watched("assertion", () => provider.assertionFor(idToken, api, user)),
    revoke: (token, kind) => watched("revoke", () => provider.revoke(token, kind)),
    verifyLogoutToken: (token) => watched("verify_logout_token", () => provider.verifyLogoutToken(token)),
    endSessionUrl: () => watched("end_session_url", () => provider.endSessionUrl()),
    unaskedScopes: (scopes) => watched("unasked_scopes", () => provider.unaskedScopes(scopes)),
    ready: () => watched("discovery", () => provider.ready()),
  };
}
