/** The browser's way: /authorize → /consent → the identity provider → /auth/callback → the client, with a code. */
import { type Request, type Response, Router, urlencoded } from "express";
import type { Clients } from "../clients/find-client.ts";
import type { Config } from "../config.ts";
import { authorizationResponse, pageErrors } from "../http/error-handler.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import type { Pages } from "../http/pages.ts";
import { OAuthError } from "../oauth/errors.ts";
import { AuthorizeParameters, CallbackParameters, ConsentForm, parse } from "../oauth/requests.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { Sealer } from "../storage/sealer.ts";
import type { Surroundings } from "../surroundings.ts";
import type { Grants } from "../tokens/grant.ts";
import type { IdentityProvider } from "../upstream/identity-provider.ts";
import { validateAuthorizationRequest } from "./authorize.ts";
import { browserCookies } from "./browser.ts";
import { finishAuthorization } from "./callback.ts";
import { approve, consentPage, denied, withConsentedScopes } from "./consent.ts";
import { type AwaitingConsent, type Logins, openConsent, sealConsent } from "./transaction.ts";

export interface AuthorizationRooms {
  config: Config;
  clients: Clients;
  grants: Grants;
  logins: Logins;
  identityProvider: IdentityProvider;
  sealer: Sealer;
  catalogue: ScopeCatalogue;
  pages: Pages;
}

export function authorizationRoutes(rooms: Surroundings & AuthorizationRooms): Router {
  const { config, clients, identityProvider, sealer, catalogue, pages, now, log } = rooms;
  const { baseUrl, resource, lifetimes } = config;
  const { transactionSeconds } = lifetimes;
  const callbackUrl = `${baseUrl}/auth/callback`;
  const browsers = browserCookies(baseUrl, transactionSeconds, rooms.randomBytes);
  const router = Router();
  const form = urlencoded({ extended: false, limit: "64kb" });

  async function askConsent(parameters: unknown, req: Request, res: Response): Promise<void> {
    const asked = parse(AuthorizeParameters, parameters);
    const { client, request } = await validateAuthorizationRequest(asked, {
      clients,
      resource,
      scopes: catalogue.names,
    });
    const transaction: AwaitingConsent = {
      step: "consent",
      request,
      browser: browsers.identify(req, res),
      expiresAt: now() + transactionSeconds,
    };
    const body = consentPage({
      client,
      transaction,
      form: sealConsent(transaction, sealer),
      action: `${baseUrl}/consent`,
      serverName: config.brand.name,
      identityProviderHost: new URL(config.upstream.issuer).host,
      scopes: catalogue.pick(request.scopes),
    });
    await pages.send(res, 200, "Allow access?", body);
  }

  router.get("/authorize", (req, res) => askConsent(req.query, req, res));
  router.post("/authorize", form, (req, res) => askConsent(req.body, req, res));

  router.post("/consent", form, async (req, res) => {
    const { request, decision, scope } = parse(ConsentForm, req.body, ["scope"]);
    const asked = openConsent(request, sealer, now());
    if (asked === undefined)
      throw new OAuthError(
        "invalid_request",
        "This page is too old. Start the sign-in again in your application.",
        {
          reason: "consent_form_expired",
        },
      );
    // The cookie is what a forged form lacks: it proves that this browser was shown this very page.
    if (!browsers.isSame(req, asked.browser))
      throw new OAuthError(
        "access_denied",
        "This page was opened in another browser, or this browser refuses cookies. Start the sign-in again here.",
        { reason: "another_browser" },
      );
    if (decision === "deny") throw denied(asked);
    const transaction = withConsentedScopes(asked, scope, catalogue);
    const url = await approve(transaction, { ...rooms, callbackUrl, transactionSeconds });
    log.info({ clientId: transaction.request.clientId, scopes: transaction.request.scopes }, "Consent given");
    res.set("Cache-Control", "no-store").redirect(303, url.href);
  });

  router.get("/auth/callback", async (req, res) => {
    parse(CallbackParameters, req.query, []);
    const parameters = new URLSearchParams(req.query as Record<string, string>);
    const isSameBrowser = browsers.isSame.bind(undefined, req);
    const { login, code } = await finishAuthorization(parameters, {
      ...rooms,
      identityProvider,
      callbackUrl,
      isSameBrowser,
    });
    const { redirectUri, state } = login.request;
    res
      .set("Cache-Control", "no-store")
      .redirect(302, authorizationResponse(redirectUri, { code, state, iss: baseUrl }));
  });

  router.all("/authorize", refuseOtherMethods("GET", "POST"));
  router.all("/consent", refuseOtherMethods("POST"));
  router.all("/auth/callback", refuseOtherMethods("GET"));
  router.use(["/authorize", "/consent", "/auth/callback"], pageErrors(log, baseUrl, pages));
  return router;
}
