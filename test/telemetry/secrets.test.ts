/**
 * A full run with every kind of failure, at LOG_LEVEL=trace: no secret of it is in the log, the audit log, metrics, traces, or
 * in the error answers to people and programs.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { z } from "zod";
import { Browser, type Page } from "../../dev/client/browser.ts";
import { findForms } from "../../dev/client/html.ts";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import { loadConfig } from "../../src/config/config.ts";
import { readToken } from "../../src/grants/opaque-token.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { loginFormat } from "../../src/login/transaction.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { sha256 } from "../../src/oauth/sha256.ts";
import { getUpstreamAccessToken } from "../../src/resource/access-token-context.ts";
import { requestFields } from "../../src/runtime/current-request.ts";
import { serve } from "../../src/server/serve.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { openConnections } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import { startFaultyProxy } from "../support/faulty-proxy.ts";
import { freePort } from "../support/free-port.ts";
import {
  authorizeUrl,
  callTool,
  postForm,
  postJson,
  REDIRECT_URI,
  type Registered,
  refresh,
  register,
  rpc,
  type Tokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis } from "../support/redis.ts";
import { signIn as signInWith } from "../support/sign-in.ts";
import { ALICE, AUDIENCE } from "../support/test-server.ts";
import { startCollector } from "./collector.ts";
import { collectSecrets } from "./secrets.ts";

const random = () => randomBytes(32).toString("base64url");
// With characters that URLs, JSON and base64 write differently.
const CLIENT_SECRET = `s+e/c=r&e"t ${random()}`;
const [NEW_KEY, OLD_KEY, METRICS_TOKEN, REDIS_PASSWORD, COLLECTOR_KEY] = [1, 2, 3, 4, 5].map(random) as [
  string,
  string,
  string,
  string,
  string,
];

const usesUpstreamToken = defineTool({
  name: "uses_upstream_token",
  description: "Calls the provider's API",
  input: z.object({ note: z.string().optional() }),
  run: async () => `${(await getUpstreamAccessToken()).length} characters`,
});
const broken = defineTool({
  name: "broken",
  description: "Fails",
  run() {
    throw new Error("as it must");
  },
});

const needsMore = defineTool({
  name: "needs_more",
  description: "Is not for everybody",
  scopes: ["orders:write"],
  run: () => "ordered",
});

describe("no secret is written down", { skip: skipWithoutRedisServer() }, () => {
  const secrets = collectSecrets();
  /** Where it was written, and what. */
  const written: Array<[where: string, text: string]> = [];
  const log: string[] = [];
  const reasons = () => log.map((line) => JSON.parse(line).reason);

  before(run);

  test("in the log", () => assert.deepEqual(secrets.foundIn("the log", log.join("")), []));

  for (const where of ["the audit log", "the metrics", "the traces", "an error"])
    test(`in ${where}`, () => {
      const texts = written.filter(([place]) => place === where).map(([, text]) => text);
      assert.ok(texts.length > 0 && texts.every((text) => text !== ""), "something was written");
      assert.deepEqual(secrets.foundIn(where, texts.join("\n")), []);
    });

  test("although there were many", () => {
    assert.deepEqual(
      secrets.kinds.sort(),
      [
        "REDIS_URL's password",
        "access token",
        "argument of a call",
        "authorization code",
        "client secret",
        "consent form",
        "cookie",
        "e-mail address",
        "key of a refresh token family",
        "METRICS_TOKEN",
        "OIDC_CLIENT_SECRET",
        "PKCE verifier",
        "PKCE verifier upstream",
        "SECRET_KEY",
        "access token upstream",
        "authorization code upstream",
        "form token",
        "header for the collector",
        "ID token upstream",
        "nonce upstream",
        "refresh token",
        "refresh token upstream",
        "registration access token",
        "state",
        "state upstream",
      ].sort(),
    );
  });

  test("and although what could go wrong did", () => {
    for (const reason of [
      "another_browser",
      "code_replayed",
      "ended_by_user",
      "forged_form",
      "grant_ended",
      "insufficient_scope",
      "malformed_authorization_header",
      "no_json_body",
      "redis_unavailable",
      "refresh_token_reused",
      "revoked_by_client",
      "token_in_query",
      "tool_failed",
      "unknown_client",
      "unknown_state",
      "unreadable_body",
      "upstream_refused",
      "wrong_client_secret",
      "wrong_code_verifier",
    ])
      assert.ok(reasons().includes(reason), reason);
    for (const words of ["first SECRET_KEY", "Connected to Redis", "identity provider is reachable"])
      assert.ok(
        log.some((line) => line.includes(words)),
        words,
      );
  });

  test("every line of a request names it", () => {
    const failed = log.map((line) => JSON.parse(line)).find(({ reason }) => reason === "tool_failed");
    const request = log
      .map((line) => JSON.parse(line))
      .find(({ msg, requestId }) => msg === "request" && requestId === failed.requestId);
    assert.equal(request?.tool, "broken");
    assert.equal(request.trace_id, failed.trace_id);
    assert.match(failed.trace_id, /^[0-9a-f]{32}$/);
  });

  test("a secret that is written down would be found, however it is encoded", () => {
    for (const form of [
      CLIENT_SECRET,
      `?client_secret=${encodeURIComponent(CLIENT_SECRET)}`,
      JSON.stringify({ client_secret: CLIENT_SECRET }),
      `Basic ${Buffer.from(`proxy:${encodeURIComponent(CLIENT_SECRET)}`).toString("base64")}`,
      Buffer.from(`a${CLIENT_SECRET}`).toString("base64url"),
      `cut short: ${CLIENT_SECRET.slice(-25)}`,
    ])
      assert.notDeepEqual(secrets.foundIn("a line", `{"text":"${form}"}`), [], form);
    assert.deepEqual(secrets.foundIn("a line", JSON.stringify({ random: random() })), []);
  });

  async function run(): Promise<void> {
    const collector = await startCollector();
    const redis = await startRedis({ args: ["--requirepass", REDIS_PASSWORD] });
    const proxy = await startFaultyProxy();
    const port = await freePort();
    const baseUrl = `http://localhost:${port}`;
    const identityProvider = await startIdentityProvider({
      port: 0,
      publicUrl: `http://localhost:${proxy.port}`,
      client: { id: "proxy", secret: CLIENT_SECRET, redirectUris: [`${baseUrl}/auth/callback`] },
      audience: AUDIENCE,
      scopes: ["weather:read"],
      users: [ALICE],
      behaviour: { advertisesApiScopes: true, accessTokenSeconds: 4 },
    });
    proxy.target = identityProvider.port;
    proxy.rewrite = (body) => {
      secrets.add("access token upstream", String(body.access_token));
      // Who only wants to see their connections is given none.
      if (body.refresh_token !== undefined) secrets.add("refresh token upstream", String(body.refresh_token));
      secrets.add("ID token upstream", String(body.id_token));
      return body;
    };
    const auditLog = join(mkdtempSync(join(tmpdir(), "secrets-")), "audit.jsonl");
    const redisUrl = `redis://default:${REDIS_PASSWORD}@127.0.0.1:${redis.port}`;
    const config = loadConfig({
      BASE_URL: baseUrl,
      HOST: "127.0.0.1",
      PORT: String(port),
      SECRET_KEY: `${NEW_KEY},${OLD_KEY}`,
      OIDC_ISSUER: identityProvider.issuer,
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: CLIENT_SECRET,
      OIDC_AUDIENCE: AUDIENCE,
      UPSTREAM_TIMEOUT_SECONDS: "2",
      REDIS_URL: redisUrl,
      REDIS_TIMEOUT_MS: "500",
      STORE_OUTAGE_SECONDS: "0",
      REFRESH_GRACE_SECONDS: "1",
      AUDIT_LOG: auditLog,
      METRICS_TOKEN,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    });
    secrets.add("SECRET_KEY", NEW_KEY, OLD_KEY);
    secrets.add("OIDC_CLIENT_SECRET", CLIENT_SECRET);
    secrets.add("METRICS_TOKEN", METRICS_TOKEN);
    secrets.add("REDIS_URL's password", REDIS_PASSWORD);
    secrets.add("header for the collector", COLLECTOR_KEY);
    secrets.add("e-mail address", ALICE.email ?? "");
    process.env.OTEL_EXPORTER_OTLP_HEADERS = `x-key=${COLLECTOR_KEY}`;
    process.env.OTEL_BSP_SCHEDULE_DELAY = "50";
    const logger = pino(
      { level: "trace", base: null, mixin: requestFields },
      { write: (line: string) => void log.push(line) },
    );
    const server = await serve(
      config,
      {
        tools: [usesUpstreamToken, broken, needsMore],
        scopes: { "weather:read": "Read the weather", "orders:write": "Order" },
      },
      { log: logger, stopOnSignals: false },
    );

    const silent = pino({ level: "silent" });
    const records = redisStore({ ...config.store, log: silent } as Parameters<typeof redisStore>[0]);
    const storing = { records, sealer: createSealer(config.secretKeys), log: silent };
    const users = storedUsers(config.identityProviders);
    const logins = encryptedStore({ ...storing, kind: "login", ...loginFormat(users) });
    const grants = encryptedStore({ ...storing, kind: "grant", ...grantFormat(users) });
    const forgetErrors = noteErrors(baseUrl);
    try {
      await eventually("Redis is there", () => log.some((line) => line.includes("Connected to Redis")));
      await everything();
      const headers = { authorization: `Bearer ${METRICS_TOKEN}` };
      written.push(["the metrics", await (await fetch(`${baseUrl}/metrics`, { headers })).text()]);
    } finally {
      forgetErrors();
      await server.stop();
      await records.close();
      await redis.stop();
      await identityProvider.close();
      await proxy.close();
      await collector.close();
    }
    written.push(["the audit log", readFileSync(auditLog, "utf8")]);
    for (const { body } of collector.requests) written.push(["the traces", body]);

    async function everything(): Promise<void> {
      const [one, two, three] = await registrations();
      const first = await signIn(one);
      await refusedRequests(first.tokens);
      await calls(first.tokens);
      await rotations(one, first.tokens);
      const second = await signIn(two);
      await replay(two, second);
      await introspectAndRevoke(two, three);
      await connections(three);
      await unhappySignIns(one);
      await outages(three);
      await manage(three);
    }

    async function registrations(): Promise<[Registered, Registered, Registered]> {
      const methods = ["none", "client_secret_basic", "client_secret_post"];
      const [one, two, three] = await Promise.all(
        methods.map((token_endpoint_auth_method) => register(baseUrl, { token_endpoint_auth_method })),
      );
      assert.ok(one && two && three);
      for (const each of [one, two, three])
        secrets.add("registration access token", String(each.registration_access_token));
      secrets.add("client secret", two.client_secret, three.client_secret);
      await postJson(`${baseUrl}/register`, { redirect_uris: "none", client_name: "x" });
      return [one, two, three];
    }

    /** As far as the client's redirect URI, with every secret on the way noted. */
    async function toCode(client: Registered, answer = "approve") {
      const browser = new Browser({ stopAt: ({ href }) => href.startsWith(REDIRECT_URI) });
      const [state, verifier] = [random(), random()];
      secrets.add("state", state);
      secrets.add("PKCE verifier", verifier);
      const code_challenge = createHash("sha256").update(verifier).digest("base64url");
      const page = await browser.get(authorizeUrl(baseUrl, client, { state, code_challenge }));
      for (const { inputs } of findForms(page.body))
        for (const { name, value } of inputs) if (name === "request") secrets.add("consent form", value);
      secrets.add("cookie", browser.cookieHeader(baseUrl).split("=").slice(1).join("="));
      const login = await browser.submit(page, {}, { button: answer });
      noteHistory(browser);
      if (login.redirectedTo !== undefined) return { verifier, page: login };
      const upstreamState = browser.history
        .map(({ url }) => new URL(url).searchParams.get("state") ?? "")
        .find((each) => each !== "" && each !== state);
      const transaction = await logins.get(sha256(upstreamState ?? ""));
      secrets.add("PKCE verifier upstream", transaction?.codeVerifier);
      secrets.add("nonce upstream", transaction?.nonce);
      const end = await browser.submit(login, { login: "alice" });
      noteHistory(browser);
      notePage(end);
      return { verifier, page: end };
    }

    /** The provider's answers pass through the browser's address bar. */
    function noteHistory({ history }: Browser): void {
      for (const { url } of history) {
        const { pathname, searchParams } = new URL(url);
        const isCallback = pathname === "/auth/callback";
        if (isCallback) secrets.add("authorization code upstream", searchParams.get("code"));
        if (isCallback) secrets.add("state upstream", searchParams.get("state"));
      }
    }

    async function signIn(client: Registered) {
      const { verifier, page } = await toCode(client);
      const code = page.redirectedTo?.searchParams.get("code") ?? "";
      secrets.add("authorization code", code);
      await redeemWith(client, code, random()); // a wrong verifier
      if (client.client_secret !== undefined)
        await redeemWith({ ...client, client_secret: random() }, code, verifier);
      const { body: tokens } = await redeemWith(client, code, verifier);
      noteTokens(tokens);
      const grant = await grants.get(readToken("access", tokens.access_token)?.grantId ?? "");
      secrets.add("key of a refresh token family", grant?.familyKey);
      return { tokens: tokens as Tokens, code, verifier };
    }

    function noteTokens(tokens: Tokens): void {
      secrets.add("access token", tokens.access_token);
      secrets.add("refresh token", tokens.refresh_token);
    }

    function redeemWith(client: Registered, code: string, code_verifier: string) {
      return asClient(client, "token", {
        grant_type: "authorization_code",
        code,
        code_verifier,
        redirect_uri: REDIRECT_URI,
      });
    }

    function asClient(client: Registered, path: string, fields: Record<string, string>) {
      const { client_id, client_secret, token_endpoint_auth_method: method } = client;
      const basic = Buffer.from(`${client_id}:${client_secret}`).toString("base64");
      if (method === "client_secret_basic")
        return postForm(`${baseUrl}/${path}`, fields, { authorization: `Basic ${basic}` });
      return postForm(`${baseUrl}/${path}`, {
        ...fields,
        client_id,
        ...(client_secret && { client_secret }),
      });
    }

    async function refusedRequests({ access_token, refresh_token }: Tokens): Promise<void> {
      const mcp = `${baseUrl}/mcp`;
      const bearer = { authorization: `Bearer ${access_token}` };
      await fetch(`${mcp}?access_token=${access_token}`, { method: "POST" });
      await fetch(mcp, { headers: { authorization: `Bearer ${access_token}!${refresh_token}` } });
      await rpc(mcp, refresh_token, "tools/list");
      await rpc(mcp, `${access_token.slice(0, -1)}~`, "tools/list");
      await fetch(mcp, { method: "POST", headers: bearer, body: access_token });
      const asJson = { ...bearer, "content-type": "application/json" };
      await fetch(mcp, { method: "POST", headers: asJson, body: `{"broken":"${access_token}` });
      await postJson(`${baseUrl}/token`, { refresh_token });
      await fetch(`${baseUrl}/token?refresh_token=${refresh_token}`, { method: "POST" });
      await fetch(`${baseUrl}/nowhere?token=${access_token}`, {
        headers: { accept: "text/html", ...bearer },
      });
      await postForm(`${baseUrl}/auth/backchannel-logout`, { logout_token: access_token });
      await fetch(`${baseUrl}/metrics`, { headers: bearer });
    }

    async function calls({ access_token }: Tokens): Promise<void> {
      const note = `note-${random()}`;
      secrets.add("argument of a call", note);
      const call = (name: string, args: object) => callTool(`${baseUrl}/mcp`, access_token, name, args);
      const { body } = await call("uses_upstream_token", { note });
      assert.match(body.result.content[0].text, /^\d+ characters$/);
      await call("uses_upstream_token", { note: [note] });
      await call("broken", { note });
      await call("needs_more", { note });
      await call("made-up", { note });
    }

    async function rotations(client: Registered, { refresh_token }: Tokens): Promise<void> {
      await delay(2_500); // more than half of the provider's token is over: it is renewed too
      for (const fault of ["500", "html", "reset", "timeout"] as const) {
        proxy.fault = fault;
        assert.equal((await refresh(baseUrl, client, refresh_token)).status, 503, fault);
      }
      proxy.fault = undefined;
      proxy.dropUnanswered();
      await delay(300);
      const { body: renewed } = await refresh(baseUrl, client, refresh_token);
      noteTokens(renewed);
      await refresh(baseUrl, client, refresh_token, { scope: "more" });
      await delay(1_100); // beyond the grace
      await refresh(baseUrl, client, refresh_token);
      await rpc(`${baseUrl}/mcp`, renewed.access_token, "tools/list");
    }

    async function replay(
      client: Registered,
      { tokens, code, verifier }: Awaited<ReturnType<typeof signIn>>,
    ) {
      await redeemWith(client, code, verifier);
      await asClient(client, "token", { grant_type: "refresh_token", refresh_token: tokens.refresh_token });
    }

    async function introspectAndRevoke(two: Registered, three: Registered): Promise<void> {
      const { tokens } = await signIn(two);
      await asClient(two, "introspect", { token: tokens.access_token });
      await asClient({ ...two, client_secret: random() }, "introspect", { token: tokens.access_token });
      await asClient(three, "introspect", { token: tokens.refresh_token });
      await asClient(two, "revoke", { token: tokens.refresh_token });
    }

    /** A person looks at what they allowed, sends a form that is not theirs, and then theirs. */
    async function connections(client: Registered): Promise<void> {
      await signIn(client);
      const browser = new Browser();
      const page = await openConnections(baseUrl, { browser });
      noteHistory(browser);
      for (const pair of browser.cookieHeader(baseUrl).split("; "))
        secrets.add("cookie", pair.split("=").slice(1).join("="));
      const formToken = findForms(page.body)
        .flatMap(({ inputs }) => inputs)
        .find(({ name }) => name === "form_token")?.value;
      secrets.add("form token", formToken);
      notePage(await browser.submit(page, { form_token: random() }, { button: "Sign out" }));
      await browser.submit(page, { form_token: formToken ?? "", all: "yes" }, { button: "Yes, end access" });
    }

    /** The provider refuses, and quotes everything it was sent. */
    async function unhappySignIns(client: Registered): Promise<void> {
      await toCode(client, "deny");
      await toCode({ ...client, client_id: "nobody" }).catch(() => {});
      await fetch(`${baseUrl}/auth/callback?state=${random()}&code=${random()}`);
      const elsewhere = new Browser({ stopAt: ({ pathname }) => pathname === "/auth/callback" });
      await fetch(await signInWith(elsewhere, authorizeUrl(baseUrl, client))); // without its cookie
      proxy.answer = {
        status: 400,
        body: JSON.stringify({
          error: "invalid_grant",
          error_description: `The secret is not ${CLIENT_SECRET}`,
        }),
      };
      notePage((await toCode(client)).page);
      proxy.answer = { status: 200, body: JSON.stringify({ access_token: random(), note: CLIENT_SECRET }) };
      notePage((await toCode(client)).page);
      proxy.answer = undefined;
      const { tokens } = await signIn(client);
      await delay(2_500);
      proxy.answer = {
        status: 400,
        body: `{"error":"invalid_grant","error_description":"gone: ${proxy.seen.at(-1)?.refreshToken}"}`,
      };
      await refresh(baseUrl, client, tokens.refresh_token);
      proxy.answer = undefined;
    }

    async function outages(client: Registered): Promise<void> {
      const { tokens, code, verifier } = await signIn(client);
      await redis.kill();
      await rpc(`${baseUrl}/mcp`, tokens.access_token, "tools/list");
      await asClient(client, "token", { grant_type: "refresh_token", refresh_token: tokens.refresh_token });
      await redeemWith(client, code, verifier);
      notePage(await new Browser().get(authorizeUrl(baseUrl, client)));
      await fetch(`${baseUrl}/auth/callback?state=${random()}&code=${code}`);
      await redis.restart();
      await eventually("it is ready", async () => (await fetch(`${baseUrl}/readyz`)).status === 200);
    }

    async function manage({ client_id, registration_access_token: token }: Registered): Promise<void> {
      const url = `${baseUrl}/register/${client_id}`;
      for (const authorization of [`Bearer ${token}`, `Bearer ${random()}`])
        for (const method of ["GET", "PUT", "DELETE"])
          await fetch(url, { method, headers: { authorization } });
    }

    function notePage({ status, body }: Page): void {
      // The way back to the client carries the client's own state.
      const wayBack = /<a href="[^"]*">Back to your application<\/a>/g;
      if (status >= 400) written.push(["an error", body.replaceAll(wayBack, "")]);
    }
  }

  /** What programs are told of errors. */
  function noteErrors(baseUrl: string): () => void {
    const { fetch } = globalThis;
    globalThis.fetch = async (...request) => {
      const response = await fetch(...request);
      if (response.url.startsWith(baseUrl) && response.status >= 400) {
        const headers = JSON.stringify([...response.headers]);
        written.push(["an error", `${headers} ${await response.clone().text()}`]);
      }
      return response;
    };
    return () => {
      globalThis.fetch = fetch;
    };
  }
});
