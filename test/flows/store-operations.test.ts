/** How many store operations each request takes, by the server's own metrics: one more fails a test. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { callTool, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { startTestServer } from "../support/test-server.ts";
import { scrape } from "../telemetry/scrape.ts";

const redis = await redisForTests();
after(() => redis.stop());

describe("operations of the store", redis, () => {
  /** What `work` takes, by the names of the operations. */
  async function counted(baseUrl: string, work: () => Promise<unknown>): Promise<Record<string, number>> {
    const before = await operations(baseUrl);
    await work();
    const now = await operations(baseUrl);
    return Object.fromEntries(
      [...now]
        .map(([name, count]): [string, number] => [name, count - (before.get(name) ?? 0)])
        .filter(([, count]) => count > 0),
    );
  }

  const sum = (taken: Record<string, number>) => Object.values(taken).reduce((all, each) => all + each, 0);

  // One spends of the budget of sign-ins under way; two read the count of what was ended, when the login begins and when it
  // is finished; one reads the newest of the user's grants, for their limits; one, whether a tool asked for another sign-in.
  test("a sign-in takes at most fifteen, its registration's first use included", async (t) => {
    const testServer = await startTestServer({ redisUrl: redis.url ?? "" });
    try {
      const client = await register(testServer.baseUrl);
      const first = await counted(testServer.baseUrl, () => signInForTokens(testServer.baseUrl, client));
      t.diagnostic(JSON.stringify(first));
      assert.ok(sum(first) <= 15, JSON.stringify(first));
    } finally {
      await testServer.close();
    }
  });

  test("a refresh takes at most three, and six with a renewal at the provider", async (t) => {
    const testServer = await startTestServer({ redisUrl: redis.url ?? "" });
    try {
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client);
      let next = tokens.refresh_token;
      const refreshed = async () => {
        const answer = await refresh(testServer.baseUrl, client, next);
        assert.equal(answer.status, 200);
        next = answer.body.refresh_token;
      };
      const plain = await counted(testServer.baseUrl, refreshed);
      testServer.clock.ahead += 3_000;
      const withRenewal = await counted(testServer.baseUrl, refreshed);
      t.diagnostic(`${JSON.stringify(plain)}, with a renewal ${JSON.stringify(withRenewal)}`);
      assert.ok(sum(plain) <= 3, JSON.stringify(plain));
      // The client, the grant, the lock, the grant under it, the provider's tokens with the rotation, the end of the lock.
      assert.ok(sum(withRenewal) <= 6, JSON.stringify(withRenewal));
      assert.ok(sum(withRenewal) > sum(plain), "the provider was asked");
    } finally {
      await testServer.close();
    }
  });

  test("a call of a live session takes one, and none when it was seen a moment ago", async () => {
    const testServer = await startTestServer({ redisUrl: redis.url ?? "" });
    try {
      const client = await register(testServer.baseUrl);
      const { access_token: token } = await signInForTokens(testServer.baseUrl, client);
      await callTool(testServer.url, token, "whoami"); // the replica is told of changes from now on
      const other = await testServer.replica();
      const call = (url: string) => async () =>
        assert.equal((await callTool(`${url}/mcp`, token, "whoami")).status, 200);
      await untilTold(other, call(other));
      const second = await signInForTokens(testServer.baseUrl, client);
      const cold = () => callTool(`${other}/mcp`, second.access_token, "whoami");
      assert.deepEqual(await counted(other, cold), { get: 1 });
      assert.deepEqual(await counted(other, cold), {});
    } finally {
      await testServer.close();
    }
  });

  /** A replica keeps nothing before it is sure to hear of changes. */
  async function untilTold(baseUrl: string, call: () => Promise<void>): Promise<void> {
    for (let attempt = 0; attempt < 100; attempt++) if (sum(await counted(baseUrl, call)) === 0) return;
    assert.fail("the replica keeps nothing");
  }

  async function operations(baseUrl: string): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for (const { name, labels, value } of (await scrape(baseUrl)).series)
      if (name === "mcp_store_seconds_count" && labels.operation !== "ping")
        counts.set(labels.operation ?? "", (counts.get(labels.operation ?? "") ?? 0) + value);
    return counts;
  }
});
