/** GET /auth/callback: the identity provider sends the browser back, and the client gets its code. */

import { type Request, type Response, Router } from "express";
import type { Clients } from "../clients/find-client.ts";
import { documentCosts } from "../clients/metadata-documents/document-costs.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import type { IdentityProviders } from "../identity/identity-providers.ts";
import type { ConnectionsEntrance } from "../login/account-entrance.ts";
import type { BrowserCookies } from "../login/browser-binding.ts";
import { consumeLogin } from "../login/login.ts";
import type { RememberedProvider } from "../login/provider-choice.ts";
import type { AuthorizationRequest } from "../login/transaction.ts";
import { CodeSpentError, causes, OAuthError } from "../oauth/errors.ts";
import { CallbackParameters, parse } from "../oauth/requests.ts";
import { authorizationResponse, offerElsewhere } from "../pages/error-handler.ts";
import type { KeyValueStore } from "../storage/store.ts";
import type { ProviderStep } from "./choose-provider.ts";
import { type CompletionDependencies, finishAuthorization } from "./completion.ts";
import { SAME_PAGE, stopped } from "./stopped.ts";
import type { WayUpstream } from "./way-upstream.ts";

/** The redirect URIs at identity providers; without a name, the default one's. The first is what metrics and traces call them. */
const CALLBACK = ["/auth/callback", "/auth/callback/:provider"];

interface Dependencies extends Omit<CompletionDependencies, "provider"> {
  baseUrl: string;
  providerOf: ProviderStep;
  upstream: WayUpstream;
  browsers: BrowserCookies;
  connections: ConnectionsEntrance;
  clients: Clients;
  records: KeyValueStore;
  identityProviders: IdentityProviders;
  /** Where this browser signed in before. */
  rememberedProvider: RememberedProvider;
}

export function callbackRoute({
  baseUrl,
  providerOf,
  upstream,
  browsers,
  connections,
  clients,
  records,
  identityProviders,
  rememberedProvider,
  ...completion
}: Dependencies): Router {
  const { logins, now, log } = completion;
  const costsOf = documentCosts(records.rateLimits);

  /** The grant exists by now: a failure here must not fail the sign-in. */
  async function keepDocument(clientId: string, req: Request, res: Response): Promise<void> {
    try {
      await clients.grantOpened(clientId, costsOf(req, res));
    } catch (cause) {
      log.warn({ reason: "document_not_stored", clientId, cause: causes(cause) }, "Stored when it is used");
    }
  }

  const router = Router();
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
    const login = await consumeLogin(state, {
      logins,
      identityProviders,
      answering: provider,
      isSameBrowser: (hash) => browsers.isSame(req, hash),
      now,
    });
    res.set("Cache-Control", "no-store");
    if (login.step === "connections")
      return await connections.enter(parameters, state, login, provider, req, res);
    const { request } = login;
    const anew = (again: AuthorizationRequest) =>
      providerOf.again({ ...again, scopes: login.asked ?? again.scopes }, login.provider);
    const stop = (error: unknown) => {
      const tryAgain = error instanceof CodeSpentError ? anew(request) : SAME_PAGE;
      throw stopped(error, request, { tryAgain, mayReturn: true, log });
    };
    offerElsewhere(res, providerOf.elsewhere(request));
    const completed = await finishAuthorization(parameters, state, login, { ...completion, provider }).catch(
      stop,
    );
    rememberedProvider.set(res, provider);
    if ("signInAgain" in completed) {
      const authentication = completed.signInAgain;
      browsers.identify(req, res);
      const again = { ...request, authentication };
      return await upstream.again({ ...login, request: again }, req, res).catch((error) => {
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
  router.all(CALLBACK, refuseOtherMethods("GET"));
  return router;
}
