/** A browser small enough to watch: cookies, redirects and forms, every request in one printed line. No script. */
import { noteSecrets, reach, statusLine } from "./http.ts";
import { HopFailure, type Trace } from "./trace.ts";

export interface Page {
  url: URL;
  status: number;
  title: string;
  html: string;
  forms: Form[];
}

export interface Form {
  action: URL;
  /** What a browser would send: a name as often as it is ticked, nothing that is disabled or unticked. */
  fields: URLSearchParams;
}

interface Cookie {
  host: string;
  path: string;
  name: string;
  value: string;
}

interface Navigation {
  method: "GET" | "POST";
  url: URL;
  body?: URLSearchParams;
  /** The page whose form was sent. */
  from?: URL;
}

const MAX_REDIRECTS = 20;

export class Browser {
  /** Every address requested, oldest first. */
  readonly visited: URL[] = [];
  readonly #trace: Trace;
  #cookies: Cookie[] = [];

  constructor(trace: Trace) {
    this.#trace = trace;
  }

  open(url: string): Promise<Page> {
    return this.#navigate({ method: "GET", url: new URL(url) });
  }

  /** Sends a form with `filled` over the values it came with. */
  submit(page: Page, form: Form, filled: Readonly<Record<string, string>>): Promise<Page> {
    const body = new URLSearchParams(form.fields);
    for (const [name, value] of Object.entries(filled)) body.set(name, value);
    return this.#navigate({ method: "POST", url: form.action, body, from: page.url });
  }

  async #navigate(start: Navigation): Promise<Page> {
    let next = start;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const response = await this.#load(next);
      const location = response.headers.get("location");
      if (location === null || response.status < 300 || response.status > 399)
        return readPage(next.url, response);
      await response.body?.cancel();
      next = follow(next, new URL(location, next.url), response.status);
    }
    throw new HopFailure({
      expected: "the redirects to end at a page",
      came: `more than ${MAX_REDIRECTS} redirects, the last to ${next.url.origin}${next.url.pathname}`,
      hint: "Open the authorization URL in a real browser to see what goes round in circles: AUTO=0 npm run walkthrough",
    });
  }

  async #load({ method, url, body, from }: Navigation): Promise<Response> {
    this.visited.push(url);
    noteSecrets(url.searchParams, this.#trace);
    const cookie = this.#cookiesFor(url);
    const response = await reach(url.href, {
      method,
      redirect: "manual",
      headers: {
        accept: "text/html",
        ...(cookie !== "" && { cookie }),
        ...(from !== undefined && { origin: from.origin }),
      },
      ...(body !== undefined && { body }),
    });
    this.#keepCookies(url, response.headers.getSetCookie());
    this.#trace.browsed(method, brief(url), statusLine(response.status));
    return response;
  }

  /** RFC 6265 §5.4; ports do not matter. */
  #cookiesFor(url: URL): string {
    return this.#cookies
      .filter(({ host, path }) => host === url.hostname && within(url.pathname, path))
      .map(({ name, value }) => `${name}=${value}`)
      .join("; ");
  }

  #keepCookies(url: URL, lines: readonly string[]): void {
    for (const line of lines) {
      const [pair = "", ...attributes] = line.split(";").map((part) => part.trim());
      const [name = "", value = ""] = halves(pair);
      const given = new Map(attributes.map(halves).map(([key, text]) => [key.toLowerCase(), text]));
      const path = given.get("path") || url.pathname.replace(/\/[^/]*$/, "") || "/";
      const host = url.hostname;
      this.#cookies = this.#cookies.filter(
        (old) => old.name !== name || old.path !== path || old.host !== host,
      );
      if (!isOver(given)) this.#cookies.push({ host, path, name, value });
    }
  }
}

/** Without the query, and with long ids in the path cut: one line has to hold it. */
function brief({ origin, pathname, search }: URL): string {
  const path = pathname.replaceAll(/[^/]{30,}/g, (id) => `${id.slice(0, 10)}…`);
  return `${origin}${path}${search === "" ? "" : "?…"}`;
}

/** 307 and 308 repeat the request; everything else goes on with GET (Fetch §4.4). */
function follow(navigation: Navigation, url: URL, status: number): Navigation {
  return status === 307 || status === 308 ? { ...navigation, url } : { method: "GET", url };
}

function within(pathname: string, path: string): boolean {
  return pathname === path || pathname.startsWith(path.endsWith("/") ? path : `${path}/`);
}

function isOver(attributes: ReadonlyMap<string, string>): boolean {
  const maxAge = attributes.get("max-age");
  if (maxAge !== undefined) return Number(maxAge) <= 0;
  const expires = attributes.get("expires");
  return expires !== undefined && Date.parse(expires) <= Date.now();
}

function halves(text: string): [string, string] {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

async function readPage(url: URL, response: Response): Promise<Page> {
  const html = await response.text();
  const title = unescapeEntities(/<title>(.*?)<\/title>/is.exec(html)?.[1] ?? "").trim();
  return { url, status: response.status, title, html, forms: formsOf(html, url) };
}

/** The words of a page, for messages. */
export function textOf({ html }: Page): string {
  const body = html.replaceAll(/<(head|style|script)\b.*?<\/\1>/gis, " ").replaceAll(/<[^>]*>/g, " ");
  return unescapeEntities(body).replaceAll(/\s+/g, " ").trim().slice(0, 300);
}

/** Enough of HTML for tidy, server-rendered pages. */
function formsOf(html: string, base: URL): Form[] {
  return [...html.matchAll(/<form\b([^>]*)>(.*?)<\/form>/gis)].map(([, tag = "", content = ""]) => ({
    action: new URL(attributesOf(tag).get("action") || base.href, base),
    fields: new URLSearchParams(
      [...content.matchAll(/<input\b([^>]*)>/gis)]
        .map(([, input = ""]) => attributesOf(input))
        .filter(isSent)
        .map((input): [string, string] => [input.get("name") ?? "", input.get("value") ?? ""]),
    ),
  }));
}

/** HTML, "constructing the entry list": unnamed, disabled and unticked controls are left out. */
function isSent(input: ReadonlyMap<string, string>): boolean {
  const isBox = ["checkbox", "radio"].includes(input.get("type") ?? "");
  return input.has("name") && !input.has("disabled") && (!isBox || input.has("checked"));
}

function attributesOf(tag: string): Map<string, string> {
  const attributes = tag.matchAll(/([\w:.-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?/g);
  return new Map(
    [...attributes].map(([, name = "", double, single, bare]) => [
      name.toLowerCase(),
      unescapeEntities(double ?? single ?? bare ?? ""),
    ]),
  );
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function unescapeEntities(text: string): string {
  return text.replaceAll(/&(?:#(\d+)|(\w+));/g, (whole, decimal, name) =>
    decimal ? String.fromCodePoint(Number(decimal)) : (ENTITIES[name] ?? whole),
  );
}
