/** Pages for people: server-rendered, every value escaped by the template itself; no script, except where one is allowed. */
import { createHash } from "node:crypto";
import type { Response } from "express";
import helmet from "helmet";
import { html, raw } from "hono/html";
import type { Middleware } from "../http/together.ts";
import type { Brand } from "./brand.ts";
import { initialOf } from "./icon.ts";
import { styleOf } from "./style.ts";

export type Html = ReturnType<typeof html>;

export interface PagesSettings {
  brand: Brand;
  baseUrl: string;
  /** Whether there is a page for people at `/`. */
  homePage: boolean;
}

export interface Pages {
  /** The page about the server itself; undefined where it is switched off. */
  homeUrl: string | undefined;
  /** Security headers of every answer. */
  headers: Middleware;
  /** The same for a page on which exactly this script runs. */
  headersWithScript(script: string): Middleware;
  /** Sends a page; no cache keeps it. */
  send(res: Response, status: number, title: string, body: Html, width?: "wide"): Promise<void>;
  /** The page about the server itself, with a script. */
  renderHome(body: Html, script: string): Promise<string>;
}

export function createPages({ brand, baseUrl, homePage }: PagesSettings): Pages {
  const style = styleOf(brand);
  const { name } = brand;
  const icon = brand.logoUrl ?? `${baseUrl}/icon.svg`;
  // A logo may come by way of a redirect of its host; the icon is one file of ours.
  const image = brand.logoUrl === undefined ? icon : new URL(brand.logoUrl).origin;
  const mark =
    brand.logoUrl === undefined
      ? html`<span class="badge" aria-hidden="true">${initialOf(name)}</span>`
      : html`<img class="logo" src="${brand.logoUrl}" alt="">`;

  async function render(title: string, main: Html): Promise<string> {
    const page = await html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<link rel="icon" href="${icon}">
<style>${raw(style)}</style>
</head>
<body>${main}</body>
</html>`;
    return page.toString();
  }

  return {
    homeUrl: homePage ? `${baseUrl}/` : undefined,
    headers: securityHeaders(style, image),
    headersWithScript: (script) => securityHeaders(style, image, script),
    async send(res, status, title, body, width) {
      const page = await render(
        `${title} · ${name}`,
        html`<main${width === undefined ? "" : html` class="${width}"`}>
<p class="brand">${mark} ${name}</p>
<h1>${title}</h1>
${body}
</main>`,
      );
      res.status(status).set("Cache-Control", "no-store").type("html").send(page);
    },
    renderHome: (body, script) =>
      render(
        name,
        html`<main class="home">
<div class="brand">${mark}</div>
<h1>${name}</h1>
${body}
</main>
<script>${raw(script)}</script>`,
      ),
  };
}

/**
 * There is no `form-action`: browsers apply it to the redirects that follow a form, and the consent form leads to the
 * identity provider, wherever that leads, and back to any client's redirect URI.
 */
function securityHeaders(style: string, image: string, script?: string): Middleware {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        styleSrc: [hashSource(style)],
        ...(script !== undefined && { scriptSrc: [hashSource(script)] }),
        imgSrc: [image],
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

/** Allows one style or script: the one with this hash. */
function hashSource(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
