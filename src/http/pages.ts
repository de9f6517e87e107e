/** Pages for people: server-rendered, no script, every value escaped by the template itself. */
import { createHash } from "node:crypto";
import type { RequestHandler, Response } from "express";
import helmet from "helmet";
import { html, raw } from "hono/html";
import type { Brand } from "../config.ts";

export type Html = ReturnType<typeof html>;

export interface Pages {
  brand: Brand;
  /** Security headers of every answer. */
  headers: RequestHandler;
  /** Sends a page; no cache keeps it. */
  send(res: Response, status: number, title: string, body: Html): Promise<void>;
}

export function createPages(brand: Brand): Pages {
  const style = STYLE + brandStyle(brand);
  const logo =
    brand.logoUrl === undefined ? "" : html`<img class="logo" src="${brand.logoUrl}" alt="${brand.name}">`;
  return {
    brand,
    headers: securityHeaders(style, brand),
    async send(res, status, title, body) {
      const page = await html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title} · ${brand.name}</title>
<style>${raw(style)}</style>
</head>
<body><main>
${logo}
<h1>${title}</h1>
${body}
</main></body>
</html>`;
      res.status(status).set("Cache-Control", "no-store").type("html").send(page.toString());
    },
  };
}

/**
 * There is no `form-action`: browsers apply it to the redirects that follow a form, and the consent form leads to the
 * identity provider, wherever that leads, and back to any client's redirect URI.
 */
function securityHeaders(style: string, { logoUrl }: Brand): RequestHandler {
  const styleHash = `'sha256-${createHash("sha256").update(style).digest("base64")}'`;
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        styleSrc: [styleHash],
        ...(logoUrl !== undefined && { imgSrc: [new URL(logoUrl).origin] }),
        baseUri: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
    // Other hosts of the domain are not ours to decide about.
    strictTransportSecurity: { maxAge: 31_536_000, includeSubDomains: false },
    frameguard: { action: "deny" },
    // Same-origin keeps the Origin header of our own forms; nobody else learns the URL, which carries OAuth parameters.
    referrerPolicy: { policy: "same-origin" },
    // Pop-ups of web clients must be able to talk to their opener after they come back to it.
    crossOriginOpenerPolicy: false,
    // Metadata and token endpoints are read by clients on other origins.
    crossOriginResourcePolicy: false,
  });
}

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
code, .address { font: .92em ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: var(--back); border: 1px solid var(--line); border-radius: 8px; padding: .7rem; white-space: pre-wrap }
fieldset { border: 0; padding: 0; margin: 0 }
legend { font-weight: 700; padding: 0; margin: 1.5rem 0 .4rem }
.remember { border-top: 1px solid var(--line); margin-top: .6rem; padding-top: .6rem }
.scope { display: flex; gap: .7rem; align-items: baseline; padding: .35rem 0 }
.scope input { accent-color: var(--accent); width: 1.1rem; height: 1.1rem; flex: none; align-self: center }
.logo { display: block; max-height: 3rem; max-width: 12rem; margin-bottom: 1.2rem }
.soft { color: var(--soft) }
.warn { color: var(--warn); background: var(--warn-back); border-radius: 8px; padding: .6rem .8rem }
.buttons { display: flex; gap: .8rem; margin-top: 1.6rem }
button { flex: 1; font: inherit; font-weight: 600; padding: .7rem 1rem; border-radius: 9px; border: 1px solid var(--line); background: transparent; color: inherit; cursor: pointer }
button.main { background: var(--accent); color: var(--on-accent); border-color: var(--accent) }
button:focus-visible, a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
a { color: var(--accent) }
button.link { flex: none; padding: 0; border: 0; border-radius: 2px; font-weight: 400; color: var(--accent); text-decoration: underline; text-align: left }
.account { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin-bottom: 1.4rem }
.done { background: var(--back); border-left: 4px solid var(--accent); border-radius: 8px; padding: .7rem .9rem; margin: 1rem 0; overflow-wrap: anywhere }
.none { padding: 1.6rem 1rem; text-align: center; border: 1px dashed var(--line); border-radius: 10px }
.entries { list-style: none; padding: 0; margin: 1rem 0 }
.entry { border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.1rem; margin: .9rem 0; overflow-wrap: anywhere }
.row { display: flex; gap: 1rem; justify-content: space-between; align-items: flex-start }
.row form { flex: none }
.entry h2 { margin: .2rem 0 0; font-size: 1.05rem }
.entry > p { margin: .3rem 0 }
.entry button { padding: .4rem .8rem; font-size: .93rem }
.may { list-style: disc }
.sign-ins { list-style: none; padding: 0; margin: .6rem 0 0 }
.sign-ins > li { padding: .6rem 0; border-top: 1px solid var(--line) }
details { margin-top: .9rem }
summary { cursor: pointer; color: var(--accent); border-radius: 4px }
summary:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
`;

/** The configured colour replaces the accent; what stands on it is black or white, whichever is easier to read. */
function brandStyle({ color }: Brand): string {
  if (color === undefined) return "";
  const onColor = luminance(color) > 0.179 ? "#000" : "#fff";
  return `button.main { background: ${color}; border-color: ${color}; color: ${onColor} }\n`;
}

/** Relative luminance (WCAG 2.2); above 0.179 black has more contrast than white. */
function luminance(color: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5]
    .map((at) => Number.parseInt(color.slice(at, at + 2), 16) / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
