/** An outage of Redis or the identity provider: what still works, what is answered, and that nothing is lost (invariant 7). */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type Cluster, startCluster } from "../support/cluster.ts";
import {
  authorizeUrl,
  callTool,
  getJson,
  newBrowser,
  postForm,
  type Registered,
  refresh,
  register,
  revoke,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer } from "../support/redis.ts";
import { signIn } from "../support/sign-in.ts";

async function until(condition: () => Promise<boolean>): Promise<number> {
  const from = performance.now();
  while (!(await condition())) await delay(20);
  return Math.round(performance.now() - from);
}

describe("an outage", { skip: skipWithoutRedisServer() }, () => {
  let cluster: Cluster;
  let client: Registered;
  let tokens: Tokens;
  before(async () => {
    cluster = await startCluster(2, {
      STORE_OUTAGE_SECONDS: "4",
      REDIS_TIMEOUT_MS: "500",
      UPSTREAM_TIMEOUT_SECONDS: "2",
    });
  });
  after(() => cluster.close());
  afterEach(() => cluster.redis.kill("SIGCONT").catch(() => {}));

  const session = async () => {
    client = await register(cluster.baseUrl);
    tokens = await signInForTokens(cluster.baseUrl, client);
  };
  const call = (token = tokens.access_token) => callTool(cluster.url, token, "whoami");
  const statusOf = async (path: string) => (await fetch(cluster.baseUrl + path)).status;

  for (const [how, begin, end] of [
    ["is killed", () => cluster.redis.kill("SIGKILL"), undefined],
    ["hangs", () => cluster.redis.kill("SIGSTOP"), () => cluster.redis.kill("SIGCONT")],
  ] as const)
    test(`Redis ${how}: sessions in use go on for a while, everything else is 503 and never 401`, async (t) => {
      await session();
      // Both replicas have seen it.
      for (let i = 0; i < 4; i++) assert.equal((await call()).status, 200);
      await begin();

      assert.equal((await call()).status, 200);
      assert.equal((await call()).status, 200);
      assert.equal(await statusOf("/readyz"), 503);
      assert.equal(await statusOf("/healthz"), 200);
      const stranger = `mcp_at_${"a".repeat(22)}${"b".repeat(43)}`;
      const unknown = await call(stranger);
      assert.equal(unknown.status, 503);
      assert.ok(Number(unknown.headers.get("retry-after")) > 0);
      const refreshed = await refresh(cluster.baseUrl, client, tokens.refresh_token);
      assert.equal(refreshed.status, 503);
      assert.ok(Number(refreshed.headers.get("retry-after")) > 0);
      assert.equal((await revoke(cluster.baseUrl, client, tokens.refresh_token)).status, 503);

      await until(async () => (await call()).status === 503); // STORE_OUTAGE_SECONDS are over

      if (end === undefined) await cluster.redis.restart();
      else await end();
      const took = await until(
        async () => (await statusOf("/readyz")) === 200 && (await statusOf("/readyz")) === 200,
      );
      t.diagnostic(`ready again ${took} ms after Redis was back`);
      if (end !== undefined) {
        assert.equal((await call()).status, 200);
        assert.equal((await refresh(cluster.baseUrl, client, tokens.refresh_token)).status, 200);
      }
    });

  test("Redis stands still for 30 s under load: 200 or 503, never 401, and no session is lost", async (t) => {
    const SECONDS = 30;
    const registered = await register(cluster.baseUrl);
    const sessions = await Promise.all(
      Array.from({ length: 6 }, () => signInForTokens(cluster.baseUrl, registered)),
    );
    const counts = new Map<string, number>();
    const count = (what: string, status: number) =>
      counts.set(`${what} ${status}`, (counts.get(`${what} ${status}`) ?? 0) + 1);
    let away = true;
    const load = sessions.map(async (session, i) => {
      while (away) {
        count("call", (await call(session.access_token)).status);
        const { status, body } = await refresh(cluster.baseUrl, registered, session.refresh_token);
        count("refresh", status);
        if (status === 200) sessions[i] = body;
        count("sign-in page", (await fetch(authorizeUrl(cluster.baseUrl, registered))).status);
        await delay(100);
      }
    });
    await cluster.redis.kill("SIGSTOP");
    await delay(SECONDS * 1000);
    await cluster.redis.kill("SIGCONT");
    // Whatever was sent meanwhile is still worked off.
    for (let inARow = 0; inARow < 20; await delay(50))
      inARow = (await statusOf("/readyz")) === 200 ? inARow + 1 : 0;
    away = false;
    await Promise.all(load);
    t.diagnostic(JSON.stringify(Object.fromEntries(counts)));
    for (const what of counts.keys()) assert.match(what, / (200|503)$/);
    assert.ok((counts.get("call 503") ?? 0) > 0 && (counts.get("refresh 503") ?? 0) > 0);
    for (const session of sessions) {
      // A good client, which is told to come back, does.
      let answer = await refresh(cluster.baseUrl, registered, session.refresh_token);
      for (; answer.status === 503; await delay(100))
        answer = await refresh(cluster.baseUrl, registered, session.refresh_token);
      assert.equal(answer.status, 200);
      assert.equal((await call(answer.body.access_token)).status, 200);
    }
  });

  test("Redis came back empty: every client is led to register and sign in again, none is stuck", async () => {
    await session();
    await call();
    await cluster.redis.kill("SIGKILL");
    await cluster.redis.restart();
    await until(async () => (await statusOf("/readyz")) === 200 && (await statusOf("/readyz")) === 200);
    await until(async () => (await call()).status === 401);
    const answer = await call();
    assert.match(answer.headers.get("www-authenticate") ?? "", /error="invalid_token".*resource_metadata=/);
    const refreshed = await refresh(cluster.baseUrl, client, tokens.refresh_token);
    assert.deepEqual([refreshed.status, refreshed.body.error], [401, "invalid_client"]); // register again
    await assert.rejects(
      signIn(newBrowser(), authorizeUrl(cluster.baseUrl, client)),
      /not registered here.*add it again/s,
    );
    await session();
    assert.equal((await call()).status, 200);
  });

  test("the identity provider is away: sessions go on, a sign-in is told so and can be repeated", async () => {
    await session();
    const browser = newBrowser();
    cluster.upstream.fault = "500";
    try {
      for (let i = 0; i < 4; i++) assert.equal((await call()).status, 200);
      assert.equal((await refresh(cluster.baseUrl, client, tokens.refresh_token)).status, 200);
      await assert.rejects(
        signIn(browser, authorizeUrl(cluster.baseUrl, client), { login: "alice" }),
        /503.*identity provider answers with an error \(HTTP/s,
      );
      assert.equal(await statusOf("/readyz"), 200); // sessions do not need it
    } finally {
      cluster.upstream.fault = undefined;
    }
    // The page that failed is loaded again: the login was not used up.
    const failed = browser.history.at(-1)?.url ?? "";
    const page = await browser.get(failed);
    assert.ok(page.status < 500 || page.redirectedTo);
  });

  test("what needs neither Redis nor the provider is served while both are away", async () => {
    await cluster.redis.kill("SIGSTOP");
    const metadata = await getJson(`${cluster.baseUrl}/.well-known/oauth-authorization-server`);
    assert.equal(metadata.issuer, cluster.baseUrl);
    const unauthenticated = await fetch(cluster.url, { method: "POST" });
    assert.equal(unauthenticated.status, 401);
    const registration = await fetch(`${cluster.baseUrl}/register`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"redirect_uris":["http://127.0.0.1/cb"]}',
    });
    assert.equal(registration.status, 503);
    const token = await postForm(`${cluster.baseUrl}/token`, {
      grant_type: "authorization_code",
      client_id: "x",
    });
    assert.equal(token.status, 503);
  });
});
