/**
 * The server's clock is set (NTP, an operator, a virtual machine that was asleep): durations go by the monotonic clock. Times
 * in tokens and stored records are those of the wall clock. And the wall clocks of two replicas differ.
 */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { authorize, callTool, redeem, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/redis-admin.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

describe("a session in use, while Redis is away", { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  let token: string;
  const testServer = useTestServer(async () => {
    redis = await startRedis();
    return {
      redisUrl: redis.url,
      environment: { REDIS_TIMEOUT_MS: "500", STORE_OUTAGE_SECONDS: "60" },
    };
  });
  before(async () => {
    const tokens = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    token = tokens.access_token;
    assert.equal(await status(), 200);
    await redis.kill();
    await until("Redis is missed", async () => (await fetch(`${testServer.baseUrl}/readyz`)).status === 503);
  });
  beforeEach(() => {
    Object.assign(testServer.clock, { ahead: 0, stepped: 0 });
  });
  after(() => redis.stop());
  const status = async () => (await callTool(testServer.url, token, "whoami")).status;

  test("goes on, though the clock was set ahead by more than the outage may last", async () => {
    testServer.clock.stepped = 600;
    assert.equal(await status(), 200);
  });

  test("does not go on for longer, though the clock was set back", async () => {
    testServer.clock.ahead = 61;
    testServer.clock.stepped = -3_600;
    assert.equal(await status(), 503);
  });
});

test("a window of a limit does not begin anew, because the clock was set ahead", async () => {
  const testServer = await startTestServer();
  // The first twentieth is counted in this process alone, and what comes after it together with the other replicas.
  const { rateLimits } = testServer.records;
  const { count } = rateLimits;
  let shared = 0;
  rateLimits.count = (limit, key) => {
    shared++;
    return count(limit, key);
  };
  const ask = async () => {
    const before = shared;
    await fetch(`${testServer.baseUrl}/token`, { method: "POST" });
    return shared > before;
  };
  try {
    await until("the twentieth is used up", ask, { everyMs: 0 });
    testServer.clock.stepped = 7_200;
    assert.equal(await ask(), true);
    testServer.clock.ahead = 7_200;
    assert.equal(await ask(), false, "time did pass");
  } finally {
    await testServer.close();
  }
});

test("discovery that failed is tried again a second later, though the clock was set back by an hour", async () => {
  const testServer = await startTestServer({ issuer: "http://localhost:1" });
  try {
    const failures = () =>
      testServer.log.filter(({ reason, issuer }) => reason === "discovery_failed" && issuer !== undefined)
        .length;
    const client = await register(testServer.baseUrl);
    const signIn = () => signInForTokens(testServer.baseUrl, client).catch(() => {});
    await signIn();
    const before = failures();
    assert.ok(before > 0);
    testServer.clock.stepped = -3_600;
    testServer.clock.ahead = 2;
    await signIn();
    assert.ok(failures() > before);
  } finally {
    await testServer.close();
  }
});

test("replicas whose clocks are 20 seconds apart: what one gives is good at the other, and a repeated refresh is no reuse", async () => {
  const testServer = await startTestServer();
  try {
    const other = await testServer.replica({}, 20);
    for (const [here, there] of [
      [testServer.baseUrl, other],
      [other, testServer.baseUrl],
    ] as const) {
      const client = await register(here);
      const code = (await authorize(testServer.baseUrl, client)).get("code");
      const { status, body: tokens } = await redeem(there, client, code);
      assert.equal(status, 200);
      const refreshed = await refresh(here, client, tokens.refresh_token);
      const repeated = await refresh(there, client, tokens.refresh_token);
      assert.deepEqual([refreshed.status, repeated.status], [200, 200]);
      assert.equal(repeated.body.access_token, refreshed.body.access_token);
      for (const url of [here, there])
        for (const token of [tokens.access_token, refreshed.body.access_token])
          assert.equal((await callTool(`${url}/mcp`, token, "whoami")).status, 200);
      assert.equal((await refresh(there, client, refreshed.body.refresh_token)).status, 200);
    }
  } finally {
    await testServer.close();
  }
});
