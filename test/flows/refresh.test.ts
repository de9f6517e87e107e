/** Refresh token rotation: no session is lost to a race or a short outage, and reuse counts as theft. Two replicas on one real Redis. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  callTool,
  type Registered,
  refresh,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";
import { scrape } from "../telemetry/scrape.ts";

const redis = await redisForTests();
after(() => redis.stop());

/** Two replicas, behind which the provider can be made to fail. */
async function startReplicas(environment: Record<string, string> = {}) {
  const upstream = await startFaultyProxy();
  const testServer = await startTestServer({
    ...(redis.url !== undefined && { redisUrl: redis.url }),
    // Shorter than our own tokens, so that every refresh has to ask the provider.
    behaviour: { accessTokenSeconds: 300 },
    throughProxy: upstream,
    environment,
  });
  return {
    upstream,
    testServer,
    other: await testServer.replica(),
    client: await register(testServer.baseUrl),
  };
}

describe("refresh on two replicas", { skip: redis.skip }, () => {
  let testServer: TestServer;
  let upstream: FaultyProxy;
  let other: string;
  let client: Registered;
  before(async () => {
    ({ testServer, upstream, other, client } = await startReplicas());
  });
  after(async () => {
    await testServer.close();
    await upstream.close();
  });

  test("ten concurrent refreshes give ten usable equal answers and one refresh upstream (invariant 6)", async () => {
    for (let round = 0; round < 5; round++) {
      const tokens = await signInForTokens(testServer.baseUrl, client);
      testServer.clock.ahead += 200; // past half the life of the upstream token
      upstream.seen.length = 0;
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, i) =>
          refresh(i % 2 ? testServer.baseUrl : other, client, tokens.refresh_token),
        ),
      );
      assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
      assert.equal(new Set(answers.map(({ body }) => body.refresh_token)).size, 1, "one successor family");
      assert.equal((await callTool(testServer.url, answers[0]?.body.access_token, "whoami")).status, 200);
      assert.equal(upstream.seen.filter(({ grantType }) => grantType === "refresh_token").length, 1);
      assert.equal((await refresh(other, client, answers[9]?.body.refresh_token)).status, 200);
    }
  });

  test("a client that lost the answer gets the same one again within the grace, and not after", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const first = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    testServer.clock.ahead += 119;
    const again = await refresh(other, client, tokens.refresh_token);
    assert.equal(again.body.access_token, first.body.access_token);
    assert.equal(again.body.refresh_token, first.body.refresh_token);
    testServer.clock.ahead += 2;
    const reused = await refresh(other, client, tokens.refresh_token);
    assert.equal(reused.body.error, "invalid_grant");
    const successor = await refresh(testServer.baseUrl, client, first.body.refresh_token);
    assert.equal(successor.body.error, "invalid_grant", "the whole family is gone (invariant 3)");
    assert.ok(testServer.log.some(({ reason }) => reason === "refresh_token_reused"));
  });

  test("a client that repeats a refresh when another process of it has gone on gets the refresh token that is good now", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const first = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    const ofTheOther = await refresh(other, client, first.body.refresh_token);
    testServer.clock.ahead += 60;
    const again = await refresh(other, client, tokens.refresh_token);
    assert.equal(again.body.access_token, first.body.access_token);
    assert.equal(again.body.refresh_token, ofTheOther.body.refresh_token);
    testServer.clock.ahead += 121;
    const next = await refresh(testServer.baseUrl, client, again.body.refresh_token);
    assert.equal(next.status, 200, "who uses the newest that it was given is no thief");
  });

  test("a refresh token replaced many rotations ago still counts as reuse", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    let current = tokens.refresh_token;
    for (let i = 0; i < 20; i++) {
      testServer.clock.ahead += 130;
      current = (await refresh(testServer.baseUrl, client, current)).body.refresh_token;
    }
    assert.equal(
      (await refresh(testServer.baseUrl, client, tokens.refresh_token)).body.error,
      "invalid_grant",
    );
    assert.equal((await refresh(testServer.baseUrl, client, current)).body.error, "invalid_grant");
  });

  test("scopes: fewer may be asked for, more may not, habitual ones mean nothing", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const habitual = await refresh(testServer.baseUrl, client, tokens.refresh_token, {
      scope: "openid offline_access",
    });
    assert.equal(habitual.body.scope, "weather:read");
    const again = await refresh(testServer.baseUrl, client, habitual.body.refresh_token, {
      scope: "weather:read offline_access",
    });
    assert.equal(again.body.scope, "weather:read");
    const unknown = await refresh(testServer.baseUrl, client, again.body.refresh_token, {
      scope: "weather:read admin",
    });
    assert.equal(unknown.body.scope, "weather:read", "unknown ones are left out, as at /authorize");
    const unknownAlone = await refresh(testServer.baseUrl, client, unknown.body.refresh_token, {
      scope: "admin",
    });
    assert.equal(unknownAlone.body.scope, "weather:read");
  });

  test("a made-up refresh token of a known grant ends nothing", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const forged = tokens.refresh_token.slice(0, 40) + "A".repeat(tokens.refresh_token.length - 40);
    assert.equal((await refresh(testServer.baseUrl, client, forged)).body.error, "invalid_grant");
    assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
  });

  for (const fault of ["invalid_grant", "empty 400"] as const) {
    test(`a definite no (${fault}) upstream ends the grant`, async () => {
      const tokens = await signInForTokens(testServer.baseUrl, client);
      testServer.clock.ahead += 200;
      upstream.fault = fault;
      const refused = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      upstream.fault = undefined;
      assert.equal(refused.status, 400);
      assert.equal(refused.body.error, "invalid_grant");
      assert.doesNotMatch(
        JSON.stringify(refused.body),
        /upstream says/,
        "no upstream text reaches the client",
      );
      assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 401);
    });
  }

  test("a revocation on one replica is one on the other, and reaches the provider", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    upstream.seen.length = 0;
    assert.equal((await revoke(other, client, tokens.access_token)).status, 200);
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 401);
    assert.equal(
      (await refresh(testServer.baseUrl, client, tokens.refresh_token)).body.error,
      "invalid_grant",
    );
    assert.ok(upstream.seen.some(({ path }) => path.endsWith("/revocation")));
  });

  test("somebody else's token is left alone", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const stranger = await register(testServer.baseUrl);
    assert.equal((await revoke(testServer.baseUrl, stranger, tokens.refresh_token)).status, 200);
    assert.equal(
      (await refresh(testServer.baseUrl, stranger, tokens.refresh_token)).body.error,
      "invalid_grant",
    );
    assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
  });
});

