/** One request and its response, both printed; every secret in them is noted, so that no line shows it. */
import { STATUS_CODES } from "node:http";
import { z } from "zod";
import { type Answer, type HttpRequest, sendRequest } from "../client/http.ts";
import { expect, StepFailure, type Trace } from "./trace.ts";

export interface RequestToSend extends HttpRequest {
  /** What is printed of the JSON; a form is printed as it is, and the access token shortened. */
  show?: Readonly<Record<string, string>>;
  /** Authenticates by HTTP Basic (RFC 6749 §2.3.1). */
  client?: Readonly<{ id: string; secret: string }>;
}

export type Send = (request: RequestToSend) => Promise<Answer>;

export const TIMEOUT_SECONDS = 30;

/** Names under which OAuth carries what nobody else should read (RFC 6749, RFC 7591, RFC 7636). */
const SECRET_NAMES = [
  "access_token",
  "assertion",
  "client_secret",
  "code",
  "code_challenge",
  "code_verifier",
  "id_token",
  "nonce",
  "refresh_token",
  "registration_access_token",
  "state",
  "subject_token",
  "token",
];

/** Answer headers worth a line. */
const SHOWN_HEADERS = ["WWW-Authenticate", "Location", "Retry-After"];

export function createSend(trace: Trace): Send {
  return async ({ show, client, ...request }) => {
    const { method, url, form, accessToken } = request;
    noteSecrets(Object.entries(form ?? {}), trace);
    if (accessToken !== undefined) trace.keepSecret(accessToken);
    if (client !== undefined) trace.keepSecret(client.secret);
    trace.request(method, url, {
      ...(client && { Authorization: `Basic ${client.id}:${client.secret}` }),
      ...(accessToken !== undefined && { Authorization: `Bearer ${accessToken}` }),
      ...(show ?? form),
    });
    const headers = {
      accept: "application/json",
      ...(client && { authorization: basic(client) }),
      ...request.headers,
    };
    const answer = await sendRequest({ ...request, headers }, TIMEOUT_SECONDS).catch((error) => {
      throw unreachable(url, error);
    });
    noteSecrets(fieldsOf(answer.body), trace);
    // It opens nothing without a token, and would fill a line.
    trace.keepSecret(answer.headers.get("mcp-session-id") ?? "");
    trace.answer(statusLine(answer.status), shownHeaders(answer.headers));
    return answer;
  };
}

function basic({ id, secret }: Readonly<{ id: string; secret: string }>): string {
  return `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString("base64")}`;
}

/** What Node reports when nobody answers, in words. */
export function unreachable(url: string, error: unknown): StepFailure {
  const { origin, port, hostname } = new URL(url);
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const { code, message, name } = cause as NodeJS.ErrnoException;
  const expected = `an answer from ${origin}`;
  if (code === "ECONNREFUSED") {
    const start = port === "" || port === "3000" ? "npm run demo" : `PORT=${port} npm run demo`;
    const hint = /^(localhost|127\.0\.0\.1|\[::1\])$/.test(hostname)
      ? `Start it with \`${start}\`, or name another server: URL=https://… npm run walkthrough`
      : "Is the server running, and is the port right?";
    return new StepFailure({ expected, came: `No server answers at ${url}`, hint });
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return new StepFailure({
      expected,
      came: `No server answers at ${url}: the name ${hostname} is unknown`,
      hint: "Check the host name in URL.",
    });
  if (name === "TimeoutError")
    return new StepFailure({
      expected,
      came: `nothing within ${TIMEOUT_SECONDS} seconds`,
      hint: "The server accepts connections but does not answer: its log should say what it waits for.",
    });
  return new StepFailure({
    expected,
    came: `${code ?? message} at ${url}`,
    hint: "The connection broke. Does the server speak http where URL says https? Is its certificate one that Node does not know (NODE_EXTRA_CA_CERTS)?",
  });
}

/** @throws StepFailure unless the answer has this status */
export function expectStatus(answer: Answer, status: number, hint: string = hintFor(answer)): void {
  expect(answer.status === status, { expected: statusLine(status), came: describe(answer), hint });
}

/** @throws StepFailure unless the answer is JSON of this shape */
export function readJson<Schema extends z.ZodType>(answer: Answer, schema: Schema): z.infer<Schema> {
  const type = answer.headers.get("content-type") ?? "no Content-Type";
  expect(/^application\/(.+\+)?json\b/i.test(type), {
    expected: "Content-Type: application/json",
    came: type,
    hint: `Something else than the server answers at ${answer.url}: a proxy in front of it, or another program.`,
  });
  const parsed = schema.safeParse(answer.body);
  if (parsed.success) return parsed.data;
  throw new StepFailure({
    expected: "a complete JSON document",
    came: z.prettifyError(parsed.error).replaceAll(/\s*\n\s*/g, " "),
    hint: `Look at it: curl -s ${answer.url}`,
  });
}

export function describe(answer: Answer): string {
  const body = answer.text.replaceAll(/\s+/g, " ").slice(0, 300);
  return `${statusLine(answer.status)}${body === "" ? "" : ` ${body}`}`;
}

export function statusLine(status: number): string {
  return `${status} ${STATUS_CODES[status] ?? ""}`.trim();
}

function hintFor({ status, headers }: Answer): string {
  const requestId = headers.get("x-request-id");
  const log = `The server's log says why${requestId === null ? "" : ` (request ${requestId})`}.`;
  if (status === 404) return "Is URL the server's base URL, or its /mcp URL?";
  if (status === 429) return `Too many requests: wait ${headers.get("retry-after") ?? "some"} seconds.`;
  if (status === 503) return `Its store or its identity provider is out of reach. ${log}`;
  return log;
}

/** A secret is known by its name, in requests, answers and URLs alike. */
export function noteSecrets(fields: Iterable<[string, unknown]>, trace: Trace): void {
  for (const [name, value] of fields) {
    if (typeof value === "string" && SECRET_NAMES.includes(name)) trace.keepSecret(value);
  }
}

function fieldsOf(body: unknown): Array<[string, unknown]> {
  return typeof body === "object" && body !== null ? Object.entries(body) : [];
}

function shownHeaders(headers: Headers): Record<string, string> {
  return Object.fromEntries(
    SHOWN_HEADERS.map((name) => [name, headers.get(name)] as const).filter(
      (entry): entry is [string, string] => entry[1] !== null,
    ),
  );
}
