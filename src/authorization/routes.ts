/** The browser's endpoints: /authorize → /consent → the identity provider → /auth/callback → the client, with a code. */

import { Router } from "express";
import type { Audit } from "../audit/audit.ts";
import type { Clients } from "../clients/find-client.ts";
import type { Endings } from "../grants/endings.ts";
import type { Grants } from "../grants/grants.ts";
import type { StepUps } from "../grants/step-ups.ts";
import type { Bodies } from "../http/body.ts";
import type { IdentityProviders } from "../identity/identity-providers.ts";
import type { ConnectionsEntrance } from "../login/account-entrance.ts";
import type { BrowserCookies } from "../login/browser-binding.ts";
import { type SignInLimits, signInLimit } from "../login/login-admission.ts";
import type { RememberedProvider } from "../login/provider-choice.ts";
import type { Logins } from "../login/transaction.ts";
import { logoutRoutes } from "../logout/front-channel.ts";
import type { RedirectUriPolicy } from "../oauth/redirect-uri.ts";
import type { Brand } from "../pages/brand.ts";
import { pageErrors } from "../pages/error-handler.ts";
import type { Pages } from "../pages/shell.ts";
import type { ProtectedResources } from "../resource/protected-resource.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Sealer } from "../storage/sealer.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { authorizeRoute } from "./authorize-route.ts";
import { callbackRoute } from "./callback-route.ts";
import { providerStep } from "./choose-provider.ts";
import type { ConsentMode } from "./consent-mode.ts";
import { consentRoute } from "./consent-route.ts";
import type { RememberedConsent } from "./remembered-consent.ts";
import { type RedirectTrustSettings, redirectTrust } from "./trusted-redirect.ts";
import { wayUpstream } from "./way-upstream.ts";

export interface AuthorizationSettings extends SignInLimits, RedirectTrustSettings {
  /** Also the issuer. */
  baseUrl: string;
  brand: Brand;
  /** When a user is asked, and for how long consent is remembered. */
  consent: { mode: ConsentMode; rememberSeconds: number };
}

export interface AuthorizationDependencies {
  settings: AuthorizationSettings;
  browsers: BrowserCookies;
  connections: ConnectionsEntrance;
  clients: Clients;
  redirectUris: RedirectUriPolicy;
  rememberedConsent: RememberedConsent;
  grants: Grants;
  endings: Endings;
  stepUps: StepUps;
  logins: Logins;
  records: KeyValueStore;
  identityProviders: IdentityProviders;
  /** Where this browser signed in before. */
  rememberedProvider: RememberedProvider;
  sealer: Sealer;
  resources: ProtectedResources;
  pages: Pages;
  bodies: Bodies;
  audit: Audit;
}

export function authorizationRoutes(dependencies: Runtime & AuthorizationDependencies): Router {
  const { settings, clients, redirectUris, resources, identityProviders, rememberedProvider } = dependencies;
  const { pages, log } = dependencies;
  const { baseUrl, lifetimes, consent } = settings;
  const { transactionSeconds } = lifetimes;
  const common = {
    ...dependencies,
    baseUrl,
    consentMode: consent.mode,
    transactionSeconds,
    perAddress: signInLimit(settings),
    providerOf: providerStep({ baseUrl, identityProviders, remembered: rememberedProvider, resources }),
    upstream: wayUpstream({ ...dependencies, transactionSeconds }),
  };
  const rules = {
    clients,
    redirectUris,
    isTrusted: redirectTrust(settings),
    resources,
    upstreamClientIds: identityProviders.all().map((each) => each.settings.clientId),
  };
  const router = Router();
  router.use(authorizeRoute({ ...common, rules }));
  router.use(consentRoute(common));
  router.use(callbackRoute(common));
  router.use(logoutRoutes(common));
  router.use(["/authorize", "/consent", "/auth/callback"], pageErrors(log, baseUrl, pages));
  return router;
}
