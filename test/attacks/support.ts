/** How these tests send requests, and what every refusal must have: a status, a code, advice, a reason in the log, no secret. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import type { TestServer } from "../support/test-server.ts";

export interface Reply {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  json: any;
  /** Where the answer redirects to. */
  location: URL | undefined;
}

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string>;
  /** Sent form-encoded, in this order; a name may come twice. */
  form?: Record<string, string> | ReadonlyArray<readonly [string, string]>;
  json?: unknown;
  body?: string;
}

export const PERSON = { accept: "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8" };
export const PROGRAM = { accept: "application/json" };

/** One request, no redirect followed. A form or body makes it a POST. No answer of ours may be a 5xx. */
export async function sendRequest(
  url: string | URL,
  { method, headers, form, json, body }: RequestOptions = {},
): Promise<Reply> {
  const content =
    form !== undefined
      ? new URLSearchParams(form as Record<string, string>).toString()
      : json !== undefined
        ? JSON.stringify(json)
        : body;
  const type =
    form !== undefined
      ? { "content-type": "application/x-www-form-urlencoded" }
      : json !== undefined
        ? { "content-type": "application/json" }
        : {};
  const response = await fetch(url, {
    method: method ?? (content === undefined ? "GET" : "POST"),
    headers: { ...type, ...headers },
    redirect: "manual",
    ...(content !== undefined && { body: content }),
  });
  const text = await response.text();
  assert.ok(response.status < 500, `${url} answered ${response.status}: ${text.slice(0, 300)}`);
  const location = response.headers.get("location");
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: parsed(text),
    location: location === null ? undefined : new URL(location, url),
  };
}

function parsed(text: string): unknown {
  const event = text
    .split("\n")
    .filter((line) => line.startsWith("data: "))
    .at(-1);
  try {
    return JSON.parse(event === undefined ? text : event.slice("data: ".length));
  } catch {
    return undefined;
  }
}

export interface Refusal {
  status: number;
  error: string;
  /** The reason code in the server's log. */
  reason: string;
  /** What the description must say. */
  describes?: RegExp;
}

/** For a program: JSON of RFC 6749 §5.2, not cacheable. */
export async function assertRefused(testServer: TestServer, reply: Reply, expected: Refusal): Promise<void> {
  assert.equal(reply.status, expected.status, reply.text.slice(0, 300));
  assert.match(reply.headers.get("content-type") ?? "", /^application\/json/);
  assert.equal(reply.json.error, expected.error);
  assertAdvice(reply.json.error_description, expected.describes);
  assert.equal(await reasonOf(testServer, reply), expected.reason);
}

/** For a person: a page, and nowhere to go. */
export async function assertRefusedPage(
  testServer: TestServer,
  reply: Reply,
  expected: Refusal,
): Promise<void> {
  assert.equal(reply.status, expected.status, reply.text.slice(0, 300));
  assertPage(reply);
  assert.equal(reply.location, undefined);
  assertForPeople(reply.text);
  assertAdvice(reply.text.slice(reply.text.indexOf("</h1>")), expected.describes);
  assert.match(reply.text, new RegExp(`<code>${expected.error}</code>`));
  assert.match(reply.text, new RegExp(`<code>${reply.headers.get("x-request-id")}</code>`));
  assert.equal(await reasonOf(testServer, reply), expected.reason);
}

const PROTOCOL_WORDS =
  /redirect[_ ]uri|response_|client_id|code_challenge|PKCE|percent-encoded|\bscopes?\b|\b(parameter|endpoint|POST|GET)\b/i;

