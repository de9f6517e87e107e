/** The browser's endpoints: /authorize → /consent → the identity provider → /auth/callback → the client, with a code. */

import { type Request, type Response, Router } from "express";
import type { Audit } from "../audit/audit.ts";
import type { Clients } from "../clients/find-client.ts";
import { documentCosts } from "../clients/metadata-documents/document-costs.ts";
import type { Endings } from "../grants/endings.ts";
import type { Grants } from "../grants/grants.ts";
import type { StepUps } from "../grants/step-ups.ts";
import { type Bodies, formBody } from "../http/body.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { countAddress, limitPerAddress } from "../http/rate-limit.ts";
import type { ConfiguredProvider, IdentityProviders } from "../identity/identity-providers.ts";
import type { ConnectionsEntrance } from "../login/account-entrance.ts";
import type { BrowserCookies, BrowserHash } from "../login/browser-binding.ts";
import { consumeLogin } from "../login/login.ts";
import { type SignInLimits, signInLimit } from "../login/login-admission.ts";
import { CHOSEN, type RememberedProvider } from "../login/provider-choice.ts";
import {
  type AuthorizationRequest,
  type AwaitingConsent,
  authorizationRequestUrl,
  type ClientLogin,
  type Consented,
  type Logins,
  openConsent,
  sealConsent,
} from "../login/transaction.ts";
import { logoutRoutes } from "../logout/front-channel.ts";
import type { Client } from "../oauth/client-metadata.ts";
import { type AuthorizationError, CodeSpentError, causes, OAuthError } from "../oauth/errors.ts";
import type { RedirectUriPolicy } from "../oauth/redirect-uri.ts";
import { CallbackParameters, ConsentForm, parse } from "../oauth/requests.ts";
import type { Brand } from "../pages/brand.ts";
import { authorizationResponse, offerElsewhere, pageErrors } from "../pages/error-handler.ts";
import type { Html, Pages } from "../pages/shell.ts";
import { type ProtectedResources, resourceOf } from "../resource/protected-resource.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Sealer } from "../storage/sealer.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { unaskedRefusal, validateAuthorizationRequest } from "./authorize.ts";
import { providerStep } from "./choose-provider.ts";
import { finishAuthorization } from "./completion.ts";
import { approve, consentPage, denied, tooOld, withConsentedScopes } from "./consent.ts";
import { decideConsent } from "./consent-decision.ts";
import type { ConsentMode } from "./consent-mode.ts";
import type { ConsentRecord, RememberedConsent } from "./remembered-consent.ts";
import { stopped } from "./stopped.ts";
import { type RedirectTrustSettings, redirectTrust } from "./trusted-redirect.ts";

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

/** A link to the page that it stands on, whatever a proxy made of the URL. */
const SAME_PAGE = "";

/** The redirect URIs at identity providers; without a name, the default one's. The first is what metrics and traces call them. */
const CALLBACK = ["/auth/callback", "/auth/callback/:provider"];

/** It carries a whole authorization request, sealed. */
const MAX_CONSENT_BYTES = 98_304;

