/**
 * A browser small enough for a script: cookies, redirects, forms and the headers that servers judge requests by. It runs
 * no script, so a flow that works here works without JavaScript.
 */
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { request as httpsRequest } from "node:https";
import { buffer } from "node:stream/consumers";
import { CookieJar } from "./cookie-jar.ts";
import { findForms, type HtmlForm, hasField, textOf } from "./html.ts";

export interface Page {
  url: URL;
  status: number;
  headers: Headers;
  body: string;
  /** Where the answer wanted to send the browser, when that was a place not to be visited. */
  redirectedTo?: URL;
}

export interface Step {
  method: string;
  url: string;
  status: number;
}

export interface BrowserOptions {
  /** Redirects there are reported as `redirectedTo` instead of followed. Schemes other than http(s) always are. */
  stopAt?: (url: URL) => boolean;
  /** How long one answer may take; without it, as long as it takes. */
  timeoutSeconds?: number;
  /** Called before a request is sent, those that a redirect leads to included. */
  onRequest?: (url: URL) => void;
  /** Called with each answer, before a redirect is followed. */
  onAnswer?: (step: Step) => void;
}

export class TooManyRedirects extends Error {
  override readonly name = "TooManyRedirects";
  readonly url: URL;

  constructor(url: URL) {
    super(`more than ${MAX_REDIRECTS} redirects, the last to ${url}`);
    this.url = url;
  }
}

export const MAX_REDIRECTS = 20;

interface Navigation {
  method: string;
  url: URL;
  body?: string;
  /** The page whose form was submitted; absent when the address was typed. */
  from?: Page;
}

export class Browser {
  /** Every request made, oldest first. */
  readonly history: Step[] = [];
  readonly #jar = new CookieJar();
  readonly #options: BrowserOptions;

  constructor(options: BrowserOptions = {}) {
    this.#options = options;
  }

  /** Opens an address, as typed into the address bar. @throws TooManyRedirects */
  get(url: string | URL): Promise<Page> {
    return this.#navigate({ method: "GET", url: new URL(url) });
  }

  /**
   * Submits a form of the page: its inputs, overridden by `fields` and without the checkboxes whose values are in
   * `untick`, and the button whose value or label is `button`. Takes the first form that has that button and those
   * fields.
   * @throws TooManyRedirects
   */
  submit(
    page: Page,
    fields: Record<string, string> = {},
    press: { button?: string; untick?: readonly string[] } = {},
  ): Promise<Page> {
    const form = chooseForm(page, fields, press.button);
    const filled = new URLSearchParams();
    for (const { name, value } of form.inputs)
      if (!(name in fields) && !press.untick?.includes(value)) filled.append(name, value);
    for (const [name, value] of Object.entries(fields)) filled.append(name, value);
    const button = findButton(form, press.button);
    if (button?.name) filled.append(button.name, button.value);
    const body = filled.toString();
    const url = new URL(form.action || page.url, page.url);
    if (form.method === "POST") return this.#navigate({ method: "POST", url, body, from: page });
    url.search = body;
    return this.#navigate({ method: "GET", url, from: page });
  }

  /** What this browser would send to an address: for requests that a test makes by hand. */
  cookieHeader(url: string | URL): string {
    return this.#jar.header(new URL(url)) ?? "";
  }

  async #navigate(start: Navigation): Promise<Page> {
    let next = start;
    const visited: URL[] = [];
    while (visited.length <= MAX_REDIRECTS) {
      visited.push(next.url);
      const page = await this.#load(next, visited);
      const location = page.status >= 300 && page.status < 400 ? page.headers.get("location") : null;
      if (location === null) return page;
      const target = new URL(location, page.url);
      if (!/^https?:$/.test(target.protocol) || this.#options.stopAt?.(target))
        return { ...page, redirectedTo: target };
      next = followed(next, target, page.status);
    }
    throw new TooManyRedirects(next.url);
  }