/** What people read on a page of an error: no term of the protocol above the small print, and something to do. */
export function assertForPeople(page: string): void {
  const [, title = "", body = "", small = ""] =
    /<h1>(.*?)<\/h1>(.*?)<div class="codes">(.*)/s.exec(page) ?? [];
  assert.notEqual(title, "");
  const words = body.replace(/<code>.*?<\/code>|<[^>]*>/gs, " ");
  assert.doesNotMatch(`${title} ${words}`, PROTOCOL_WORDS);
  assert.ok(words.trim().length > 20, words);
  assert.match(body, /<a href="|go back one page|Start |start /, "something to do");
  assert.match(small, /^\s*<p>If you ask the operator of this server for help.*?<code>[0-9a-f-]{36}<\/code>/);
}

/** Back to the client: RFC 6749 §4.1.2.1 with `state`, RFC 9207 with `iss` (A26). */
export async function assertRefusedRedirect(
  testServer: TestServer,
  reply: Reply,
  expected: Refusal & { to: string; state?: string | null },
): Promise<void> {
  assert.equal(reply.status, expected.status, reply.text.slice(0, 300));
  assert.ok(reply.location?.href.startsWith(expected.to), `redirects to ${reply.location}`);
  const answer = reply.location?.searchParams ?? new URLSearchParams();
  assert.equal(answer.get("error"), expected.error);
  assertAdvice(answer.get("error_description"), expected.describes);
  assert.equal(answer.get("state"), expected.state === undefined ? "the-state" : expected.state);
  assert.equal(answer.get("iss"), testServer.baseUrl);
  assert.equal(answer.get("code"), null);
  assert.equal(await reasonOf(testServer, reply), expected.reason);
}

/** The provider refused: a person sees what it said, and a link that tells the client (with `state` and `iss`). */
export async function assertLoginFailed(
  testServer: TestServer,
  reply: Reply,
  expected: { status: number; error: string; upstream: string },
): Promise<void> {
  assert.equal(reply.status, expected.status, reply.text.slice(0, 300));
  assertPage(reply);
  assert.equal(reply.location, undefined);
  assert.match(reply.text, new RegExp(`<code>${expected.upstream}</code>`));
  const href = /<a href="([^"]+)">Back to your application/.exec(reply.text)?.[1] ?? "";
  const back = new URL(href.replaceAll("&amp;", "&")).searchParams;
  assert.equal(back.get("error"), expected.error);
  assert.equal(back.get("state"), "the-state");
  assert.equal(back.get("iss"), testServer.baseUrl);
  assert.equal(back.get("code"), null);
  assert.doesNotMatch(href, /tenant/, "the client hears no upstream text");
  assert.equal(await reasonOf(testServer, reply), "upstream_refused");
}

function assertAdvice(description: unknown, describes: RegExp = /./): void {
  assert.ok(typeof description === "string" && description.length > 10, `no description: ${description}`);
  assert.match(description, describes);
}

/** Every page: HTML that may not run script, be framed, be kept, or be taken for something else. */
export function assertPage({ headers, text }: Reply): void {
  assert.match(headers.get("content-type") ?? "", /^text\/html; ?charset=utf-8$/i);
  assert.match(text, /^<!doctype html>/i);
  assert.doesNotMatch(text, /<script/i);
  assert.equal(headers.get("cache-control"), "no-store");
  const policy = headers.get("content-security-policy") ?? "";
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.match(policy, /base-uri 'none'/);
  assert.doesNotMatch(policy, /unsafe-/);
  assert.equal(headers.get("x-frame-options"), "DENY");
  assert.equal(headers.get("x-content-type-options"), "nosniff");
  assert.ok(headers.get("referrer-policy"));
  assert.equal(headers.get("x-powered-by"), null);
}

/** The reason code in the log line of the request that was answered with `reply`. */
export async function reasonOf(testServer: TestServer, reply: Pick<Reply, "headers">): Promise<unknown> {
  return (await requestLine(testServer, reply)).reason;
}

async function requestLine(
  testServer: TestServer,
  { headers }: Pick<Reply, "headers">,
): Promise<Record<string, unknown>> {
  const id = headers.get("x-request-id");
  // The line is written when the response is closed, which may be after the client has read it.
  return eventually(`a log line for request ${id}`, () =>
    testServer.log.find(({ msg, requestId }) => msg === "request" && requestId === id),
  );
}

/** Remembers every code, token and secret of a test file, to look for them in the log at its end. */
export class Secrets {
  readonly #values = new Set<string>();

  /** Keeps what it is given and hands it back. */
  keep<T extends string | null | undefined>(value: T): T {
    if (value) this.#values.add(value);
    return value;
  }

  keepTokens<T extends { access_token?: string; refresh_token?: string }>(tokens: T): T {
    this.keep(tokens.access_token);
    this.keep(tokens.refresh_token);
    return tokens;
  }

  /** Invariant 9: no secret, code or token is ever logged. */
  assertNotLogged({ log }: TestServer): void {
    assert.ok(this.#values.size > 0, "this file used no secret at all");
    const lines = log.map((line) => JSON.stringify(line));
    assert.ok(lines.length > 0);
    for (const value of this.#values)
      for (const line of lines) assert.ok(!line.includes(value), `a secret is in the log: ${line}`);
  }
}