export function authorizationRoutes({
  settings,
  browsers,
  connections,
  clients,
  redirectUris,
  rememberedConsent,
  grants,
  endings,
  stepUps,
  logins,
  records,
  identityProviders,
  rememberedProvider,
  sealer,
  resources,
  pages,
  bodies,
  audit,
  now,
  randomBytes,
  log,
}: Runtime & AuthorizationDependencies): Router {
  const { baseUrl, lifetimes, consent } = settings;
  const { transactionSeconds } = lifetimes;
  const rules = {
    clients,
    redirectUris,
    isTrusted: redirectTrust(settings),
    resources,
    upstreamClientIds: identityProviders.all().map((each) => each.settings.clientId),
  };
  const perAddress = signInLimit(settings);
  // A page costs nothing, unless a stranger's document has to be fetched for it.
  const fetchesDocument = ({ query, body }: Request) =>
    String(query.client_id ?? body?.client_id).startsWith("https://");
  const limitFetches = limitPerAddress(records.rateLimits, perAddress, fetchesDocument);
  const costsOf = documentCosts(records.rateLimits);
  const requesterOf = (req: Request, res: Response) => ({
    ...costsOf(req, res),
    holdsGrant: async () => false,
  });
  const providerOf = providerStep({
    baseUrl,
    identityProviders,
    remembered: rememberedProvider,
    resources,
  });
  const router = Router();

  async function authorize(parameters: unknown, req: Request, res: Response): Promise<void> {
    const valid = await validateAuthorizationRequest(parameters, rules, requesterOf(req, res));
    const { client, request } = valid;
    const mayReturn = rules.isTrusted(client, request.redirectUri);
    offerElsewhere(res, providerOf.elsewhere(request));
    const provider = providerOf.choose(parameters, request, req);
    const next =
      provider === undefined ? askWhere(parameters, valid, req, res) : askOrGoOn(valid, provider, req, res);
    await next.catch((error) => {
      throw stopped(error, request, { tryAgain: SAME_PAGE, mayReturn, log });
    });
  }

  type Valid = Awaited<ReturnType<typeof validateAuthorizationRequest>>;

  /** Nobody is asked for consent before it is known where they sign in, which the consent page tells them. */
  async function askWhere(
    parameters: unknown,
    { client, request, prompt }: Valid,
    req: Request,
    res: Response,
  ): Promise<void> {
    if (prompt?.split(" ").includes("none"))
      throw mayNotAsk(client, request, "The user has to choose where to sign in.");
    const { name: serverName } = resourceOf(request.resource, resources);
    const page = providerOf.page(parameters, req, { clientName: client.client_name, serverName });
    await pages.send(res, 200, "Where do you sign in?", await page);
  }

  function mayNotAsk(client: Client, request: AuthorizationRequest, why: string): AuthorizationError {
    const Refusal = unaskedRefusal(client, request.redirectUri, rules);
    return new Refusal("interaction_required", why, request, { reason: "prompt_none" });
  }

  async function askOrGoOn(
    { client, request, prompt }: Valid,
    provider: ConfiguredProvider,
    req: Request,
    res: Response,
  ): Promise<void> {
    const known = browsers.recognize(req);
    const transaction: AwaitingConsent = {
      step: "consent",
      request,
      provider: provider.settings.id,
      browser: browsers.identify(req, res),
      expiresAt: now() + transactionSeconds,
    };
    const decision = decideConsent({
      mode: consent.mode,
      scopes: request.scopes,
      prompt,
      fetchSite: req.get("sec-fetch-site"),
      remembered: await rememberedBy(known, request),
    });
    if (decision.consent === "given") {
      const { scopes, by } = decision;
      return await goUpstream({ ...transaction, request: { ...request, scopes } }, by, req, res);
    }
    if (decision.consent === "out of reach")
      throw mayNotAsk(client, request, "The user has to be asked for consent.");
    // The consent page offers no scope that the provider does not have. Discovery is cached, unless the provider was never reached.
    await provider.ready();
    await pages.send(res, 200, "Allow access?", askingPage(client, transaction, provider));
  }

  /** What is begun anew goes to the same one, whatever the browser remembers. */
  function chosen(provider: string | undefined): Record<string, string> {
    return provider === undefined || identityProviders.all().length === 1 ? {} : { [CHOSEN]: provider };
  }

  /** In the other modes nothing is remembered. */
  async function rememberedBy(
    browser: BrowserHash | undefined,
    request: AuthorizationRequest,
  ): Promise<ConsentRecord | undefined> {
    if (consent.mode !== "remember" || browser === undefined) return undefined;
    return await rememberedConsent.find(browser, request);
  }

  function askingPage(client: Client, transaction: AwaitingConsent, { shownAs }: ConfiguredProvider): Html {
    const { name, scopes } = resourceOf(transaction.request.resource, resources);
    return consentPage({
      client,
      transaction,
      form: sealConsent(transaction, sealer, baseUrl),
      action: `${baseUrl}/consent`,
      serverName: name,
      identityProviderName: shownAs,
      anotherProvider: providerOf.elsewhere(transaction.request),
      scopes: scopes.pick(transaction.request.scopes),
      canRemember: consent.mode === "remember",
    });
  }

  async function goUpstream(
    approved: AwaitingConsent,
    approval: Consented,
    req: Request,
    res: Response,
  ): Promise<void> {
    const from = req.ip ?? "";
    const starting = { identityProviders, logins, transactionSeconds, now, randomBytes };
    const url = await approve(approved, approval, from, starting);
    audit({ event: "consent", decision: "allow", ...consentedTo(approved) });
    res.set("Cache-Control", "no-store").redirect(303, url.href);
  }

  /** What was consented to stays, unless it is ended meanwhile: only the sign-in is to be another. */
  async function signInAgain(
    { request, browser, provider, expiresAt, ...consented }: ClientLogin,
    req: Request,
    res: Response,
  ): Promise<void> {
    const { remember, approvedBy, asked, begun } = consented;
    const starting = { identityProviders, logins, transactionSeconds, now, randomBytes };
    const approved = { step: "consent", request, browser, provider, expiresAt } as const;
    const url = await approve(approved, { remember, approvedBy, asked, begun }, req.ip ?? "", starting);
    res.redirect(303, url.href);
  }

  /** The grant exists by now: a failure here must not fail the sign-in. */
  async function keepDocument(clientId: string, req: Request, res: Response): Promise<void> {
    try {
      await clients.grantOpened(clientId, costsOf(req, res));
    } catch (cause) {
      log.warn({ reason: "document_not_stored", clientId, cause: causes(cause) }, "Stored when it is used");
    }
  }

  router.get("/authorize", limitFetches, (req, res) => authorize(req.query, req, res));
  // A form of another site comes without our cookie, and would be given a new one over the one in use. As a GET, which
  // brings the cookie, it is the same request.
  router.post("/authorize", formBody(bodies.ofStrangers), limitFetches, async (req, res) => {
    await validateAuthorizationRequest(req.body, rules, requesterOf(req, res));
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries<string | string[]>(req.body))
      for (const each of [value].flat()) query.append(name, each);
    res.set("Cache-Control", "no-store").redirect(303, `${baseUrl}/authorize?${query}`);
  });

  const consentForm = formBody({ ...bodies.ofStrangers, maxBytes: MAX_CONSENT_BYTES });
  router.post("/consent", consentForm, async (req, res) => {
    const { request, decision, scope, remember } = parse(ConsentForm, req.body, ["scope"]);
    const asked = openConsent(request, sealer, baseUrl, now());
    if (asked === undefined) throw tooOld();
    // A forged form lacks the cookie, which proves that this browser was shown this page.
    if (!browsers.isSame(req, asked.browser))
      throw new OAuthError(
        "access_denied",
        "This page was opened in another browser, or this browser refuses cookies. Start the sign-in again here.",
        { reason: "another_browser" },
      );
    const tryAgain = authorizationRequestUrl(baseUrl, asked.request, chosen(asked.provider));
    offerElsewhere(res, providerOf.elsewhere(asked.request));
    const stop = (error: unknown) => {
      throw stopped(error, asked.request, { tryAgain, mayReturn: true, log });
    };
    if (decision === "deny") {
      // It leads to no grant, and is audited like a sign-in that does.
      await countAddress(records.rateLimits, perAddress, req.ip).catch(stop);
      audit({ event: "consent", decision: "deny", reason: "user_denied", ...consentedTo(asked) });
      throw denied(asked);
    }
    const approved = withConsentedScopes(asked, scope, resourceOf(asked.request.resource, resources).scopes);
    const remembering = remember !== undefined && consent.mode === "remember";
    // The login has as much time again, and its cookie must last as long.
    browsers.identify(req, res);
    const approval = remembering ? { remember: asked.request.scopes } : {};
    await goUpstream(approved, approval, req, res).catch(stop);
  });

  // Express would answer HEAD with the handler of GET, which consumes the login.
  router.head(CALLBACK, refuseOtherMethods("GET"));
  router.get<{ provider?: string }>(CALLBACK, async (req, res) => {
    const provider = identityProviders.get(req.params.provider);
    if (provider === undefined)
      throw new OAuthError("invalid_request", "There is no identity provider of this name here.", {
        reason: "unknown_provider",
        status: 404,
      });
    parse(CallbackParameters, req.query, []);
    const parameters = new URLSearchParams(req.query as Record<string, string>);
    const state = parameters.get("state") ?? "";
    const isSameBrowser = browsers.isSame.bind(undefined, req);
    const login = await consumeLogin(state, {
      logins,
      identityProviders,
      answering: provider,
      isSameBrowser,
      now,
    });
    res.set("Cache-Control", "no-store");
    if (login.step === "connections")
      return await connections.enter(parameters, state, login, provider, req, res);
    const { request } = login;
    const anew = (again: AuthorizationRequest) => {
      const asked = { ...again, scopes: login.asked ?? again.scopes };
      return authorizationRequestUrl(baseUrl, asked, chosen(login.provider));
    };
    const stop = (error: unknown) => {
      const tryAgain = error instanceof CodeSpentError ? anew(request) : SAME_PAGE;
      throw stopped(error, request, { tryAgain, mayReturn: true, log });
    };
    offerElsewhere(res, providerOf.elsewhere(request));
    const completed = await finishAuthorization(parameters, state, login, {
      provider,
      logins,
      grants,
      endings,
      stepUps,
      rememberedConsent,
      resources,
      transactionSeconds,
      audit,
      now,
      log,
    }).catch(stop);
    rememberedProvider.set(res, provider);
    if ("signInAgain" in completed) {
      const authentication = completed.signInAgain;
      browsers.identify(req, res);
      const again = { ...request, authentication };
      return await signInAgain({ ...login, request: again }, req, res).catch((error) => {
        // This callback is over, and what the tool asks for is noted no more.
        throw stopped(error, request, { tryAgain: anew(again), mayReturn: true, log });
      });
    }
    if ("askAgain" in completed) return res.redirect(302, anew(request));
    await keepDocument(request.clientId, req, res);
    const { redirectUri } = request;
    const answer = { code: completed.code, state: request.state, iss: baseUrl };
    res.redirect(302, authorizationResponse(redirectUri, answer));
  });

  router.use(
    logoutRoutes({
      baseUrl,
      browsers,
      connections,
      pages,
      identityProviders,
      rememberedProvider,
      bodies,
      log,
    }),
  );
  router.all("/authorize", refuseOtherMethods("GET", "POST"));
  router.all("/consent", refuseOtherMethods("POST"));
  router.all(CALLBACK, refuseOtherMethods("GET"));
  router.use(["/authorize", "/consent", "/auth/callback"], pageErrors(log, baseUrl, pages));
  return router;
}

/** For the audit log: nobody is signed in yet. */
function consentedTo({ request: { clientId, resource, scopes } }: AwaitingConsent) {
  return { clientId, protectedResource: resource, scopes };
}
