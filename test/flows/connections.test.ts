/** /connections: a person sees what they have allowed, and ends it on every replica and at the provider. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type Cluster, startClusterHere } from "../support/cluster.ts";
import { endEntry, entriesOn, openConnections, textOf } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { isLong } from "../support/long.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  redeem,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { redisForTests, skipWithoutRedisServer } from "../support/redis.ts";
import type { ServerHere } from "../support/server-here.ts";
import { ALICE, BOB, startTestServer, type TestServer, useTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

/** The memory store needs no Redis, and is otherwise for `npm run test:long`: storage/conformance.test.ts holds both to the same. */
const STORES = isLong || redis.skip ? (["memory", "redis"] as const) : (["redis"] as const);

for (const store of STORES)
  describe(`connections, with ${store}`, { skip: store === "redis" && redis.skip }, () => {
    let upstream: FaultyProxy;
    const testServer = useTestServer(async () => {
      upstream = await startFaultyProxy();
      return {
        throughProxy: upstream,
        ...(store === "redis" && redis.url !== undefined && { redisUrl: redis.url }),
        scopes: { "orders:read": { description: "See your orders", whenNeeded: true } },
        apiScopes: ["orders:read"],
        users: [{ ...ALICE, permissions: ["weather:read", "orders:read"] }, BOB],
        environment: { CONSENT: "remember" },
      };
    });
    after(() => upstream.close());

    const isGood = async (accessToken: string) =>
      (await callTool(testServer.url, accessToken, "whoami")).status === 200;

    test("end all: what is signed in just before the store knows of it ends, too", async () => {
      const client = await register(testServer.baseUrl, { client_name: "Late" });
      await signInForTokens(testServer.baseUrl, client, { login: "leaves" });
      const other = await register(testServer.baseUrl, { client_name: "Early" });
      await signInForTokens(testServer.baseUrl, other, { login: "leaves" });
      const browser = newBrowser();
      const page = await openConnections(testServer.baseUrl, { browser, login: "leaves" });
      const { records } = testServer;
      const { replace } = records;
      const meanwhile: string[] = [];
      try {
        records.replace = async (...args) => {
          if (args[0] === "ended:count" && meanwhile.length === 0) {
            meanwhile.push("begun");
            meanwhile[0] = (
              await signInForTokens(testServer.baseUrl, client, { login: "leaves" })
            ).access_token;
          }
          return await replace(...args);
        };
        await browser.submit(page, {}, { button: "End all access" });
      } finally {
        records.replace = replace;
      }
      assert.equal(await isGood(meanwhile[0] ?? ""), false);
    });

    test("sign in, see who holds access and since when, end one: its tokens are dead, here and at the provider", async () => {
      const [claude, cursor] = await Promise.all([
        register(testServer.baseUrl, { client_name: "Claude Code" }),
        register(testServer.baseUrl, {
          client_name: "Cursor",
          redirect_uris: ["http://127.0.0.1:33418/callback", "cursor://oauth"],
        }),
      ]);
      const tokens = await signInForTokens(testServer.baseUrl, claude);
      const others = await signInForTokens(testServer.baseUrl, cursor);
      const bobs = await signInForTokens(testServer.baseUrl, claude, { login: "bob" });
      testServer.clock.ahead += 3_000;
      assert.equal(await isGood(tokens.access_token), true);
      testServer.clock.ahead += 12_600; // three hours and a half since that call, more than four since the sign-in
      assert.equal((await refresh(testServer.baseUrl, cursor, others.refresh_token)).status, 200);

      const browser = newBrowser();
      const page = await openConnections(testServer.baseUrl, { browser });
      assert.equal(page.url.href, `${testServer.baseUrl}/connections`);
      assert.match(textOf(page.body), /Signed in as Alice Example alice@example.com/);
      assert.deepEqual(
        entriesOn(page).map(({ name }) => name),
        ["Cursor", "Claude Code"],
        "what was used last comes first",
      );
      const [last, first] = entriesOn(page);
      assert.match(first?.text ?? "", /^[^·]*A program on your computer Last used 3 hours ago/);
      assert.match(first?.text ?? "", /Allowed on \d+ \w+ \d{4}/);
      assert.match(last?.text ?? "", /Last used just now/);
      const once =
        /They all know who you are and may: Read the current weather ?\. Nobody has checked their names\./;
      assert.match(textOf(page.body), once, "what is true of all of them is said once");
      for (const { text } of entriesOn(page)) assert.doesNotMatch(text, /weather|checked/);

      const afterwards = await endEntry(browser, page, "Claude Code");
      assert.equal(afterwards.url.href, `${testServer.baseUrl}/connections`);
      assert.match(textOf(afterwards.body), /Access ended: Claude Code/);
      assert.deepEqual(
        entriesOn(afterwards).map(({ name }) => name),
        ["Cursor"],
      );
      assert.doesNotMatch(
        (await browser.get(`${testServer.baseUrl}/connections`)).body,
        /Access ended/,
        "told once",
      );

      assert.equal(await isGood(tokens.access_token), false);
      assert.equal(
        (await refresh(testServer.baseUrl, claude, tokens.refresh_token)).body.error,
        "invalid_grant",
      );
      assert.equal(await testServer.grantOf(tokens.access_token), undefined);
      testServer.clock.ahead = 0;
      assert.ok(await testServer.grantOf(others.access_token), "the other client's is not touched");
      assert.equal(await isGood(bobs.access_token), true, "nor the other user's");
      await eventually("the provider was told to forget its refresh token", () =>
        upstream.seen.some(({ path }) => path.includes("revocation")),
      );
      const ended = testServer.log.find(
        ({ audit, reason, subject }) =>
          audit === "grant_ended" && reason === "ended_by_user" && subject === "alice",
      );
      assert.ok(ended);
      assert.equal(ended.clientId, claude.client_id);
    });

    test("the provider is asked for the person alone, and nothing of what it answers is kept", async () => {
      upstream.seen.length = 0;
      const browser = newBrowser();
      const page = await browser.get(`${testServer.baseUrl}/connections`);
      await browser.submit(page, {}, { button: "Sign in" });
      const asked = browser.history
        .map(({ url }) => new URL(url))
        .find(({ searchParams }) => searchParams.has("scope"));
      assert.equal(asked?.searchParams.get("scope"), "openid profile email");
      for (const parameter of ["audience", "resource", "prompt"])
        assert.equal(asked.searchParams.get(parameter), null, parameter);
      for (const parameter of ["state", "nonce", "code_challenge"])
        assert.ok(asked.searchParams.get(parameter), parameter);

      const given: string[] = [];
      upstream.rewrite = (body) => {
        given.push(String(body.access_token), String(body.id_token), String(body.refresh_token ?? ""));
        return body;
      };
      await openConnections(testServer.baseUrl);
      upstream.rewrite = undefined;
      assert.equal(given.length, 3);
      assert.equal(given[2], "", "no refresh token was given");
      assert.deepEqual(await recordsWith("grant:", testServer), [], "and no grant made");
    });

    async function recordsWith(prefix: string, { records }: TestServer): Promise<string[]> {
      const before = new Set<string>();
      for await (const key of records.keys(prefix)) before.add(key);
      await openConnections(testServer.baseUrl);
      const fresh: string[] = [];
      for await (const key of records.keys(prefix)) if (!before.has(key)) fresh.push(key);
      return fresh;
    }

    test("one client on two computers is one entry, ended together or each by itself", async () => {
      const laptop = await register(testServer.baseUrl, { client_name: "Codex" });
      const desktop = await register(testServer.baseUrl, { client_name: "Codex" });
      const one = await signInForTokens(testServer.baseUrl, laptop, { login: "carol" });
      testServer.clock.ahead += 60;
      const two = await signInForTokens(testServer.baseUrl, desktop, { login: "carol" });
      const browser = newBrowser();
      const page = await openConnections(testServer.baseUrl, { browser, login: "carol" });
      const [entry, ...more] = entriesOn(page);
      assert.deepEqual(more, []);
      assert.match(entry?.text ?? "", /2 sign-ins/);
      // The newest sign-in comes first.
      const rest = await browser.submit(page, {}, { button: "Yes, end this one" });
      assert.match(textOf(rest.body), /Access ended: Codex \(1 of 2 sign-ins\)/);
      assert.equal(await isGood(two.access_token), false);
      assert.equal(await isGood(one.access_token), true);
      const none = await endEntry(browser, rest, "Codex");
      assert.match(textOf(none.body), /No application may use Test server in your name/);
      assert.equal(await isGood(one.access_token), false);
      testServer.clock.ahead = 0;
    });

    test("two clients of one name at two places are two entries, as are two with different people behind them", async () => {
      for (const redirectUri of ["http://127.0.0.1:33418/callback", "https://claude.example/callback"]) {
        const client = await register(testServer.baseUrl, {
          client_name: "Claude",
          redirect_uris: [redirectUri],
        });
        await signInForTokens(testServer.baseUrl, client, {
          login: "dora",
          browser: newBrowser(redirectUri),
          parameters: { redirect_uri: redirectUri },
        }).catch(() => {}); // the second code is redeemed with the other redirect URI; the grant is there
      }
      const page = await openConnections(testServer.baseUrl, { login: "dora" });
      const texts = entriesOn(page).map(({ text }) => text);
      assert.equal(texts.length, 2);
      assert.ok(texts.some((text) => text.includes("claude.example")));
    });

    test("what only some may do is said there; one click ends nothing: every form is behind a step that shows it", async () => {
      const everything = { parameters: { scope: "weather:read orders:read" } };
      for (const [client_name, how] of [
        ["Plain", {}],
        ["Orders", everything],
      ] as const) {
        const client = await register(testServer.baseUrl, { client_name });
        await signInForTokens(testServer.baseUrl, client, { login: "gina", ...how });
      }
      const page = await openConnections(testServer.baseUrl, { login: "gina" });
      const texts = new Map(entriesOn(page).map(({ name, text }) => [name, text]));
      assert.match(texts.get("Orders") ?? "", /May also: See your orders/);
      assert.doesNotMatch(texts.get("Plain") ?? "", /May also/);
      const forms = page.body.match(/<form method="post" action="[^"]*\/connections\/end"/g) ?? [];
      const steps = page.body.match(/<details class="(end|all)"><summary>(?:(?!<\/details>).)*<form/gs) ?? [];
      assert.equal(forms.length, 3, "of each, and of all");
      assert.equal(steps.length, forms.length);
    });

    test("all at once, after asking twice", async () => {
      const tokens = [];
      for (const client_name of ["One", "Two", "Three"])
        tokens.push(
          await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl, { client_name }), {
            login: "emil",
          }),
        );
      const browser = newBrowser();
      const page = await openConnections(testServer.baseUrl, { browser, login: "emil" });
      assert.match(page.body, /<details class="all"><summary>End the access of all of them/);
      const afterwards = await browser.submit(page, {}, { button: "End all access" });
      assert.deepEqual(entriesOn(afterwards), []);
      assert.match(textOf(afterwards.body), /Access ended: (?=.*One)(?=.*Two)(?=.*Three)/);
      for (const { access_token } of tokens) assert.equal(await isGood(access_token), false);
    });

    test("a client whose access was ended does not come back unasked, on no browser", async () => {
      const client = await register(testServer.baseUrl, { client_name: "Persistent" });
      const browser = newBrowser();
      async function approveForGood() {
        const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
        assert.match(consent.body, /Allow access\?/);
        const next = await browser.submit(consent, { remember: "yes" }, { button: "approve" });
        const end = next.redirectedTo ? next : await browser.submit(next, { login: "frida" });
        assert.equal(
          (await redeem(testServer.baseUrl, client, end.redirectedTo?.searchParams.get("code") ?? "")).status,
          200,
        );
      }
      await approveForGood();
      assert.ok((await browser.get(authorizeUrl(testServer.baseUrl, client))).redirectedTo, "remembered");
      const elsewhere = newBrowser();
      await endEntry(
        elsewhere,
        await openConnections(testServer.baseUrl, { browser: elsewhere, login: "frida" }),
        "Persistent",
      );
      testServer.clock.ahead += 1;
      await approveForGood();
      assert.ok(
        (await browser.get(authorizeUrl(testServer.baseUrl, client))).redirectedTo,
        "a new approval counts",
      );
      testServer.clock.ahead = 0;
    });

    test("somebody else: the provider asks who, and the page is theirs then", async () => {
      const browser = newBrowser();
      const page = await openConnections(testServer.baseUrl, { browser });
      const login = await browser.submit(
        page,
        { another: "yes" },
        { button: "Not you? Sign in as somebody else" },
      );
      assert.match(login.body, /name="login"/, "although it knows who is signed in");
      const bobs = await browser.submit(login, { login: "bob" });
      assert.match(textOf(bobs.body), /Signed in as Bob/);
    });

    test("signing out ends the session, not the access; so does /logout", async () => {
      const client = await register(testServer.baseUrl);
      const { access_token } = await signInForTokens(testServer.baseUrl, client);
      const browser = newBrowser();
      const page = await openConnections(testServer.baseUrl, { browser });
      const cookie = browser.cookieHeader(testServer.baseUrl);
      const out = await browser.submit(page, {}, { button: "Sign out" });
      assert.match(textOf(out.body), /You may still be signed in at/);
      assert.match(out.body, new RegExp(`href="${testServer.baseUrl}/logout"`));
      const kept = await fetch(`${testServer.baseUrl}/connections`, { headers: { cookie } });
      assert.doesNotMatch(await kept.text(), /Signed in as/, "a copy of the cookie opens nothing");
      assert.equal(await isGood(access_token), true);

      const again = await openConnections(testServer.baseUrl, { browser });
      assert.match(again.body, /Signed in as/);
      const copy = browser.cookieHeader(testServer.baseUrl);
      await browser.submit(await browser.get(`${testServer.baseUrl}/logout`), {}, { button: "Sign out" });
      const after = await fetch(`${testServer.baseUrl}/connections`, { headers: { cookie: copy } });
      assert.doesNotMatch(await after.text(), /Signed in as/);
    });

    test("a session lasts a quarter of an hour, however much it is used", async () => {
      const browser = newBrowser();
      await openConnections(testServer.baseUrl, { browser });
      testServer.clock.ahead = 890;
      assert.match((await browser.get(`${testServer.baseUrl}/connections`)).body, /Signed in as/);
      testServer.clock.ahead = 901;
      const over = await browser.get(`${testServer.baseUrl}/connections`);
      assert.equal(over.status, 200);
      assert.doesNotMatch(over.body, /Signed in as/);
      testServer.clock.ahead = 0;
    });

    test("signing out at the provider ends the session here", async () => {
      const browser = newBrowser();
      await openConnections(testServer.baseUrl, { browser });
      const others = newBrowser();
      await openConnections(testServer.baseUrl, { browser: others });
      const discovery = await fetch(`${testServer.identityProvider.issuer}/.well-known/openid-configuration`);
      const { end_session_endpoint } = (await discovery.json()) as { end_session_endpoint: string };
      await browser.submit(await browser.get(end_session_endpoint), { logout: "yes" });
      await eventually("the provider reported it", () =>
        testServer.log.some(({ reason }) => reason === "backchannel_logout"),
      );
      assert.doesNotMatch((await browser.get(`${testServer.baseUrl}/connections`)).body, /Signed in as/);
      assert.match(
        (await others.get(`${testServer.baseUrl}/connections`)).body,
        /Signed in as/,
        "another login session",
      );
    });

    test("the provider says no, or is away: the page says what to do", async () => {
      const browser = newBrowser();
      const page = await browser.get(`${testServer.baseUrl}/connections`);
      const login = await browser.submit(page, {}, { button: "Sign in" });
      upstream.fault = "500";
      const away = await browser.submit(login, { login: "alice" });
      assert.equal(away.status, 503);
      assert.equal(away.headers.get("retry-after"), "5");
      upstream.fault = undefined;
      upstream.answer = { status: 400, body: '{"error":"invalid_grant","error_description":"<b>gone</b>"}' };
      // The provider's code is good still: what failed can be loaded again.
      const refused = await browser.get(away.url);
      upstream.answer = undefined;
      assert.equal(refused.status, 400);
      assert.match(refused.body, /&lt;b&gt;gone/);
      assert.match(refused.body, new RegExp(`<a href="${testServer.baseUrl}/connections">Try again`));
      assert.ok(
        testServer.log.some(({ audit, decision }) => audit === "connections_sign_in" && decision === "deny"),
      );
    });
  });

