/** Tools that call other APIs in the user's name: with tokens that the identity provider gives in exchange for the user's own. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, describe, type TestContext, test } from "node:test";
import { createRemoteJWKSet, decodeJwt, jwtVerify, UnsecuredJWT } from "jose";
import { z } from "zod";
import {
  defineTool,
  getAccessTokenFor,
  getUpstreamAccessToken,
  type OtherApi,
  ToolError,
} from "../../src/index.ts";
import { documents } from "../support/documents.ts";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { held } from "../support/held.ts";
import {
  callTool,
  postForm,
  type Registered,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { ALICE, startTestServer, type TestServer, type TestServerOptions } from "../support/test-server.ts";
import { scrape } from "../telemetry/scrape.ts";

const redis = await redisForTests();
after(() => redis.stop());

const ORDERS_API = "https://orders.example.com";
const BILLS_API = "https://bills.example.com";
const ARCHIVE_API = "https://archive.example.com";
const YEARS = Array.from({ length: 20 }, (_, i) => `archive:${2000 + i}`);
let ORDERS_URL = "";

const myOrders = defineTool({
  name: "my_orders",
  description: "The orders of whoever is signed in",
  scopes: ["orders:read"],
  async run(_input, { signal }) {
    const accessToken = await getAccessTokenFor({ audience: ORDERS_API, scopes: ["orders:read"] });
    const answer = await fetch(`${ORDERS_URL}/orders`, {
      headers: { authorization: `Bearer ${accessToken}` },
      signal,
    });
    if (!answer.ok) throw new ToolError(`The orders service answered ${answer.status}.`);
    return await answer.text();
  },
});

/** What a real tool never does: shows the tokens. */
const exchange = defineTool({
  name: "exchange",
  description: "Exchanges for the API that it is told, so many times at once",
  input: z.object({ api: z.record(z.string(), z.unknown()), times: z.number().default(1) }),
  async run({ api, times }) {
    const asked = Array.from({ length: times }, () => getAccessTokenFor(api as unknown as OtherApi));
    return JSON.stringify(await Promise.all(asked));
  },
});
const upstreamToken = defineTool({
  name: "upstream_token",
  description: "Shows the user's own",
  run: async () => await getUpstreamAccessToken(),
});

const withOtherApis: TestServerOptions = {
  tools: [myOrders, exchange, upstreamToken],
  scopes: {
    "orders:read": "Read your orders",
    "orders:write": { description: "Place orders", whenNeeded: true },
  },
  apiScopes: ["orders:read", "orders:write"],
  otherApis: {
    [ORDERS_API]: ["orders:read", "orders:write", "orders:export"],
    [BILLS_API]: ["bills:read"],
    [ARCHIVE_API]: YEARS,
  },
  users: [
    {
      ...ALICE,
      permissions: ["weather:read", "orders:read", "orders:write", "orders:export", "bills:read", ...YEARS],
      claims: { oid: "oid-of-alice" },
    },
    { subject: "bob", name: "Bob", email: "bob@example.com", permissions: ["orders:read"] },
  ],
};

const MACHINE = {
  client_id: "nightly",
  client_secret: "the-secret-of-a-machine-0123456789abcdef",
  grant_types: ["client_credentials"],
  scope: "weather:read",
};

const READ = { audience: ORDERS_API, scopes: ["orders:export"] };
const isExchange = ({ grantType }: { grantType: string | null }) =>
  grantType?.endsWith("token-exchange") || grantType?.endsWith("jwt-bearer");

