/** The whole server while its Redis is away: 503, never 401; not ready, but alive; and back by itself. */
import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import {
  authorizeUrl,
  callTool,
  postJson,
  refresh,
  register,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { until } from "../support/redis-admin.ts";
import { type Stage, startStage } from "../support/stage.ts";

const UNKNOWN_TOKEN = `mcp_at_${"A".repeat(65)}`;

describe("the server without Redis", { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  let stage: Stage;
  before(async () => {
    redis = await startRedis();
    stage = await startStage({ redisUrl: redis.url, environment: { REDIS_TIMEOUT_MS: "500" } });
  });
  after(async () => {
    await stage?.close();
    await redis.stop();
  });

  const status = async (path: string) => (await fetch(`${stage.baseUrl}${path}`)).status;

  async function assertUnavailable(): Promise<void> {
    assert.equal(await status("/healthz"), 200);
    assert.equal(await status("/readyz"), 503);
    const metadata = { redirect_uris: ["https://client.example/cb"], token_endpoint_auth_method: "none" };
    const answers = {
      "/mcp": await rpc(stage.url, UNKNOWN_TOKEN, "tools/list"),
      "/register": await postJson(`${stage.baseUrl}/register`, metadata),
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
    assert.equal((await rpc(stage.url, UNKNOWN_TOKEN, "tools/list")).status, 401);
  }

  test("says 503 while Redis is down; a Redis that comes back empty knows nobody", async (t) => {
    const client = await register(stage.baseUrl);
    const tokens = await signInForTokens(stage.baseUrl, client);
    assert.equal((await callTool(stage.url, tokens.access_token, "whoami")).status, 200);
    await redis.kill();
    await assertUnavailable();
    assert.equal((await fetch(authorizeUrl(stage.baseUrl, client))).status, 503);
    await redis.restart();
    await recovers(t, "started again");
    await until("the session is over", async () => {
      const { status } = await callTool(stage.url, tokens.access_token, "whoami");
      return status === 401;
    });
    const unknown = await refresh(stage.baseUrl, client, tokens.refresh_token);
    assert.equal(unknown.status, 401);
    assert.equal(unknown.body.error, "invalid_client", "so that it registers again");
  });

  test("says 503 while Redis hangs, and loses nothing", async (t) => {
    const client = await register(stage.baseUrl);
    const tokens = await signInForTokens(stage.baseUrl, client);
    await redis.kill("SIGSTOP");
    await until("not ready", async () => (await status("/readyz")) === 503);
    await assertUnavailable();
    await redis.kill("SIGCONT");
    await recovers(t, "went on");
    assert.equal((await callTool(stage.url, tokens.access_token, "whoami")).status, 200);
  });
});
