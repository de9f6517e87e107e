/** /logout: this browser forgets what it remembers, and may sign out at the identity provider too. */
import { Router } from "express";
import { html } from "hono/html";
import { type Bodies, formBody } from "../http/body.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { ownFormsOnly } from "../http/same-origin.ts";
import type { ConfiguredProvider, IdentityProviders } from "../identity/identity-providers.ts";
import type { ConnectionsEntrance } from "../login/account-entrance.ts";
import type { BrowserCookies } from "../login/browser-binding.ts";
import type { RememberedProvider } from "../login/provider-choice.ts";
import { LogoutForm, parse } from "../oauth/requests.ts";
import { pageErrors } from "../pages/error-handler.ts";
import type { Html, Pages } from "../pages/shell.ts";
import type { Runtime } from "../runtime/runtime.ts";

interface Dependencies {
  baseUrl: string;
  browsers: BrowserCookies;
  connections: Pick<ConnectionsEntrance, "leave">;
  pages: Pages;
  identityProviders: Pick<IdentityProviders, "all">;
  rememberedProvider: RememberedProvider;
  bodies: Bodies;
}

/**
 * GET asks and changes nothing, so that no link and no image of another site signs anybody out. POST is for the buttons of
 * that page alone: the answer takes the browser's cookies away, without which a sign-in under way cannot be finished.
 */
export function logoutRoutes({
  baseUrl,
  browsers,
  connections,
  pages,
  identityProviders,
  rememberedProvider,
  bodies,
  log,
}: Pick<Runtime, "log"> & Dependencies): Router {
  const all = identityProviders.all();
  const isChoice = all.length > 1;
  const router = Router();

  router.get("/logout", async (req, res) => {
    const before = rememberedProvider.read(req);
    const last = all.filter(({ settings }) => settings.id === before);
    const body = html`
<p>${
      isChoice
        ? html`This browser forgets every "do not ask again", and where you signed in. If you are still signed in at an identity provider, choose it, and you are signed out there too.`
        : html`This browser forgets every "do not ask again", and you are signed out at the identity provider.`
    }</p>
<p class="soft">Applications that are connected stay connected until they sign out themselves, or you <a href="${baseUrl}/connections">end their access</a>.</p>
<form method="post" action="${baseUrl}/logout">${
      isChoice
        ? choices([...last, ...all.filter((each) => !last.includes(each))])
        : html`<div class="buttons"><button class="main">Sign out</button></div>`
    }</form>`;
    await pages.send(res, 200, "Sign out?", body);
  });

  const form = [ownFormsOnly(baseUrl), ...(isChoice ? [formBody(bodies.ofStrangers)] : [])];
  router.post("/logout", ...form, async (req, res) => {
    const { identity_provider: named } = parse(LogoutForm, isChoice ? req.body : {}, []);
    browsers.forget(res);
    rememberedProvider.forget(res);
    await connections.leave(req, res);
    const provider = isChoice ? all.find(({ settings }) => settings.id === named) : all[0];
    const url = await provider?.endSessionUrl();
    if (url !== undefined) return res.set("Cache-Control", "no-store").redirect(303, url.href);
    await pages.send(res, 200, "Signed out", html`<p>This browser has forgotten what it remembered.</p>`);
  });

  router.all("/logout", refuseOtherMethods("GET", "POST"));
  router.use("/logout", pageErrors(log, baseUrl, pages));
  return router;
}

/** The one where this browser signed in last is the first. */
function choices(providers: readonly ConfiguredProvider[]): Html {
  return html`<ul class="choices">${providers.map(
    ({ settings, shownAs }) =>
      html`<li><button name="identity_provider" value="${settings.id}">Sign out, also at ${shownAs}</button></li>`,
  )}<li><button>Sign out here only</button></li></ul>`;
}