describe("another API in the user's name", () => {
  let upstream: FaultyProxy;
  let testServer: TestServer;
  let client: Registered;
  const lines: Array<Record<string, unknown>> = [];
  const seenByApi: string[] = [];
  const api = createServer(async (req, res) => {
    const token = String(req.headers.authorization).slice("Bearer ".length);
    seenByApi.push(token);
    const keys = createRemoteJWKSet(new URL(`${testServer.identityProvider.issuer}/jwks`));
    const verified = await jwtVerify(token, keys, { audience: ORDERS_API }).catch(() => undefined);
    if (verified?.payload.scope !== "orders:read") return void res.writeHead(401).end();
    res.end(`2 orders of ${verified.payload.sub}`);
  });

  before(async () => {
    await new Promise<void>((resolve) => api.listen(0, "127.0.0.1", resolve));
    ORDERS_URL = `http://127.0.0.1:${(api.address() as AddressInfo).port}`;
    upstream = await startFaultyProxy();
    testServer = await startTestServer({
      ...withOtherApis,
      throughProxy: upstream,
      behaviour: { accessTokenSeconds: 600 },
      environment: {
        ACCESS_TOKEN_SECONDS: "86400",
        UPSTREAM_TIMEOUT_SECONDS: "5",
        CLIENTS: JSON.stringify([MACHINE]),
      },
      auditStream: { write: (line) => lines.push(JSON.parse(line)) },
    });
    client = await register(testServer.baseUrl);
  });
  after(async () => {
    await testServer?.close();
    await upstream?.close();
    api.close();
  });
  beforeEach(() => {
    upstream.fault = undefined;
    upstream.answer = undefined;
    upstream.rewrite = undefined;
    upstream.seen.length = 0;
    lines.length = 0;
  });

  const signIn = async (options?: Parameters<typeof signInForTokens>[2]) =>
    (await signInForTokens(testServer.baseUrl, client, options)).access_token;
  const ask = (accessToken: string, api: object = READ, times = 1) =>
    callTool(testServer.url, accessToken, "exchange", { api, times });
  const exchanges = () => upstream.seen.filter(isExchange);
  /** Of a request that the provider answers as the test says: its error, and its reason. */
  async function refusal(
    accessToken: string,
    api: object = READ,
  ): Promise<{ text: string; reason: unknown }> {
    const before = testServer.log.length;
    const { status, body } = await ask(accessToken, api);
    assert.equal(status, 200);
    assert.equal(body.result.isError, true);
    const logged = testServer.log.slice(before).find(({ msg }) => msg === "No token for another API");
    return { text: body.result.content[0].text, reason: logged?.reason };
  }
  async function given(accessToken: string, api: object = READ, times = 1): Promise<string[]> {
    const { body } = await ask(accessToken, api, times);
    assert.notEqual(body.result.isError, true, body.result.content[0].text);
    return JSON.parse(body.result.content[0].text);
  }

  test("the tool of docs/tools.md calls it, and the API sees the user in a token that is meant for it", async () => {
    const guide = documents.find(({ path }) => path === "docs/tools.md")?.text ?? "";
    const shown = /^const myOrders = .*?^\}\);$/ms.exec(guide)?.[0] ?? "";
    assert.ok(shown.length > 100 && readFileSync(import.meta.filename, "utf8").includes(shown), "as shown");
    const accessToken = await signIn();
    const { body } = await callTool(testServer.url, accessToken, "my_orders");
    assert.equal(body.result.content[0].text, "2 orders of alice");
    const own = (await callTool(testServer.url, accessToken, "upstream_token")).body.result.content[0].text;
    assert.notEqual(seenByApi.at(-1), own);
  });

  test("is asked for as RFC 8693 has it, as the client that signed in", async () => {
    const accessToken = await signIn();
    const own = (await callTool(testServer.url, accessToken, "upstream_token")).body.result.content[0].text;
    const [token = ""] = await given(accessToken, { resource: ORDERS_API, scopes: ["orders:export"] });
    assert.equal(decodeJwt(token).aud, ORDERS_API);
    const [sent] = exchanges();
    const form = new URLSearchParams(sent?.text.split("\n").at(-1));
    assert.deepEqual(Object.fromEntries(form), {
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      subject_token: own,
      subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
      requested_token_type: "urn:ietf:params:oauth:token-type:access_token",
      resource: ORDERS_API,
      scope: "orders:export",
      client_id: "proxy",
      client_secret: "proxy-secret",
    });
  });

  test("without scopes the provider decides, and what it gives is in the audit log", async () => {
    const [token = ""] = await given(await signIn(), { audience: BILLS_API });
    assert.equal(decodeJwt(token).scope, "bills:read");
    const line = lines.find(({ event }) => event === "token_exchanged");
    assert.deepEqual([line?.decision, line?.audience, line?.scopes], ["allow", BILLS_API, ["bills:read"]]);
    assert.deepEqual([line?.subject, line?.clientId], ["alice", client.client_id]);
  });

  test("a tool that asks a hundred times in parallel makes one exchange, and the next call none", async () => {
    const accessToken = await signIn();
    const tokens = await given(accessToken, READ, 100);
    assert.equal(new Set(tokens).size, 1);
    assert.deepEqual(await given(accessToken, { ...READ, scopes: ["orders:export", "orders:export"] }), [
      tokens[0],
    ]);
    assert.equal(exchanges().length, 1);
  });

  test("another session, another API and other scopes have tokens of their own", async () => {
    const [one, other] = [await signIn(), await signIn()];
    const tokens = [
      ...(await given(one)),
      ...(await given(other)),
      ...(await given(one, { audience: BILLS_API })),
      ...(await given(one, { audience: ORDERS_API })),
    ];
    assert.equal(new Set(tokens).size, 4);
    assert.equal(exchanges().length, 4);
  });

  test("one that is about to end is exchanged again, after the user's own token was renewed", async () => {
    const accessToken = await signIn();
    const [first = ""] = await given(accessToken);
    testServer.clock.ahead += 500;
    assert.deepEqual(await given(accessToken), [first], "it has more than a minute left");
    testServer.clock.ahead += 60;
    const [next = ""] = await given(accessToken);
    assert.notEqual(next, first);
    const kinds = upstream.seen.flatMap(({ grantType }) => grantType?.split(":").at(-1) ?? []);
    assert.deepEqual(kinds.slice(-2), ["refresh_token", "token-exchange"]);
    const used = new URLSearchParams(exchanges().at(-1)?.text.split("\n").at(-1)).get("subject_token");
    const own = (await callTool(testServer.url, accessToken, "upstream_token")).body.result.content[0].text;
    assert.equal(used, own);
  });

  test("one that lives shorter than a minute serves for half of its life", async () => {
    const accessToken = await signIn();
    upstream.rewrite = (body) => ({ ...body, expires_in: 20 });
    await given(accessToken);
    await given(accessToken);
    assert.equal(exchanges().length, 1);
    testServer.clock.ahead += 11;
    await given(accessToken);
    assert.equal(exchanges().length, 2);
  });

  test("one that says itself that it ends earlier is not kept for longer, whatever the answer says", async () => {
    const accessToken = await signIn();
    upstream.rewrite = (body) => ({ ...body, expires_in: 1_000_000_000 });
    await given(accessToken);
    upstream.rewrite = undefined;
    testServer.clock.ahead += 560;
    await given(accessToken);
    assert.equal(exchanges().length, 2);
  });

  test("one that says that it never ends is a token as any other", async () => {
    const accessToken = await signIn();
    upstream.rewrite = ({ expires_in: _, ...body }) => {
      const [header, payload = ""] = String(body.access_token).split(".");
      const endless = Buffer.from(payload, "base64url")
        .toString()
        .replace(/"exp":\d+/, '"exp":1e999');
      return { ...body, access_token: `${header}.${Buffer.from(endless).toString("base64url")}.AAAA` };
    };
    await given(accessToken);
    upstream.rewrite = undefined;
    await given(accessToken);
    assert.equal(exchanges().length, 1);
  });

  test("at most sixteen are kept for a session", async () => {
    const accessToken = await signIn();
    const ofYear = (year = "") => given(accessToken, { audience: ARCHIVE_API, scopes: [year] });
    for (const year of YEARS) await ofYear(year);
    assert.equal(exchanges().length, 20);
    await ofYear(YEARS[4]);
    assert.equal(exchanges().length, 20, "the newest sixteen are kept");
    await ofYear(YEARS[3]);
    assert.equal(exchanges().length, 21, "the ones before them are not");
  });

  test("what is kept is encrypted, and ends with the grant", async () => {
    const accessToken = await signIn();
    const key = `exchanged:${(await testServer.grantOf(accessToken))?.id}`;
    const [token = ""] = await given(accessToken);
    const stored = (await testServer.records.get(key)) ?? "";
    assert.ok(stored.length > 0 && !stored.includes(token.slice(0, 20)));
    await revoke(testServer.baseUrl, client, accessToken);
    assert.equal(await testServer.records.get(key), undefined);
  });

  test("a grant that ends while its token is exchanged: nothing is returned, nothing kept", async () => {
    const accessToken = await signIn();
    const id = (await testServer.grantOf(accessToken))?.id;
    const answer = held();
    upstream.rewrite = async (body) => {
      await answer.wait();
      return body;
    };
    const asked = ask(accessToken);
    await answer.reached();
    upstream.rewrite = undefined;
    await revoke(testServer.baseUrl, client, accessToken);
    answer.letGo();
    const { status, body } = await asked;
    // The running call is stopped by the end of its grant, or the tool is told of it.
    assert.ok(status === 401 || body.result?.isError === true);
    assert.doesNotMatch(JSON.stringify(body), /eyJ/);
    const denied = () =>
      lines.find(({ event, decision }) => event === "token_exchanged" && decision === "deny");
    assert.equal((await eventually("it is refused", denied)).reason, "grant_ended");
    const revoked = () =>
      upstream.seen.some(
        ({ path, text }) => path.endsWith("/revocation") && text.includes("token_type_hint=access_token"),
      );
    await eventually("it is revoked at the provider", revoked);
    assert.equal(await testServer.records.get(`exchanged:${id}`), undefined);
  });

  describe("a scope that this server declares as well", () => {
    test("has to be the client's: without it a challenge, and no exchange", async () => {
      const accessToken = await signIn({ parameters: { scope: "weather:read" } });
      const answer = await ask(accessToken, { audience: ORDERS_API, scopes: ["orders:write"] });
      assert.equal(answer.status, 403);
      assert.match(answer.headers.get("www-authenticate") ?? "", /scope="weather:read orders:write"/);
      assert.equal(exchanges().length, 0);
    });

    test("with it the same call succeeds", async () => {
      const accessToken = await signIn({ parameters: { scope: "weather:read orders:write" } });
      const [token = ""] = await given(accessToken, { audience: ORDERS_API, scopes: ["orders:write"] });
      assert.equal(decodeJwt(token).scope, "orders:write");
    });
  });

  describe("what the provider gives is refused where it is not what was asked for", () => {
    let session = "";
    before(async () => {
      session = await signIn();
    });
    const forged = (change: object) => (body: Record<string, unknown>) => ({
      ...body,
      access_token: new UnsecuredJWT({ ...decodeJwt(String(body.access_token)), ...change }).encode(),
    });
    const cases: Array<[string, (body: Record<string, unknown>) => object, string]> = [
      [
        "broader scopes, by the answer",
        (body) => ({ ...body, scope: "orders:export orders:write" }),
        "exchanged_token_broader",
      ],
      [
        "broader scopes, by the token",
        forged({ scope: "orders:export orders:write" }),
        "exchanged_token_broader",
      ],
      ["broader scopes, in scp", forged({ scp: ["orders:export", "admin"] }), "exchanged_token_broader"],
      ["another user's token", forged({ sub: "bob" }), "exchanged_token_of_another_user"],
      [
        "a token for this server's own API",
        forged({ aud: "https://weather.example.com" }),
        "exchanged_token_for_another_api",
      ],
      ["a token for a third API", forged({ aud: BILLS_API }), "exchanged_token_for_another_api"],
      [
        "an ID token",
        (body) => ({ ...body, issued_token_type: "urn:ietf:params:oauth:token-type:id_token" }),
        "exchanged_token_type",
      ],
      ["a token of no type", ({ issued_token_type: _, ...body }) => body, "exchanged_token_type"],
      [
        "a token that is not used as a bearer token",
        (body) => ({ ...body, token_type: "N_A" }),
        "exchanged_token_type",
      ],
      ["a token of an unknown kind", (body) => ({ ...body, token_type: "mac" }), "exchanged_token_type"],
      [
        "a token that fits no header",
        (body) => ({ ...body, access_token: "x".repeat(20_000) }),
        "exchanged_token_type",
      ],
      ["fewer scopes", (body) => ({ ...body, scope: "" }), "exchange_scopes_refused"],
    ];
    for (const [what, rewrite, expected] of cases)
      test(what, async () => {
        upstream.rewrite = (body) => (body.issued_token_type === undefined ? body : rewrite(body));
        const { text, reason } = await refusal(session);
        assert.equal(reason, expected);
        assert.doesNotMatch(text, /eyJ/);
        const line = lines.find(({ event }) => event === "token_exchanged");
        assert.deepEqual([line?.decision, line?.reason], ["deny", expected]);
        assert.deepEqual([line?.audience, line?.scopes], [ORDERS_API, ["orders:export"]]);
      });

    test("scopes of OpenID Connect beside them are no more than the user allowed us", async () => {
      upstream.rewrite = (body) =>
        body.issued_token_type === undefined ? body : { ...body, scope: "openid profile orders:export" };
      await given(await signIn());
    });
  });

  describe("what the provider refuses is an error in words, which says what the user can do", () => {
    let session = "";
    before(async () => {
      session = await signIn();
    });
    const refused = (status: number, error: string, more: object = {}) =>
      JSON.stringify({ status, error, error_description: "upstream says: no", ...more });
    const cases: Array<[number, string, string, RegExp]> = [
      [400, "interaction_required", "exchange_needs_sign_in", /sign in again .*\/connections/],
      [400, "login_required", "exchange_needs_sign_in", /sign in again .*\/connections/],
      [403, "mfa_required", "exchange_needs_sign_in", /sign in again .*\/connections/],
      [400, "invalid_grant", "exchange_needs_sign_in", /sign in again .*\/connections/],
      [400, "consent_required", "exchange_needs_consent", /consent .*administrator/],
      [400, "invalid_scope", "exchange_scopes_refused", /orders:export at https:\/\/orders.*administrator/],
      [403, "insufficient_scope", "exchange_scopes_refused", /orders:export at https:\/\/orders/],
      [403, "access_denied", "exchange_refused", /does not let this server use .*administrator/],
      [400, "invalid_request", "exchange_refused", /does not let this server use .*administrator/],
      [400, "invalid_target", "exchange_misconfigured", /Its operator has to repair that/],
      [400, "unauthorized_client", "exchange_misconfigured", /Its operator has to repair that/],
      [400, "unsupported_grant_type", "exchange_misconfigured", /Its operator has to repair that/],
      [401, "invalid_client", "client_credentials_rejected", /Its operator has to repair that/],
      [503, "temporarily_unavailable", "identity_provider_failed", /HTTP 503.*Try again in a moment/],
      [400, "temporarily_unavailable", "identity_provider_failed", /Try again in a moment/],
      [429, "rate_limit_exceeded", "identity_provider_failed", /Try again in a moment/],
      [403, "Forbidden", "identity_provider_failed", /Try again in a moment/],
    ];
    for (const [status, error, expected, words] of cases)
      test(`${status} ${error}: ${expected}`, async () => {
        upstream.answer = { status, body: refused(status, error) };
        const { text, reason } = await refusal(session);
        assert.match(text, words);
        assert.doesNotMatch(text, /upstream says/);
        assert.equal(reason, expected);
        assert.equal(exchanges().length, 1, "it was asked once");
        const line = lines.find(({ event }) => event === "token_exchanged");
        const isOutage = /misconfigured|rejected|failed/.test(expected);
        assert.equal(line?.reason, isOutage ? undefined : expected);
      });

    test("a hundred who are refused at once ask the provider once, and the session goes on", async () => {
      upstream.answer = { status: 400, body: refused(400, "interaction_required") };
      assert.equal((await ask(session, READ, 100)).body.result.isError, true);
      assert.equal(exchanges().length, 1);
      upstream.answer = undefined;
      await given(session);
    });
  });

  describe("a provider that is slow or down is an outage, and is asked once", () => {
    for (const fault of ["reset", "500", "html", "timeout"] as const)
      test(fault, async () => {
        const accessToken = await signIn();
        upstream.fault = fault;
        const { status, body } = await ask(accessToken);
        assert.equal(status, 200);
        assert.equal(body.result.isError, true);
        assert.match(body.result.content[0].text, /identity provider.*Try again in a moment/s);
        assert.equal(exchanges().length, 1);
        upstream.fault = undefined;
        upstream.dropUnanswered();
        await given(accessToken);
      });
  });

  test("a machine, for which nobody signed in, is told so, also where it lacks the scope", async () => {
    const { client_id, client_secret } = MACHINE;
    const { body: tokens } = await postForm(`${testServer.baseUrl}/token`, {
      ...{ grant_type: "client_credentials", client_id, client_secret },
    });
    for (const scopes of [["orders:export"], ["orders:write"]]) {
      const { status, body } = await ask(tokens.access_token, { audience: ORDERS_API, scopes });
      assert.equal(status, 200);
      assert.match(body.result.content[0].text, /^This needs a user who signed in at the identity provider/);
    }
    assert.equal(exchanges().length, 0);
  });

  test("who names the API in no way, or in two, is told while they write the tool", async () => {
    const accessToken = await signIn();
    for (const api of [
      {},
      { audience: ORDERS_API, resource: ORDERS_API },
      { audience: "" },
      { resource: "/orders" },
      { resource: `${ORDERS_API}#here` },
      { audience: ORDERS_API, scopes: [] },
      { audience: ORDERS_API, scopes: ["two words"] },
    ]) {
      const { body } = await ask(accessToken, api);
      assert.match(body.result.content[0].text, /failed unexpectedly/);
      assert.match(JSON.stringify(testServer.log.at(-2)), /getAccessTokenFor\(\): /);
    }
    assert.equal(exchanges().length, 0);
  });

  test("is a metric of the provider's and one of decisions, and no token is in the log or the audit log", async () => {
    const [token = ""] = await given(await signIn());
    const metrics = await scrape(testServer.baseUrl);
    const exchangesThat = (outcome: string) =>
      metrics.sum("mcp_upstream_seconds_count", { operation: "exchange", outcome });
    for (const outcome of ["ok", "refused", "unavailable"]) assert.ok(exchangesThat(outcome) > 0, outcome);
    assert.ok(metrics.sum("mcp_decisions_total", { event: "token_exchanged", decision: "allow" }) > 0);
    const written = JSON.stringify([testServer.log, lines]);
    assert.ok(!written.includes(token));
    for (const { text } of exchanges()) {
      const sent = new URLSearchParams(text.split("\n").at(-1)).get("subject_token") ?? "";
      assert.ok(sent.length > 20 && !written.includes(sent));
    }
  });

  test("outside of a request there is none", () =>
    assert.rejects(getAccessTokenFor({ audience: ORDERS_API }), /outside of an authenticated request/));
});

