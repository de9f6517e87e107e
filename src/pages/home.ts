/** GET /: what this server is, what it can do, and how to connect to it. HTML for people, JSON or plain text for programs and curl. */
import { type RequestHandler, Router } from "express";
import { html } from "hono/html";
import { refuseAllBut } from "../http/methods.ts";
import type { FeatureTable } from "../mcp/authoring/features.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import { resourceMetadataUrl } from "../oauth/server-metadata.ts";
import type { Brand } from "./brand.ts";
import {
  type ConnectGuide,
  connectGuides,
  type ProgramAccess,
  programGuides,
  WITHOUT_BROWSER,
} from "./connect.ts";
import { COPY_SCRIPT, connectSection, foldedGuides, snippet } from "./connect-section.ts";
import { connectText } from "./connect-text.ts";
import { type Need, type Offer, type Offers, offersOf } from "./offers.ts";
import type { Html, Pages } from "./shell.ts";

export interface HomeOptions {
  pages: Pages;
  brand: Brand;
  /** The MCP endpoint. */
  resource: { uri: string; features: FeatureTable; scopes: ScopeCatalogue };
  /** Other resources of this server. */
  further: readonly FurtherResource[];
  /** Where people sign in: one of these. */
  signInAt: readonly string[];
  baseUrl: string;
  /** How programs may come without a browser. */
  programs: readonly ProgramAccess[];
}

interface FurtherResource {
  readonly name: string;
  readonly uri: string;
}

/** All of it is made once, here. */
export function homeRoutes(options: HomeOptions): Router {
  const { pages, brand } = options;
  const { uri, features, scopes } = options.resource;
  const about: About = {
    ...options,
    url: uri,
    offers: offersOf(features, scopes),
    guides: connectGuides({ name: brand.name, url: uri }),
    programs: programGuides({ url: uri, baseUrl: options.baseUrl }, options.programs),
  };
  const page = pages.renderHome(homePage(about), COPY_SCRIPT);
  const text = homeText(about);
  const summary = {
    name: brand.name,
    description: brand.description,
    url: uri,
    resource_metadata: resourceMetadataUrl(uri),
    ...about.offers,
    ...(options.further.length > 0 && {
      further_resources: options.further.map(({ name, uri: at }) => ({
        name,
        url: at,
        resource_metadata: resourceMetadataUrl(at),
      })),
    }),
  };

  const router = Router();
  router.get("/", pages.headersWithScript(COPY_SCRIPT), async (req, res) => {
    res.set("Cache-Control", "no-store").vary("Accept");
    // A browser names text/html; curl takes anything, and gets the first.
    switch (req.accepts(["text", "html", "json"])) {
      case "text":
        return void res.type("text").send(text);
      case "json":
        return void res.json(summary);
      default:
        return void res.type("html").send(await page);
    }
  });
  // Where clients arrive whose users gave them the address without its path.
  const endpoints = [uri, ...options.further.map((each) => each.uri)].join(", or ");
  router.all("/", refuseAllBut(["GET", "HEAD"], `The MCP endpoint is ${endpoints}.`));
  return router;
}

/**
 * Whoever opens the MCP endpoint in a browser is shown the page about it. That a person navigates is said by browsers alone
 * (Fetch Metadata, `Sec-Fetch-Mode: navigate`); programs and scripts are answered by what comes next.
 */
export function peopleTo(homeUrl: string): RequestHandler {
  return (req, res, next) => {
    const isPerson =
      req.method === "GET" &&
      req.get("sec-fetch-mode") === "navigate" &&
      req.get("authorization") === undefined &&
      req.get("accept")?.includes("text/html");
    if (!isPerson) return next();
    res.set("Cache-Control", "no-store").redirect(303, homeUrl);
  };
}

interface About {
  brand: Brand;
  baseUrl: string;
  /** Of the MCP endpoint. */
  url: string;
  signInAt: readonly string[];
  offers: Offers;
  further: readonly FurtherResource[];
  guides: readonly ConnectGuide[];
  /** Of programs without a browser. */
  programs: readonly ConnectGuide[];
}

const HEADINGS = [
  ["tools", "Tools"],
  ["resources", "Resources"],
  ["prompts", "Prompts"],
] as const satisfies ReadonlyArray<[keyof Offers, string]>;

