/**
 * Every route, and what one request to it by a stranger may write, fetch and log, and which limit counts it. A route that is
 * new has no entry, and fails here until somebody has thought about it.
 */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { pino } from "pino";
import { loadConfig } from "../../src/config/config.ts";
import { buildApp } from "../../src/server/mount.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { authorizeUrl, register } from "../support/oauth-client.ts";
import { SECRET_KEY, useTestServer } from "../support/test-server.ts";
import { type RequestOptions, reasonOf, sendRequest } from "./support.ts";

interface Entry {
  /** In the store. */
  writes: string;
  /** From other servers. */
  fetches: string;
  /** Beside the request's own line. */
  logs: string;
  /** What counts it; "none" only where nothing is written or fetched. */
  limit: string;
}

const NOTHING: Entry = { writes: "-", fetches: "-", logs: "-", limit: "none" };
/** What answers other methods: 405. */
const REFUSAL = NOTHING;
const OF_REGISTRATION = { ...NOTHING, limit: "registration_requests_of_address" };
const OF_TOKENS = { ...NOTHING, limit: "token_requests_of_address" };

const CALLBACK: Entry = {
  writes: "what a login that was begun ends with, once",
  fetches: "the provider's token endpoint and userinfo, for a login that was begun",
  logs: "audit: sign_in, connections_sign_in, elevation",
  limit: "that of the login it takes",
};

const ROUTES: Record<string, Entry> = {
  "ALL /mcp": {
    writes:
      "last use, at most every five minutes; with a token: questions and cancellations of its own calls",
    fetches: "with a token: what its tools fetch",
    logs: "audit lines about a known grant alone; a made-up token is about nobody",
    limit: "none without a token: one look-up, and nothing for what is not shaped like ours",
  },
  "GET /healthz": NOTHING,
  "GET /readyz": NOTHING,
  "GET /metrics": NOTHING,
  "GET /doctor/view": NOTHING,
  "GET /": NOTHING,
  "GET /icon.svg": NOTHING,
  "GET /favicon.ico": NOTHING,
  "GET /authorize": {
    writes: "a login, where nobody is asked",
    fetches:
      "the client's document; discovery, once an hour for all; for a login, what is pushed to a provider that wants that",
    logs: "audit: consent, where a login is written",
    limit: "sign_ins and sign_ins_under_way, for a login; sign_ins, for a document",
  },
  "POST /authorize": { ...NOTHING, fetches: "the client's document", limit: "sign_ins, for a document" },
  "POST /consent": {
    writes: "a login, if approved",
    fetches: "discovery, once an hour for all; for a login, what is pushed to a provider that wants that",
    logs: "audit: consent",
    limit: "sign_ins; sign_ins_under_way for a login",
  },
  "HEAD /auth/callback": REFUSAL,
  "HEAD /auth/callback/:provider": REFUSAL,
  "GET /auth/callback": CALLBACK,
  "GET /auth/callback/:provider": CALLBACK,
  "GET /logout": NOTHING,
  "POST /logout": {
    ...NOTHING,
    writes: "takes this browser's own session away",
    fetches: "discovery, once an hour for all",
    limit: "none: it only removes",
  },
  "GET /connections": {
    ...NOTHING,
    writes: "what was told, with a session",
    limit: "connections_requests, with a session",
  },
  "POST /connections/sign-in": {
    writes: "a login",
    fetches: "discovery, once an hour for all; what is pushed to a provider that wants that",
    logs: "-",
    limit: "sign_ins, sign_ins_under_way",
  },
  "POST /connections/end": {
    writes: "with a session: ends its own grants",
    fetches: "with a session: the provider's revocation endpoint",
    logs: "audit: grant_ended",
    limit: "connections_requests, with a session",
  },
  "POST /connections/sign-out": {
    ...NOTHING,
    writes: "with a session: takes it away",
    limit: "connections_requests, with a session",
  },
  "POST /register": {
    writes: "a client, of 8 KB at most",
    fetches: "-",
    logs: "audit: client_registered, for what is stored",
    limit: "registrations, by what is stored; registration_requests_of_address",
  },
  "GET /register/:clientId": OF_REGISTRATION,
  "PUT /register/:clientId": {
    writes: "the client, which lives no longer for it",
    fetches: "-",
    logs: "audit: client_changed, for what is stored",
    limit: "registrations, by what is stored; registration_requests_of_address",
  },
  "DELETE /register/:clientId": {
    writes: "takes the client away, and its grants",
    fetches: "the provider's revocation endpoint, for its grants",
    logs: "audit: client_removed, grant_ended",
    limit: "registration_requests_of_address",
  },
  "POST /token": {
    writes:
      "with a live code or refresh token: its grant; the use of its client; with credentials from CLIENTS or a genuine assertion: a grant of one token, and that the assertion was used",
    fetches:
      "with a live refresh token: the provider's token endpoint; the document or keys of a client; the keys of a trusted issuer, once in ten seconds",
    logs: "audit: about a known grant, or whom a genuine assertion names",
    limit: "token_requests_of_address; token_requests_of_client, for one that authenticates",
  },
  "POST /revoke": {
    writes: "with a token of its own: ends the grant",
    fetches: "the provider's revocation endpoint, then; the document or keys of a client",
    logs: "audit: grant_ended",
    limit: "token_requests_of_address; token_requests_of_client, for one that authenticates",
  },
  "POST /introspect": {
    ...OF_TOKENS,
    fetches: "the document or keys of a client",
    limit: "token_requests_of_address; token_requests_of_client, for one that authenticates",
  },
  "POST /auth/backchannel-logout": {
    writes: "with a genuine token: that it was used; ends grants and sessions",
    fetches: "the provider's keys, bounded for the issuer",
    logs: "audit: grant_ended",
    limit: "a limit per address",
  },
};
const METADATA = /^(?:GET|ALL) \/(mcp\/)?\.well-known\//;
const REFUSALS = new Set([
  ...["/", "/icon.svg", "/favicon.ico", "/healthz", "/readyz", "/metrics"],
  ...[
    "/authorize",
    "/consent",
    "/auth/callback",
    "/auth/callback/:provider",
    "/logout",
    "/connections",
    "/connections/sign-in",
  ],
  ...["/connections/end", "/connections/sign-out", "/register", "/register/:clientId"],
  ...["/token", "/revoke", "/introspect", "/auth/backchannel-logout"],
]);

