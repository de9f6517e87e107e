/** Pages for people: server-rendered, no script, every value escaped by the template itself. */
import { createHash } from "node:crypto";
import type { Response } from "express";
import helmet from "helmet";
import { html, raw } from "hono/html";

export type Html = ReturnType<typeof html>;

const STYLE = `
:root { color-scheme: light dark; --text: #1a1c20; --soft: #565b66; --line: #d9dce3; --back: #f5f6f8; --card: #fff; --accent: #1f5fd6; --on-accent: #fff; --warn: #8a4b00; --warn-back: #fff4e0 }
@media (prefers-color-scheme: dark) { :root { --text: #eceef2; --soft: #a9afbb; --line: #3a3f49; --back: #14161a; --card: #1d2026; --accent: #8ab4ff; --on-accent: #10131a; --warn: #ffd18a; --warn-back: #3a2c12 } }
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; color: var(--text); background: var(--back) }
main { max-width: 34rem; margin: 8vh auto; padding: 2rem; background: var(--card); border: 1px solid var(--line); border-radius: 14px }
@media (max-width: 38rem) { main { margin: 0; min-height: 100vh; border: 0; border-radius: 0; padding: 1.5rem 1.15rem } }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 1rem }
h2 { font-size: 1rem; margin: 1.5rem 0 .4rem }
p { margin: .6rem 0 }
ul { padding-left: 1.2rem; margin: .4rem 0 }
code { font: .92em ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: var(--back); border: 1px solid var(--line); border-radius: 8px; padding: .7rem; overflow: auto }
.soft { color: var(--soft) }
.warn { color: var(--warn); background: var(--warn-back); border-radius: 8px; padding: .6rem .8rem }
.buttons { display: flex; gap: .8rem; margin-top: 1.6rem }
button { flex: 1; font: inherit; font-weight: 600; padding: .7rem 1rem; border-radius: 9px; border: 1px solid var(--line); background: transparent; color: inherit; cursor: pointer }
button.main { background: var(--accent); color: var(--on-accent); border-color: var(--accent) }
button:focus-visible, a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
a { color: var(--accent) }
`;

const STYLE_HASH = `'sha256-${createHash("sha256").update(STYLE).digest("base64")}'`;

/**
 * Security headers of every answer. There is no `form-action`: browsers apply it to the redirects that follow a form,
 * and the consent form leads to the identity provider, wherever that leads, and back to any client's redirect URI.
 */
export const securityHeaders = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      styleSrc: [STYLE_HASH],
      baseUri: ["'none'"],
      frameAncestors: ["'none'"],
    },
  },
  frameguard: { action: "deny" },
  // Same-origin keeps the Origin header of our own forms; nobody else learns the URL, which carries OAuth parameters.
  referrerPolicy: { policy: "same-origin" },
  // Pop-ups of web clients must be able to talk to their opener after they come back to it.
  crossOriginOpenerPolicy: false,
  // Metadata and token endpoints are read by clients on other origins.
  crossOriginResourcePolicy: false,
});

/** Sends a page; no shared or private cache keeps it. */
export async function sendPage(res: Response, status: number, title: string, body: Html): Promise<void> {
  const page = await html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<style>${raw(STYLE)}</style>
</head>
<body><main>
<h1>${title}</h1>
${body}
</main></body>
</html>`;
  res.status(status).set("Cache-Control", "no-store").type("html").send(page.toString());
}
