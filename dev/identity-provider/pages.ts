/** The pages of the embedded identity provider: signing in, signing out, and what went wrong. */
import { html, raw } from "hono/html";
import type { DemoUser } from "./users.ts";

type Markup = ReturnType<typeof html>;

/** Answers with a page; it can run no script and load nothing. */
export function show(
  ctx: { type: string; body: unknown; set(name: string, value: string): void },
  document: string,
): void {
  ctx.set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
  ctx.set("Cache-Control", "no-store");
  ctx.type = "html";
  ctx.body = document;
}

/** One form: type any name, or press the button of a listed user. */
export function loginPage(action: string, users: readonly DemoUser[], clientId: string): Promise<string> {
  // The unnamed button comes first: Enter in a text field presses a form's first submit button.
  return page(
    "Sign in",
    html`<p>Sign in to continue to <strong>${clientId}</strong>. This provider is part of the demo: there are no
        passwords, and any name will do.</p>
      <form method="post" action="${action}">
        <label for="login">Your name</label>
        <div class="row">
          <input id="login" name="login" type="text" maxlength="64" autocomplete="username" autofocus required />
          <button type="submit" class="primary">Continue</button>
        </div>
        <p class="or">or sign in as</p>
        ${users.map(userButton)}
      </form>`,
  );
}

function userButton(user: DemoUser): Markup {
  const may = user.permissions.length > 0 ? user.permissions.join(" ") : "no permissions";
  return html`<button type="submit" class="user" name="login" value="${user.subject}" formnovalidate>
    <strong>${user.name}</strong><span>${user.email}</span><code>${may}</code>
  </button>`;
}

/** @param form oidc-provider's own form, with its token against forged requests. */
export function logoutPage(form: string): Promise<string> {
  return page(
    "Sign out",
    html`<p>Do you want to sign out of the demo identity provider?</p>
      ${raw(form)}
      <button type="submit" class="primary" form="op.logoutForm" name="logout" value="yes">Sign out</button>
      <button type="submit" form="op.logoutForm">Stay signed in</button>`,
  );
}

export function signedOutPage(): Promise<string> {
  return page("Signed out", html`<p>You are signed out. You can close this page.</p>`);
}

export function errorPage(error: string, description: string | undefined): Promise<string> {
  return page(
    "That did not work",
    html`<p>${description ?? "The request could not be completed."}</p>
      <p><code>${error}</code></p>
      <p>Go back to the application you came from and start again.</p>`,
  );
}

async function page(title: string, content: Markup): Promise<string> {
  const document = await html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title} · Demo identity provider</title>
        <style>
          ${raw(style)}
        </style>
      </head>
      <body>
        <main>
          <p class="brand">Demo identity provider</p>
          <h1>${title}</h1>
          ${content}
        </main>
      </body>
    </html>`;
  return document.toString();
}

const style = `
  :root { color-scheme: light dark; --ink: #1c1b22; --soft: #5b5966; --line: #d5d3dd; --ground: #f3f1f8; --card: #fff; --accent: #5a32c8; --on-accent: #fff; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #efedf6; --soft: #b3b0c2; --line: #454253; --ground: #16141d; --card: #211f2b; --accent: #b9a2ff; --on-accent: #1c1233; }
  }
  * { box-sizing: border-box; }
  body { margin: 0; min-height: 100vh; display: grid; grid-template-columns: minmax(0, 26rem); place-content: center; padding: 1rem; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
  main { width: 100%; max-width: 26rem; padding: 2rem; background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--accent); border-radius: 12px; }
  h1 { margin: .25rem 0 .5rem; font-size: 1.5rem; }
  p { margin: 0 0 1rem; overflow-wrap: anywhere; }
  .brand { margin: 0; font-weight: 600; color: var(--accent); }
  .or { margin: 1.25rem 0 .5rem; color: var(--soft); }
  label { display: block; margin-bottom: .25rem; font-weight: 600; }
  .row { display: flex; gap: .5rem; }
  input { flex: 1; min-width: 0; padding: .6rem .75rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--soft); border-radius: 8px; }
  button { padding: .6rem 1rem; font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 8px; cursor: pointer; }
  button:hover { border-color: var(--accent); }
  :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
  .primary { color: var(--on-accent); background: var(--accent); border-color: var(--accent); font-weight: 600; }
  .user { display: block; width: 100%; margin-top: .5rem; text-align: left; }
  .user span, .user code { display: block; color: var(--soft); font-size: .875rem; }
  code { font-family: ui-monospace, monospace; }
`;
