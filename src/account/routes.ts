/** /connections: a person signs in, sees which applications hold access for them, and ends any of it. */

import { type Request, type Response, Router } from "express";
import type { UserId } from "../access/principal.ts";
import type { Audit } from "../audit/audit.ts";
import type { RememberedConsent } from "../authorization/remembered-consent.ts";
import { endGrants } from "../grants/end-grant.ts";
import type { Endings } from "../grants/endings.ts";
import type { Grants } from "../grants/grants.ts";
import { type Bodies, formBody } from "../http/body.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { count } from "../http/rate-limit.ts";
import { requestFacts } from "../http/request-facts.ts";
import { ownFormsOnly } from "../http/same-origin.ts";
import type { Identity } from "../identity/identity-provider.ts";
import type { ConfiguredProvider, IdentityProviders } from "../identity/identity-providers.ts";
import type { ConnectionsEntrance } from "../login/account-entrance.ts";
import type { BrowserCookies } from "../login/browser-binding.ts";
import { endedSince } from "../login/login.ts";
import { isAnswering, type RememberedProvider } from "../login/provider-choice.ts";
import type { ConnectionsLogin, Logins } from "../login/transaction.ts";
import { OAuthError, UnavailableError } from "../oauth/errors.ts";
import { ConnectionsForm, ConnectionsSignInForm, parse } from "../oauth/requests.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { Brand } from "../pages/brand.ts";
import { pageErrors } from "../pages/error-handler.ts";
import type { Pages } from "../pages/shell.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Shutdown } from "../runtime/shutdown.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { entriesOf, inWords } from "./entries.ts";
import type { ConnectedApplications } from "./list.ts";
import {
  connectionsPage,
  outdatedPage,
  type PageSurroundings,
  type SignInOffer,
  sessionOverPage,
  signedOutPage,
  signInPage,
} from "./page.ts";
import type { OpenSession, Sessions } from "./session.ts";
import { beginSignIn, finishSignIn } from "./sign-in.ts";

export interface AccountSettings {
  baseUrl: string;
  brand: Brand;
  lifetimes: { transactionSeconds: number };
}

export interface AccountDependencies {
  settings: AccountSettings;
  sessions: Sessions;
  connections: ConnectedApplications;
  rememberedConsent: RememberedConsent;
  browsers: BrowserCookies;
  logins: Logins;
  grants: Grants;
  endings: Endings;
  identityProviders: IdentityProviders;
  rememberedProvider: RememberedProvider;
  /** All protected resources of this server … */
  resources: ReadonlyArray<{ uri: string; scopes: ScopeCatalogue }>;
  /** … and the scopes of all of them. */
  catalogue: ScopeCatalogue;
  records: KeyValueStore;
  shutdown: Shutdown;
  pages: Pages;
  bodies: Bodies;
  audit: Audit;
}

const TITLE = "Connected applications";
// Far more than a person clicks.
const REQUESTS_PER_MINUTE = 120;

/** What /auth/callback and /logout need of this module. */
export function connectionsEntrance({
  settings,
  sessions,
  logins,
  endings,
  rememberedProvider,
  audit,
  now,
}: Runtime & AccountDependencies): ConnectionsEntrance {
  const { transactionSeconds } = settings.lifetimes;

  /** As the callback of a client: they signed out while this was under way. */
  async function refuseIfEnded(
    login: ConnectionsLogin,
    identity: Identity,
    session: { end(): Promise<void> },
  ) {
    const reason = await endedSince(login, identity, { endings, transactionSeconds });
    if (reason === undefined) return;
    await session.end();
    audit({ event: "connections_sign_in", decision: "deny", reason: "ended_meanwhile", ...who(identity) });
    throw new OAuthError(
      "access_denied",
      `You were signed out while this sign-in was under way. Open ${settings.baseUrl}/connections and sign in again.`,
      { reason: "ended_meanwhile" },
    );
  }

  return {
    async enter(parameters, state, login, provider, req, res) {
      requestFacts(res).purpose = "connections";
      const identity = await finishSignIn(parameters, state, login, { provider, logins, audit, now });
      const session = await sessions.open(identity, req, res).catch(spentButNotStored);
      await refuseIfEnded(login, identity, session).catch(spentButNotStored);
      audit({ event: "connections_sign_in", decision: "allow", ...who(identity) });
      rememberedProvider.set(res, provider);
      res.redirect(303, `${settings.baseUrl}/connections`);
    },
    leave: (req, res) => sessions.close(req, res),
  };
}

function who({ issuer, subject }: UserId) {
  return { subject, principalKind: "user", issuer } as const;
}

/** The provider's code is used up by now, so that loading the page again would not help. */
function spentButNotStored(cause: unknown): never {
  if (!(cause instanceof UnavailableError)) throw cause;
  throw new UnavailableError("storage", {
    reason: "session_not_stored",
    cause,
    untilRepaired: cause.untilRepaired,
    description: cause.untilRepaired
      ? `The sign-in could not be stored. ${cause.message}`
      : "The sign-in could not be stored just now. Begin it again in a moment.",
  });
}