  async #load(navigation: Navigation, visited: readonly URL[]): Promise<Page> {
    const { method, url, body } = navigation;
    const cookie = this.#jar.header(url);
    const headers = {
      accept: "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
      "user-agent": "Mozilla/5.0 (scripted browser)",
      "sec-fetch-dest": "document",
      "sec-fetch-mode": "navigate",
      "sec-fetch-site": fetchSite(navigation.from?.url, visited),
      "sec-fetch-user": "?1",
      ...(cookie && { cookie }),
      ...(body !== undefined && { "content-type": "application/x-www-form-urlencoded" }),
      ...origins(navigation),
    };
    this.#options.onRequest?.(url);
    const answer = await send(url, method, headers, body, this.#options.timeoutSeconds);
    const step = { method, url: url.href, status: answer.status };
    this.history.push(step);
    this.#jar.store(url, answer.headers.getSetCookie());
    this.#options.onAnswer?.(step);
    return { url, ...answer };
  }
}

/** What a page of a sign-in asks the person for: at the proxy, consent; at the embedded identity provider, who they are. */
export function askedBy(page: Page): "consent" | "login" | undefined {
  const forms = findForms(page.body);
  if (forms.some((form) => new URL(form.action, page.url).pathname.endsWith("/consent"))) return "consent";
  return forms.some((form) => hasField(form, "login")) ? "login" : undefined;
}

function chooseForm(page: Page, fields: Record<string, string>, button: string | undefined): HtmlForm {
  const forms = findForms(page.body).filter((form) => button === undefined || findButton(form, button));
  const form = forms.find((form) => Object.keys(fields).every((name) => hasField(form, name))) ?? forms[0];
  if (form) return form;
  const wanted = button === undefined ? "form" : `form with a button "${button}"`;
  throw new Error(`no ${wanted} at ${page.url} (${page.status}): ${textOf(page.body).slice(0, 500)}`);
}

function findButton(form: HtmlForm, wanted: string | undefined) {
  return form.buttons.find(
    ({ value, label }) => wanted !== undefined && (value === wanted || label === wanted),
  );
}

/** 303 turns everything into GET, 301 and 302 only a POST, 307 and 308 nothing (Fetch §4.4). */
function followed(navigation: Navigation, url: URL, status: number): Navigation {
  const keeps = status === 307 || status === 308 || (status !== 303 && navigation.method !== "POST");
  if (keeps) return { ...navigation, url };
  return { method: "GET", url, ...(navigation.from && { from: navigation.from }) };
}

/** Observed in Chromium: a form on a page with `Referrer-Policy: no-referrer` posts `Origin: null`. */
function origins({ method, url, from }: Navigation): Record<string, string> {
  if (!from) return {};
  const policy = from.headers.get("referrer-policy") ?? "strict-origin-when-cross-origin";
  const same = from.url.origin === url.origin;
  const hidden = policy === "no-referrer" || (policy === "same-origin" && !same);
  const { origin, pathname, search } = from.url;
  return {
    ...(method === "POST" && { origin: hidden ? "null" : origin }),
    ...(!hidden && { referer: same ? `${origin}${pathname}${search}` : `${origin}/` }),
  };
}

/** `Sec-Fetch-Site` is the worst relation between the page and any address on the way. */
function fetchSite(from: URL | undefined, visited: readonly URL[]): string {
  if (!from) return "none";
  if (visited.every((url) => url.origin === from.origin)) return "same-origin";
  const sameSite = visited.every((url) => url.protocol === from.protocol && url.hostname === from.hostname);
  return sameSite ? "same-site" : "cross-site";
}

async function send(
  url: URL,
  method: string,
  headers: Record<string, string>,
  body: string | undefined,
  timeoutSeconds: number | undefined,
): Promise<Pick<Page, "status" | "headers" | "body">> {
  const answer = await new Promise<{ status: number; headers: Headers; body: Promise<Buffer> }>(
    (resolve, reject) => {
      const start = url.protocol === "https:" ? httpsRequest : httpRequest;
      const signal = timeoutSeconds === undefined ? undefined : AbortSignal.timeout(timeoutSeconds * 1000);
      start(url, { method, headers, ...(signal && { signal }) }, (response) => {
        resolve({
          status: response.statusCode ?? 0,
          headers: readHeaders(response.headers),
          body: buffer(response),
        });
      })
        .on("error", reject)
        .end(body);
    },
  );
  return { ...answer, body: (await answer.body).toString("utf8") };
}

function readHeaders(raw: IncomingHttpHeaders): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(raw)) {
    for (const line of [value ?? []].flat()) headers.append(name, line);
  }
  return headers;
}
