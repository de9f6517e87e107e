/** /logout: this browser forgets what it remembers, and may sign out at the identity provider too. */
import { Router } from "express";
import { html } from "hono/html";
import { refuseOtherMethods } from "../http/methods.ts";
import { ownFormsOnly } from "../http/same-origin.ts";
import type { IdentityProvider } from "../identity/identity-provider.ts";
import type { ConnectionsEntrance } from "../login/account-entrance.ts";
import type { BrowserCookies } from "../login/browser-binding.ts";
import { pageErrors } from "../pages/error-handler.ts";
import type { Pages } from "../pages/shell.ts";
import type { Runtime } from "../runtime/runtime.ts";

interface Dependencies {
  baseUrl: string;
  browsers: BrowserCookies;
  connections: Pick<ConnectionsEntrance, "leave">;
  pages: Pages;
  /** Where the browser signs out, too. */
  provider: Pick<IdentityProvider, "endSessionUrl">;
}

/**
 * GET asks and changes nothing, so that no link and no image of another site signs anybody out. POST is for the button of
 * that page alone: the answer takes the browser's cookie away, without which a sign-in under way cannot be finished.
 */
export function logoutRoutes({
  baseUrl,
  browsers,
  connections,
  pages,
  provider,
  log,
}: Pick<Runtime, "log"> & Dependencies): Router {
  const router = Router();

  router.get("/logout", async (_req, res) => {
    const body = html`
<p>This browser forgets every "do not ask again", and you are signed out at the identity provider.</p>
<p class="soft">Applications that are connected stay connected until they sign out themselves, or you <a href="${baseUrl}/connections">end their access</a>.</p>
<form method="post" action="${baseUrl}/logout"><div class="buttons"><button class="main">Sign out</button></div></form>`;
    await pages.send(res, 200, "Sign out?", body);
  });

  router.post("/logout", ownFormsOnly(baseUrl), async (req, res) => {
    browsers.forget(res);
    await connections.leave(req, res);
    const url = await provider.endSessionUrl();
    if (url !== undefined) return res.set("Cache-Control", "no-store").redirect(303, url.href);
    await pages.send(res, 200, "Signed out", html`<p>This browser has forgotten what it remembered.</p>`);
  });

  router.all("/logout", refuseOtherMethods("GET", "POST"));
  router.use("/logout", pageErrors(log, baseUrl, pages));
  return router;
}