describe("refresh while the provider is slow, away or broken", { skip: redis.skip }, () => {
  let testServer: TestServer;
  let upstream: FaultyProxy;
  let other: string;
  let client: Registered;
  before(async () => {
    ({ testServer, upstream, other, client } = await startReplicas({ UPSTREAM_TIMEOUT_SECONDS: "1" }));
  });
  after(async () => {
    await testServer.close();
    await upstream.close();
  });

  for (const fault of ["reset", "timeout", "500", "html"] as const) {
    test(`an identity provider that answers with ${fault} costs nobody a session (invariant 7)`, async () => {
      const tokens = await signInForTokens(testServer.baseUrl, client);
      testServer.clock.ahead += 200;
      upstream.fault = fault;
      const during = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      upstream.fault = undefined;
      assert.equal(during.status, 503);
      assert.equal(during.body.error, "temporarily_unavailable");
      assert.ok(Number(during.headers.get("retry-after")) > 0);
      upstream.dropUnanswered();
      await eventually("a refresh", async () => {
        const { status } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
        return status === 200;
      });
    });
  }

  test("a provider that answers late: who asked is told to come back, and the new refresh token is not lost", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    testServer.clock.ahead += 200;
    upstream.seen.length = 0;
    upstream.fault = "late";
    upstream.lateMs = 600_000;
    const during = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    upstream.fault = undefined;
    assert.equal(during.status, 503);
    const before = await testServer.grantOf(tokens.access_token);
    upstream.answerLate();
    await eventually("the late answer is stored", async () => {
      const now = await testServer.grantOf(tokens.access_token);
      assert.deepEqual(now?.replaced, [], "who got a 503 may come again when the grace is over");
      return now?.upstream?.accessToken !== before?.upstream?.accessToken;
    });
    await eventually("the late answer is used", async () => {
      const { status } = await refresh(other, client, tokens.refresh_token);
      return status === 200;
    });
    const spent = upstream.seen.filter(({ grantType }) => grantType === "refresh_token");
    assert.equal(spent.length, 1, "and it was not asked again");
  });

  test("three hundred refreshes of one session while the provider hangs: each takes a few store operations, however long they wait", async (t) => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    testServer.clock.ahead += 200;
    upstream.seen.length = 0;
    upstream.fault = "timeout";
    const before = await storeOperations();
    const answers = await Promise.all(
      Array.from({ length: 300 }, (_, i) =>
        refresh(i % 2 ? testServer.baseUrl : other, client, tokens.refresh_token),
      ),
    );
    const took = (await storeOperations()) - before;
    upstream.fault = undefined;
    t.diagnostic(`${took} operations`);
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([503]));
    assert.equal(upstream.seen.filter(({ grantType }) => grantType === "refresh_token").length, 1);
    assert.ok(took < 300 * 5, `${took} operations`);
    // Who comes back finds the session as it was.
    upstream.dropUnanswered();
    await eventually("a refresh", async () => {
      const again = await refresh(other, client, tokens.refresh_token);
      return again.status === 200;
    });
  });

  async function storeOperations(): Promise<number> {
    let sum = 0;
    for (const url of [testServer.baseUrl, other])
      for (const { name, labels, value } of (await scrape(url)).series)
        if (name === "mcp_store_seconds_count" && labels.operation !== "ping") sum += value;
    return sum;
  }
});
