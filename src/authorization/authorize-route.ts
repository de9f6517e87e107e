/** GET and POST /authorize: the request is validated, then the user is asked where they sign in and for their consent, where that is needed. */

import { type Request, type Response, Router } from "express";
import { documentCosts } from "../clients/metadata-documents/document-costs.ts";
import { type Bodies, formBody } from "../http/body.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { type Limit, limitPerAddress } from "../http/rate-limit.ts";
import type { ConfiguredProvider } from "../identity/identity-providers.ts";
import type { BrowserCookies, BrowserHash } from "../login/browser-binding.ts";
import { type AuthorizationRequest, type AwaitingConsent, sealConsent } from "../login/transaction.ts";
import type { Client } from "../oauth/client-metadata.ts";
import type { AuthorizationError } from "../oauth/errors.ts";
import { offerElsewhere } from "../pages/error-handler.ts";
import type { Html, Pages } from "../pages/shell.ts";
import { resourceOf } from "../resource/protected-resource.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Sealer } from "../storage/sealer.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { type AuthorizeRules, unaskedRefusal, validateAuthorizationRequest } from "./authorize.ts";
import type { ProviderStep } from "./choose-provider.ts";
import { consentPage } from "./consent.ts";
import { decideConsent } from "./consent-decision.ts";
import type { ConsentMode } from "./consent-mode.ts";
import type { ConsentRecord, RememberedConsent } from "./remembered-consent.ts";
import { SAME_PAGE, stopped } from "./stopped.ts";
import type { WayUpstream } from "./way-upstream.ts";

interface Dependencies extends Pick<Runtime, "now" | "log"> {
  baseUrl: string;
  consentMode: ConsentMode;
  transactionSeconds: number;
  rules: AuthorizeRules;
  /** Of sign-ins that one address may begin. */
  perAddress: Limit;
  providerOf: ProviderStep;
  upstream: WayUpstream;
  browsers: BrowserCookies;
  rememberedConsent: RememberedConsent;
  records: KeyValueStore;
  sealer: Sealer;
  pages: Pages;
  bodies: Bodies;
}

type Valid = Awaited<ReturnType<typeof validateAuthorizationRequest>>;

export function authorizeRoute({
  baseUrl,
  consentMode,
  transactionSeconds,
  rules,
  perAddress,
  providerOf,
  upstream,
  browsers,
  rememberedConsent,
  records,
  sealer,
  pages,
  bodies,
  now,
  log,
}: Dependencies): Router {
  const { resources } = rules;
  // A page costs nothing, unless a stranger's document has to be fetched for it.
  const fetchesDocument = ({ query, body }: Request) =>
    String(query.client_id ?? body?.client_id).startsWith("https://");
  const limitFetches = limitPerAddress(records.rateLimits, perAddress, fetchesDocument);
  const costsOf = documentCosts(records.rateLimits);
  const requesterOf = (req: Request, res: Response) => ({
    ...costsOf(req, res),
    holdsGrant: async () => false,
  });

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
      mode: consentMode,
      scopes: request.scopes,
      prompt,
      fetchSite: req.get("sec-fetch-site"),
      remembered: await rememberedBy(known, request),
    });
    if (decision.consent === "given") {
      const { scopes, by } = decision;
      return await upstream.afterConsent({ ...transaction, request: { ...request, scopes } }, by, req, res);
    }
    if (decision.consent === "out of reach")
      throw mayNotAsk(client, request, "The user has to be asked for consent.");
    // The consent page offers no scope that the provider does not have. Discovery is cached, unless the provider was never reached.
    await provider.ready();
    await pages.send(res, 200, "Allow access?", askingPage(client, transaction, provider));
  }

  /** In the other modes nothing is remembered. */
  async function rememberedBy(
    browser: BrowserHash | undefined,
    request: AuthorizationRequest,
  ): Promise<ConsentRecord | undefined> {
    if (consentMode !== "remember" || browser === undefined) return undefined;
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
      canRemember: consentMode === "remember",
    });
  }

  const router = Router();
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
  router.all("/authorize", refuseOtherMethods("GET", "POST"));
  return router;
}