describe("another API on two replicas", { skip: redis.skip }, () => {
  async function twoReplicas(t: TestContext) {
    const upstream = await startFaultyProxy();
    const testServer = await startTestServer({
      ...withOtherApis,
      throughProxy: upstream,
      ...(redis.url !== undefined && { redisUrl: redis.url }),
    });
    t.after(async () => {
      await testServer.close();
      await upstream.close();
    });
    const other = await testServer.replica();
    const client = await register(testServer.baseUrl);
    const { access_token: accessToken } = await signInForTokens(testServer.baseUrl, client);
    return { upstream, testServer, other, accessToken };
  }

  test("a hundred concurrent calls at both: one exchange, which all of them get", async (t) => {
    const { upstream, testServer, other, accessToken } = await twoReplicas(t);
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        callTool(i % 2 ? testServer.url : `${other}/mcp`, accessToken, "exchange", { api: READ }),
      ),
    );
    const tokens = answers.map(({ body }) => body.result.content[0].text);
    assert.deepEqual([...new Set(tokens)], [tokens[0]]);
    assert.equal(JSON.parse(tokens[0])[0].split(".").length, 3, tokens[0]);
    assert.equal(upstream.seen.filter(isExchange).length, 1);
  });

  test("a replica that waits for one whose exchange is refused asks for itself at once", async (t) => {
    const { upstream, testServer, other, accessToken } = await twoReplicas(t);
    upstream.seen.length = 0;
    upstream.fault = "timeout";
    const first = callTool(testServer.url, accessToken, "exchange", { api: READ });
    await eventually("the first asks", () => upstream.seen.some(isExchange));
    const second = callTool(`${other}/mcp`, accessToken, "exchange", { api: READ });
    upstream.fault = undefined;
    upstream.dropUnanswered();
    assert.equal((await first).body.result.isError, true);
    assert.equal(JSON.parse((await second).body.result.content[0].text).length, 1);
    assert.equal(upstream.seen.filter(isExchange).length, 2, "each asked once");
  });
});