/** For people who do not know the words. */
const IN_OTHER_WORDS = {
  tools: "What your application can do here when you ask it something.",
  resources: "What your application can read here, to know more when it answers you.",
  prompts: "Questions that are written already: you choose one in your application.",
} as const satisfies Record<keyof Offers, string>;

function homePage({ brand, baseUrl, url, signInAt, offers, further, guides, programs }: About): Html {
  return html`
<p class="lead">${introduction(brand)}</p>
${snippet({ place: "MCP server URL", text: url })}
<h2>Connect</h2>
<p>Choose your application. It opens your browser, where you sign in at ${joined(
    signInAt.map((each) => html`<strong>${each}</strong>`),
    html` or `,
  )} and decide what it may do.</p>
${connectSection(guides)}
${
  further.length > 0 &&
  html`<h2>Also here</h2>
<p class="soft">Each is connected by its own URL, with permissions of its own.</p>
<ul>${further.map(({ name, uri }) => html`<li><strong>${name}</strong> <code>${uri}</code></li>`)}</ul>`
}
<p>Connected already? See <a href="${baseUrl}/connections">which applications may act in your name</a>, and end it.</p>
${
  programs.length > 0 &&
  html`<h2>${WITHOUT_BROWSER}</h2>
<p class="soft">For programs that nobody signs in to.</p>
${foldedGuides(programs)}`
}
${HEADINGS.filter(([kind]) => offers[kind].length > 0).map(
  ([kind, heading]) => html`<h2>${heading}</h2>
<p class="soft">${IN_OTHER_WORDS[kind]}</p>
${offerList(kind, offers[kind])}`,
)}`;
}

/** Tools are what most people come for; the others are folded. */
function offerList(kind: keyof Offers, offers: readonly Offer[]): Html {
  const list = html`<ul class="offers">${offers.map(offerItem)}</ul>`;
  if (kind === "tools") return list;
  const counted = offers.length === 1 ? `1 ${kind.slice(0, -1)}` : `all ${offers.length} ${kind}`;
  return html`<details><summary>Show ${counted}</summary>${list}</details>`;
}

function offerItem({ title, name, description, needs }: Offer): Html {
  return html`<li>
<h3>${title}${title === name ? "" : html` <code class="soft">${name}</code>`}</h3>
<p>${description}</p>
<p class="needs">${needs.length === 0 ? "Needs only your sign-in" : html`<strong>Needs your permission:</strong> ${joined(needs.map(alternatives), html`<br>`)}`}</p>
</li>`;
}

function alternatives(needs: readonly Need[]): Html {
  const each = needs.map(({ description, scope }) => html`${description} <code>${scope}</code>`);
  return html`${joined(each, html` or `)}`;
}

function joined(parts: readonly Html[], separator: Html): Html[] {
  return parts.flatMap((part, index) => (index === 0 ? [part] : [separator, part]));
}

function introduction({ description }: Brand): string {
  return description ?? "An MCP server: it gives AI applications tools that they use in your name.";
}

function homeText({ brand, url, offers, further, guides, programs }: About): string {
  const groups = HEADINGS.filter(([kind]) => offers[kind].length > 0).map(
    ([kind, heading]) => `${heading}\n\n${offers[kind].map(offerText).join("\n\n")}`,
  );
  return [
    brand.name,
    introduction(brand),
    `MCP server: ${url}`,
    ...(further.length > 0
      ? [`Also here:\n\n${further.map(({ name, uri }) => `  ${name}: ${uri}`).join("\n")}`]
      : []),
    ...groups,
    `Connect\n\n${connectText(guides)}`,
    ...(programs.length > 0 ? [`${WITHOUT_BROWSER}\n\n${connectText(programs)}`] : []),
    "",
  ].join("\n\n");
}

function offerText({ name, description, needs }: Offer): string {
  const permissions = needs.map((each) =>
    each.map((need) => `${need.description} (${need.scope})`).join(" or "),
  );
  const lines = [
    description,
    ...(permissions.length > 0 ? [`Needs your permission: ${permissions.join(", ")}`] : []),
  ];
  return [`  ${name}`, ...lines.map((line) => `    ${line}`)].join("\n");
}