describe("whom the operator turns away", () => {
  test("sees and ends what they allowed before", async () => {
    const environment = { ALLOWED_EMAIL_DOMAINS: "example.com" };
    const testServer = await startTestServer({ environment });
    try {
      const client = await register(testServer.baseUrl);
      await signInForTokens(testServer.baseUrl, client, { login: "bob" });
      testServer.identityProvider.changeUser("bob", { email: "bob@elsewhere.example" });
      await assert.rejects(signInForTokens(testServer.baseUrl, client, { login: "bob" }), /sign-in is stuck/);
      const browser = newBrowser();
      const page = await openConnections(testServer.baseUrl, { browser, login: "bob" });
      assert.equal(entriesOn(page).length, 1);
      assert.deepEqual(entriesOn(await endEntry(browser, page, "Test client")), []);
    } finally {
      await testServer.close();
    }
  });
});

describe("who looks at their connections", () => {
  test("is no step on the way of a client, and is in the audit log", async () => {
    const lines: Array<Record<string, unknown>> = [];
    const testServer = await startTestServer({
      auditStream: { write: (line) => lines.push(JSON.parse(line)) },
    });
    try {
      await openConnections(testServer.baseUrl);
      const metrics = await (await fetch(`${testServer.baseUrl}/metrics`)).text();
      assert.match(metrics, /^mcp_sign_in_steps_total\{step="login",outcome="ok",reason=""\} 0$/m);
      assert.match(metrics, /^mcp_decisions_total\{event="connections_sign_in",decision="allow"/m);
      assert.deepEqual(
        lines.map(({ event, decision, subject }) => [event, decision, subject]),
        [["connections_sign_in", "allow", "alice"]],
      );
    } finally {
      await testServer.close();
    }
  });

  test("behind a path, with a proxy that strips it", async () => {
    const testServer = await startTestServer({ basePath: "/tools", stripsBasePath: true });
    try {
      await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
      const browser = newBrowser();
      const page = await openConnections(testServer.baseUrl, { browser });
      assert.equal(page.url.href, `${testServer.baseUrl}/connections`);
      assert.deepEqual(entriesOn(await endEntry(browser, page, "Test client")), []);
    } finally {
      await testServer.close();
    }
  });
});

describe("two replicas", { skip: skipWithoutRedisServer() }, () => {
  let cluster: Cluster<ServerHere>;
  before(async () => {
    cluster = await startClusterHere(2, { GRANT_CACHE_SECONDS: "300" });
  });
  after(() => cluster.close());

  test("signed in by way of both, ended on one, refused on the other that had it in memory", async () => {
    const [, other] = cluster.servers.map(({ url }) => url) as [string, string];
    const client = await register(cluster.baseUrl);
    const tokens = await signInForTokens(cluster.baseUrl, client);
    for (let i = 0; i < 3; i++)
      assert.equal((await callTool(`${other}/mcp`, tokens.access_token, "whoami")).status, 200);
    const browser = newBrowser();
    cluster.balancer.targets = [...cluster.ports];
    const page = await openConnections(cluster.baseUrl, { browser });
    cluster.balancer.targets = cluster.ports.slice(0, 1);
    await endEntry(browser, page, "Test client");
    // By the published change: the copy that it keeps lasts for GRANT_CACHE_SECONDS.
    await eventually(
      "it is refused",
      async () => (await callTool(`${other}/mcp`, tokens.access_token, "whoami")).status === 401,
    );
  });

  test("what a replica knew of uses is written down before it ends, and seen on the other", async () => {
    cluster.balancer.targets = [...cluster.ports];
    const client = await register(cluster.baseUrl, { client_name: "Busy" });
    const tokens = await signInForTokens(cluster.baseUrl, client, { login: "bob" });
    const [one, other] = cluster.servers;
    assert.ok(one && other);
    cluster.balancer.targets = cluster.ports.slice(1);
    await delay(1_100);
    assert.equal((await callTool(`${one.url}/mcp`, tokens.access_token, "whoami")).status, 200);
    await one.stop();
    await other.stop();
    await other.start();
    const page = await openConnections(cluster.baseUrl, { login: "bob" });
    assert.match(entriesOn(page)[0]?.text ?? "", /Last used just now/);
  });
});
