/** The whole server while its Redis is away: 503, never 401; not ready, but alive; and back by itself. */
import assert from "node:assert/strict";
import { after, describe, type TestContext, test } from "node:test";
import { startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  postForm,
  postJson,
  redeem,
  refresh,
  register,
  revoke,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { logoutClaims, publishKey } from "../support/provider-key.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { tellRedis, until } from "../support/redis-admin.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

const UNKNOWN_TOKEN = `mcp_at_${"A".repeat(65)}`;

describe("the server without Redis", { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  const testServer = useTestServer(async () => {
    redis = await startRedis();
    return { redisUrl: redis.url, environment: { REDIS_TIMEOUT_MS: "500" } };
  });
  after(() => redis.stop());

  const status = async (path: string) => (await fetch(`${testServer.baseUrl}${path}`)).status;

  async function assertUnavailable(): Promise<void> {
    assert.equal(await status("/healthz"), 200);
    assert.equal(await status("/readyz"), 503);
    const metadata = { redirect_uris: ["https://client.example/cb"], token_endpoint_auth_method: "none" };
    const answers = {
      "/mcp": await rpc(testServer.url, UNKNOWN_TOKEN, "tools/list"),
      "/register": await postJson(`${testServer.baseUrl}/register`, metadata),
    };
    for (const [path, { status, headers }] of Object.entries(answers)) {
      assert.equal(status, 503, path);
      assert.ok(Number(headers.get("retry-after")) > 0, path);
    }
  }

  async function recovers(t: TestContext, what: string): Promise<void> {
    const start = performance.now();
    await until("ready again", async () => (await status("/readyz")) === 200, { everyMs: 10 });
    t.diagnostic(`${what}: /readyz says yes ${Math.round(performance.now() - start)} ms later`);
    assert.equal((await rpc(testServer.url, UNKNOWN_TOKEN, "tools/list")).status, 401);
  }

  test("says 503 while Redis is down; a Redis that comes back empty knows nobody", async (t) => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
    await redis.kill();
    await assertUnavailable();
    assert.equal((await fetch(authorizeUrl(testServer.baseUrl, client))).status, 503);
    await redis.restart();
    await recovers(t, "started again");
    await until("the session is over", async () => {
      const { status } = await callTool(testServer.url, tokens.access_token, "whoami");
      return status === 401;
    });
    const unknown = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.equal(unknown.status, 401);
    assert.equal(unknown.body.error, "invalid_client", "so that it registers again");
  });

  test("says 503 while Redis hangs, and loses nothing", async (t) => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    await redis.kill("SIGSTOP");
    await until("not ready", async () => (await status("/readyz")) === 503);
    await assertUnavailable();
    await redis.kill("SIGCONT");
    await recovers(t, "went on");
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
  });
});

/** Until it is told that it has less. */
const WITH_ROOM = ["--maxmemory", "20mb", "--maxmemory-policy", "noeviction"];

describe("a Redis that is full", { skip: skipWithoutRedisServer() }, () => {
  test("reads go on, what has to be written is 503 and never 401, and nothing is lost", async () => {
    const redis = await startRedis({ args: WITH_ROOM });
    const testServer = await startTestServer({
      redisUrl: redis.url,
      environment: { REDIS_TIMEOUT_MS: "500" },
    });
    try {
      const other = await testServer.replica(); // has nothing in memory
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client);
      const ended = await signInForTokens(testServer.baseUrl, client);
      const unused = (await authorize(testServer.baseUrl, client)).get("code");
      await tellRedis(redis.url, "CONFIG", "SET", "maxmemory", "1mb");
      await assert.rejects(tellRedis(redis.url, "SET", "x", "y"), /OOM/);

      for (const url of [testServer.baseUrl, other])
        assert.equal((await callTool(`${url}/mcp`, tokens.access_token, "whoami")).status, 200);
      assert.equal(
        (await rpc(testServer.url, UNKNOWN_TOKEN, "tools/list")).status,
        401,
        "that is known as well",
      );
      const metadata = { redirect_uris: ["https://client.example/cb"] };
      const answers = {
        refresh: await refresh(testServer.baseUrl, client, tokens.refresh_token),
        redeem: await redeem(testServer.baseUrl, client, unused),
        register: await postJson(`${testServer.baseUrl}/register`, metadata),
      };
      for (const [what, { status, headers }] of Object.entries(answers)) {
        assert.equal(status, 503, what);
        assert.ok(Number(headers.get("retry-after")) > 0, what);
      }
      await assert.rejects(signInForTokens(testServer.baseUrl, client), /503/);
      assert.equal((await revoke(testServer.baseUrl, client, ended.refresh_token)).status, 200);
      assert.equal(
        (await callTool(testServer.url, ended.access_token, "whoami")).status,
        401,
        "ending needs no room",
      );
      assert.ok(
        testServer.log.some((line) => JSON.stringify(line).includes("OOM")),
        "the operator is told why",
      );

      await tellRedis(redis.url, "CONFIG", "SET", "maxmemory", "20mb");
      await until("it is written to again", async () => (await register(testServer.baseUrl)) !== undefined);
      assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
      assert.equal((await redeem(testServer.baseUrl, client, unused)).status, 200);
      await signInForTokens(testServer.baseUrl, client);
    } finally {
      await testServer.close();
      await redis.stop();
    }
  });

  test("a sign-out at the provider ends what it names, and is asked for again: /connections has not heard of it", async () => {
    const redis = await startRedis({ args: WITH_ROOM });
    const upstream = await startFaultyProxy();
    const sign = await publishKey(upstream);
    const testServer = await startTestServer({
      redisUrl: redis.url,
      throughProxy: upstream,
      environment: { REDIS_TIMEOUT_MS: "500" },
    });
    try {
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client);
      const logout_token = await sign(logoutClaims(testServer.identityProvider.issuer, { sub: "alice" }));
      const report = () => postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token });
      await tellRedis(redis.url, "CONFIG", "SET", "maxmemory", "1mb");
      assert.equal((await report()).status, 503);
      assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 401);
      await tellRedis(redis.url, "CONFIG", "SET", "maxmemory", "20mb");
      await until("it is heard", async () => (await report()).status === 200);
    } finally {
      await testServer.close();
      await upstream.close();
      await redis.stop();
    }
  });
});

describe("a Redis that is slow", { skip: skipWithoutRedisServer() }, () => {
  test("by two seconds: within REDIS_TIMEOUT_MS everybody waits, beyond it is 503, and nothing is lost", async () => {
    const redis = await startRedis();
    const patient = await startTestServer({ redisUrl: redis.url, environment: { REDIS_TIMEOUT_MS: "4000" } });
    const hasty = await startTestServer({ redisUrl: redis.url, environment: { REDIS_TIMEOUT_MS: "500" } });
    try {
      const sessions = [];
      for (const testServer of [patient, hasty]) {
        const client = await register(testServer.baseUrl);
        sessions.push({ testServer, client, tokens: await signInForTokens(testServer.baseUrl, client) });
      }
      await tellRedis(redis.url, "CLIENT", "PAUSE", "2000", "ALL");
      const answers = await Promise.all(
        sessions.map(({ testServer, client, tokens }) =>
          refresh(testServer.baseUrl, client, tokens.refresh_token),
        ),
      );
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 503],
      );
      for (const { testServer, client, tokens } of sessions) {
        await until("ready again", async () => (await fetch(`${testServer.baseUrl}/readyz`)).status === 200);
        assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
      }
    } finally {
      await patient.close();
      await hasty.close();
      await redis.stop();
    }
  });
});