interface Layer {
  route?: { path: string | string[]; methods: Record<string, boolean> };
  handle?: { stack?: Layer[] };
}

/** All routes of an express application, in whatever router they are mounted. */
function routesIn(layers: readonly Layer[]): string[] {
  return layers.flatMap(({ route, handle }) => {
    if (route === undefined) return routesIn(handle?.stack ?? []);
    const declared = Object.keys(route.methods).map((method) => method.toUpperCase());
    // `all` is said in two ways: by one mark, or by every method that Node knows.
    const methods = declared.includes("_ALL") || declared.includes("M-SEARCH") ? ["ALL"] : declared;
    return [route.path].flat().flatMap((path) => methods.map((method) => `${method} ${path}`));
  });
}

test("every route is in the table of what it may write, fetch and log, and the table has no other", async () => {
  const log = pino({ level: "silent" });
  const config = loadConfig({
    BASE_URL: "http://localhost:3000",
    SECRET_KEY,
    OIDC_ISSUER: "http://localhost:3001",
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "secret",
    STORE: "memory",
  });
  const records = memoryStore();
  const app = buildApp({ config, records, log, tools: [], scopes: {} });
  await records.close();
  const found = routesIn((app as unknown as { router: { stack: Layer[] } }).router.stack);
  const mounted = new Set(found);
  const isKnown = (route: string) =>
    route in ROUTES || METADATA.test(route) || (route.startsWith("ALL ") && REFUSALS.has(route.slice(4)));
  assert.deepEqual(
    [...mounted].filter((route) => !isKnown(route)),
    [],
    "a route without an entry",
  );
  assert.deepEqual(
    Object.keys(ROUTES).filter((route) => !mounted.has(route)),
    [],
    "an entry without a route",
  );
  for (const [route, { writes, fetches, limit }] of Object.entries(ROUTES))
    if (limit === "none") assert.deepEqual([writes, fetches], ["-", "-"], route);
});

describe("the limit that the table names for a route", () => {
  let consentUrl: string;
  const testServer = useTestServer({
    environment: {
      REGISTRATIONS_PER_ADDRESS_PER_HOUR: "1",
      SIGN_INS_PER_ADDRESS_PER_HOUR: "1",
      TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "3",
      TRUSTED_PROXIES: "127.0.0.1",
    },
  });
  before(async () => {
    consentUrl = authorizeUrl(testServer.baseUrl, await register(testServer.baseUrl));
  });

  const form = { form: { x: "y" } };
  const own = () => ({ "sec-fetch-site": "same-origin", origin: new URL(testServer.baseUrl).origin });
  const document = "client_id=https%3A%2F%2Fclient.example%2Fc.json";
  const LIMITED: Array<[string, string, () => RequestOptions | Promise<RequestOptions>]> = [
    ["POST /register", "registration_requests_of_address", () => ({ json: {} })],
    ["GET /register/x", "registration_requests_of_address", () => ({})],
    ["PUT /register/x", "registration_requests_of_address", () => ({ method: "PUT", json: {} })],
    ["DELETE /register/x", "registration_requests_of_address", () => ({ method: "DELETE" })],
    ["POST /token", "token_requests_of_address", () => form],
    ["POST /revoke", "token_requests_of_address", () => form],
    ["POST /introspect", "token_requests_of_address", () => form],
    ["POST /connections/sign-in", "sign_ins", () => ({ form: {}, method: "POST", headers: own() })],
    [`GET /authorize?${document}`, "sign_ins", () => ({})],
    [
      "POST /consent",
      "sign_ins",
      async () => {
        const page = await sendRequest(consentUrl);
        const request = /name="request" value="([^"]+)"/.exec(page.text)?.[1] ?? "";
        const cookie = page.headers.getSetCookie()[0]?.split(";")[0] ?? "";
        return { form: { request, decision: "deny" }, headers: { cookie } };
      },
    ],
  ];
  for (const [index, [route, limit, ask]] of LIMITED.entries())
    test(`${route.split("?")[0]}: ${limit}`, async () => {
      const [, path = ""] = route.split(" ");
      let last: Awaited<ReturnType<typeof sendRequest>> | undefined;
      for (let sent = 0; sent < 12 && last?.status !== 429; sent++) {
        const { headers, ...request } = await ask();
        const from = { "x-forwarded-for": `203.0.113.${index}` };
        last = await sendRequest(`${testServer.baseUrl}${path}`, {
          ...request,
          headers: { ...headers, ...from },
        });
      }
      assert.equal(last?.status, 429);
      assert.ok(Number(last.headers.get("retry-after")) > 0);
      assert.equal(await reasonOf(testServer, last), `too_many_${limit}`);
    });
});