export function connectionsRoutes({
  settings,
  sessions,
  connections,
  rememberedConsent,
  browsers,
  logins,
  grants,
  endings,
  identityProviders,
  rememberedProvider,
  resources,
  catalogue,
  records,
  pages,
  bodies,
  now,
  randomBytes,
  log,
}: Runtime & AccountDependencies): Router {
  const { baseUrl, lifetimes } = settings;
  const url = `${baseUrl}/connections`;
  const all = identityProviders.all();
  const catalogues = new Map(resources.map(({ uri, scopes }) => [uri, scopes]));
  const router = Router();
  const form = [ownFormsOnly(baseUrl), formBody(bodies.ofStrangers)];

  async function around(req: Request, session?: OpenSession): Promise<PageSurroundings> {
    const theirs = session && identityProviders.ofIssuer(session.user.issuer);
    return {
      url,
      serverName: settings.brand.name,
      identityProviderName: (theirs ?? all[0]).shownAs,
      own: all.length === 1 ? undefined : theirs?.settings.id,
      offers: await offersTo(req),
      hasSeveralResources: resources.length > 1,
      catalogueOf: (resource) => catalogues.get(resource) ?? catalogue,
      now: now(),
    };
  }

  /** The one where this browser signed in before is the first. */
  async function offersTo(req: Request): Promise<SignInOffer[]> {
    const before = rememberedProvider.read(req);
    const isBefore = ({ settings: { id } }: ConfiguredProvider) => id === before;
    const ordered = [...all.filter(isBefore), ...all.filter((each) => !isBefore(each))];
    return await Promise.all(
      ordered.map(async (each) => ({
        name: each.settings.id,
        shownAs: each.shownAs,
        // Where there is no choice, it does not matter.
        isAnswering: all.length === 1 || (await isAnswering(each)),
      })),
    );
  }

  async function findSession(req: Request, res: Response): Promise<OpenSession | undefined> {
    const session = await sessions.find(req);
    if (session === undefined) return undefined;
    requestFacts(res).subject = session.user.subject;
    const limit = { name: "connections_requests", points: REQUESTS_PER_MINUTE, seconds: 60 } as const;
    await count(records.rateLimits, limit, session.key);
    return session;
  }

  /** The session whose page sent this form; if there is none, the answer is given. */
  async function sessionOfForm(
    { form_token }: ConnectionsForm,
    req: Request,
    res: Response,
  ): Promise<OpenSession | undefined> {
    const session = await findSession(req, res);
    if (session !== undefined && sessions.isOwnForm(session, form_token)) return session;
    // With a session, the cookie came along, and what its pages carry did not: forged, or of an earlier sign-in.
    requestFacts(res).reason = session === undefined ? "no_session" : "forged_form";
    if (session === undefined)
      await pages.send(res, 403, "You are signed out", sessionOverPage(await around(req)));
    else await pages.send(res, 403, "This page is out of date", outdatedPage(await around(req)));
    return undefined;
  }

  /** Only the user's own grants, whatever the form names: an id of somebody else's grant is ignored. */
  async function end({ user }: OpenSession, { grant: named, all }: ConnectionsForm): Promise<string[]> {
    const isChosen = ({ grantId }: { grantId: string }) => all !== undefined || named.includes(grantId);
    const chosen = (await connections.ofUser(user)).filter(isChosen);
    // First, so that no grant is made anew without consent: by remembered consent of a browser, or by a sign-in under way.
    const clientIds = new Set(chosen.map(({ clientId }) => clientId));
    await Promise.all(
      [...clientIds].flatMap((clientId) => [
        rememberedConsent.withdraw(user, clientId),
        endings.mark(["client of user", clientId, user], "ended_by_user"),
      ]),
    );
    // Read again: a sign-in may have finished just before the mark was written.
    const own = await connections.ofUser(user);
    const ids = own.filter(isChosen).map(({ grantId }) => grantId);
    const ended = await endGrants(ids, "ended_by_user", grants);
    return inWords(entriesOf(own), ({ grantId }) => ended.some(({ id }) => id === grantId));
  }

  router.get("/connections", async (req, res) => {
    const session = await findSession(req, res);
    if (session === undefined) return await pages.send(res, 200, TITLE, signInPage(await around(req)));
    const entries = entriesOf(await connections.ofUser(session.user));
    // Express answers HEAD with this handler, and nobody sees that answer.
    const told = req.method === "HEAD" ? [] : await sessions.takeMessage(session);
    await pages.send(
      res,
      200,
      TITLE,
      connectionsPage(session, entries, told, await around(req, session)),
      "wide",
    );
  });

  router.post("/connections/sign-in", ...form, async (req, res) => {
    const { another, identity_provider: named } = parse(ConnectionsSignInForm, req.body, []);
    const { transactionSeconds } = lifetimes;
    const provider = all.length === 1 ? all[0] : all.find(({ settings: { id } }) => id === named);
    // Of a page that was opened before the configuration changed: the new one has the choice.
    if (provider === undefined) return res.set("Cache-Control", "no-store").redirect(303, url);
    const browser = browsers.identify(req, res);
    const login = { provider, logins, transactionSeconds, now, randomBytes };
    const target = await beginSignIn(browser, another !== undefined, req.ip ?? "", login);
    res.set("Cache-Control", "no-store").redirect(303, target.href);
  });

  router.post("/connections/end", ...form, async (req, res) => {
    const sent = parse(ConnectionsForm, req.body, ["grant"]);
    const session = await sessionOfForm(sent, req, res);
    if (session === undefined) return;
    const ended = await end(session, sent);
    if (ended.length > 0) await sessions.keepMessage(session, ended);
    res.set("Cache-Control", "no-store").redirect(303, url);
  });

  router.post("/connections/sign-out", ...form, async (req, res) => {
    const session = await sessionOfForm(parse(ConnectionsForm, req.body, ["grant"]), req, res);
    if (session === undefined) return;
    await sessions.close(req, res);
    await pages.send(res, 200, "Signed out", signedOutPage(await around(req, session), `${baseUrl}/logout`));
  });

  const forms = ["/connections/sign-in", "/connections/end", "/connections/sign-out"];
  router.all("/connections", refuseOtherMethods("GET"));
  router.all(forms, refuseOtherMethods("POST"));
  router.use("/connections", pageErrors(log, baseUrl, pages));
  return router;
}
