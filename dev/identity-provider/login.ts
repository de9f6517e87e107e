/** Where oidc-provider sends the browser when it needs the user: the login page. Consent is always given. */
import type { IncomingMessage } from "node:http";
import type { KoaContextWithOIDC, Provider } from "oidc-provider";
import { errors } from "oidc-provider";
import type { Settings } from "./configuration.ts";
import { errorPage, loginPage, show } from "./pages.ts";
import { acrFor } from "./ways-to-sign-in.ts";

type Interaction = Awaited<ReturnType<Provider["interactionDetails"]>>;

/** GET and POST of `/interaction/:uid`. */
export function interact(provider: Provider, settings: Settings) {
  return async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    if (!ctx.path.startsWith("/interaction/")) return next();
    try {
      await serve(provider, settings, ctx);
    } catch (error) {
      if (!(error instanceof errors.SessionNotFound)) throw error;
      ctx.status = 400;
      show(
        ctx,
        await errorPage("session_not_found", "This sign-in has expired, or was begun in another browser."),
      );
    }
  };
}

async function serve(provider: Provider, settings: Settings, ctx: KoaContextWithOIDC): Promise<void> {
  const interaction = await provider.interactionDetails(ctx.req, ctx.res);
  if (interaction.prompt.name === "consent") {
    return redirect(ctx, await provider.interactionResult(ctx.req, ctx.res, { consent: {} }));
  }
  const subject = ctx.method === "POST" ? await readLogin(ctx.req) : undefined;
  if (!subject) {
    return show(
      ctx,
      await loginPage(ctx.path, settings.directory.listed, String(interaction.params.client_id)),
    );
  }
  const login = { accountId: subject, acr: acrFor(interaction.params.acr_values), ...signInTime(settings) };
  const returnTo = await provider.interactionResult(ctx.req, ctx.res, { login });
  await forgetOtherUser(provider, interaction, subject);
  redirect(ctx, returnTo);
}

function signInTime({ signedInAgo }: Settings): { ts?: number } {
  const ago = signedInAgo();
  return ago === 0 ? {} : { ts: Math.floor(Date.now() / 1000) - ago };
}

/** The text field and the buttons share the name `login`; the button pressed comes last. */
async function readLogin(req: IncomingMessage): Promise<string | undefined> {
  let body = "";
  for await (const chunk of req) {
    body += String(chunk);
    if (body.length > 4096) throw new errors.InvalidRequest("login form is too long");
  }
  const names = new URLSearchParams(body).getAll("login").map((name) => name.trim().slice(0, 64));
  return names.filter(Boolean).at(-1);
}

/** Otherwise oidc-provider would sign the previous user out on a page that needs JavaScript. */
async function forgetOtherUser(provider: Provider, interaction: Interaction, subject: string): Promise<void> {
  const session = interaction.session && (await provider.Session.findByUid(interaction.session.uid));
  if (!session?.accountId || session.accountId === subject) return;
  session.accountId = undefined;
  session.authorizations = undefined;
  await session.persist();
}

function redirect(ctx: KoaContextWithOIDC, location: string): void {
  ctx.status = 303;
  ctx.redirect(location);
}
