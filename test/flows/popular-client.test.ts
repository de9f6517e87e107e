/** Removing a client that thousands use: every grant ends, also after failures, with bounded load on Redis and memory. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { copyGrant } from "../support/copied-grants.ts";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorizeUrl,
  callTool,
  type Registered,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { type RedisProxy, startRedisProxy } from "../support/redis-proxy.ts";
import { useTestServer } from "../support/test-server.ts";

const HOLDERS = 2_000;

describe("a client that thousands use", { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  let proxy: RedisProxy;
  let upstream: FaultyProxy;
  after(() => upstream.dropUnanswered());
  const testServer = useTestServer(async () => {
    redis = await startRedis();
    proxy = await startRedisProxy(redis.port);
    upstream = await startFaultyProxy();
    return {
      redisUrl: proxy.url,
      throughProxy: upstream,
      environment: { UPSTREAM_TIMEOUT_SECONDS: "2" },
    };
  });
  after(async () => {
    await upstream.close();
    await proxy.close();
    await redis.stop();
  });

  async function signInThousands(accessToken: string): Promise<void> {
    const grant = await testServer.grantOf(accessToken);
    assert.ok(grant !== undefined);
    await copyGrant(testServer, grant, HOLDERS);
  }

  const remove = (client: Registered) =>
    fetch(`${client.registration_client_uri}`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${client.registration_access_token}` },
    });
  const audited = (event: string) => testServer.log.filter(({ audit }) => audit === event).length;
  const keysLeft = async (kind: string) => {
    let count = 0;
    for await (const _ of testServer.records.keys(kind)) count++;
    return count;
  };

  test("is removed although the store failed halfway, and the provider hangs: said again, everything has ended", async () => {
    const client = await register(testServer.baseUrl);
    const other = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const others = await signInForTokens(testServer.baseUrl, other, { login: "bob" });
    await signInThousands(tokens.access_token);
    upstream.hangsAtRevocation = true;

    // In the midst of it.
    const removing = remove(client);
    await eventually("a part has ended", () => audited("grant_ended") > 500);
    proxy.lose(/'DEL'[\s\S]*:grant:/);
    const failed = await removing;
    if (failed.status !== 204) {
      assert.equal(failed.status, 503);
      assert.ok(Number(failed.headers.get("retry-after")) > 0);
      // Meanwhile nobody gets in by it any more.
      await eventually("the store answers", async () => (await fetch(`${testServer.baseUrl}/readyz`)).ok);
      assert.equal((await fetch(authorizeUrl(testServer.baseUrl, client))).status, 400);
      assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 401);
      await eventually("it is removed", async () => (await remove(client)).status === 204, 180);
    }
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 401);
    assert.equal(audited("client_removed"), 1);
    assert.equal(await keysLeft("grant:"), 1, "all but the other client's");
    assert.equal((await callTool(testServer.url, others.access_token, "whoami")).status, 200);
    assert.equal((await remove(client)).status, 401, "it is gone");
  });
});
