/** Stored records that the server did not write as they are: of another version, moved, or of another deployment. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { readToken } from "../../src/grants/opaque-token.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  refresh,
  register,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { tellRedis } from "../support/redis-admin.ts";
import { signIn } from "../support/sign-in.ts";
import { SECRET_KEY, startTestServer } from "../support/test-server.ts";

const grantKey = (tokens: Tokens) => `grant:${readToken("access", tokens.access_token)?.grantId}`;

describe("a record of another version", () => {
  test("counts as absent: who it was of is led to sign in or register again, and nobody sees a 500", async () => {
    const testServer = await startTestServer();
    try {
      const sealer = createSealer([SECRET_KEY]);
      const overwrite = (key: string) =>
        testServer.records.put(key, sealer.seal('{"version":0,"of":"another shape"}', key), 3_600);
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client);

      await overwrite(grantKey(tokens));
      assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 401);
      const refreshed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.deepEqual([refreshed.status, refreshed.body.error], [400, "invalid_grant"]);
      const again = await signInForTokens(testServer.baseUrl, client);
      assert.equal((await callTool(testServer.url, again.access_token, "whoami")).status, 200);

      await overwrite(`client:${client.client_id}`);
      const unknown = await refresh(testServer.baseUrl, client, again.refresh_token);
      assert.deepEqual([unknown.status, unknown.body.error], [401, "invalid_client"]);
      await assert.rejects(
        signIn(newBrowser(), authorizeUrl(testServer.baseUrl, client)),
        /not registered here/,
      );
      await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
      assert.ok(testServer.log.some(({ reason }) => reason === "record_of_unknown_shape"));
    } finally {
      await testServer.close();
    }
  });
});

describe("a record that was moved", () => {
  test("to another grant's or client's key opens nothing there", async () => {
    const testServer = await startTestServer();
    try {
      const [one, other] = [await register(testServer.baseUrl), await register(testServer.baseUrl)];
      const alice = await signInForTokens(testServer.baseUrl, one);
      const bob = await signInForTokens(testServer.baseUrl, other, { login: "bob" });
      const move = async (from: string, to: string) =>
        testServer.records.put(to, (await testServer.records.get(from)) ?? "", 3_600);
      await move(grantKey(alice), grantKey(bob));
      assert.equal((await callTool(testServer.url, bob.access_token, "whoami")).status, 401);
      assert.equal((await refresh(testServer.baseUrl, other, bob.refresh_token)).body.error, "invalid_grant");
      await move(`client:${one.client_id}`, `client:${other.client_id}`);
      assert.equal(
        (await refresh(testServer.baseUrl, other, bob.refresh_token)).body.error,
        "invalid_client",
      );
      assert.equal((await callTool(testServer.url, alice.access_token, "whoami")).status, 200);
      assert.ok(testServer.log.some(({ reason }) => reason === "record_not_decryptable"));
    } finally {
      await testServer.close();
    }
  });
});

describe("two deployments in one Redis", { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  before(async () => {
    redis = await startRedis();
  });
  after(() => redis.stop());

  test("with prefixes of their own share nothing: no client, no grant, no limit of a user", async () => {
    const prefixes = ["one", "other"].map((name) => `${name}-${process.pid}`);
    const [one, other] = await Promise.all(
      prefixes.map((REDIS_KEY_PREFIX) =>
        startTestServer({
          redisUrl: redis.url,
          environment: { REDIS_KEY_PREFIX, MAX_GRANTS_PER_USER: "2" },
        }),
      ),
    );
    assert.ok(one && other);
    try {
      const [ours, theirs] = [await register(one.baseUrl), await register(other.baseUrl)];
      assert.equal((await refresh(other.baseUrl, ours, "x")).body.error, "invalid_client");
      const mine = await signInForTokens(one.baseUrl, ours);
      for (let i = 0; i < 3; i++) await signInForTokens(other.baseUrl, theirs);
      assert.equal((await callTool(one.url, mine.access_token, "whoami")).status, 200, "no limit was shared");
      assert.equal((await callTool(other.url, mine.access_token, "whoami")).status, 401);

      const keys = (await tellRedis(redis.url, "KEYS", "*")) as string[];
      const strays = keys.filter((key) => !prefixes.some((prefix) => key.startsWith(`${prefix}:`)));
      assert.deepEqual(strays, []);
      const gone = keys.filter((key) => key.startsWith(`${prefixes[1]}:`));
      await tellRedis(redis.url, "DEL", ...gone);
      assert.equal((await refresh(one.baseUrl, ours, mine.refresh_token)).status, 200);
    } finally {
      await one.close();
      await other.close();
    }
  });

  test("with one prefix and different keys cannot read each other's records, and leave them alone", async () => {
    const REDIS_KEY_PREFIX = `mixed-${process.pid}`;
    const start = (key: string) =>
      startTestServer({
        redisUrl: redis.url,
        environment: { REDIS_KEY_PREFIX, SECRET_KEY: key },
      });
    const [one, other] = [await start(SECRET_KEY), await start(`another-${SECRET_KEY}`)];
    try {
      const ours = await register(one.baseUrl);
      const mine = await signInForTokens(one.baseUrl, ours);
      assert.equal((await refresh(other.baseUrl, ours, mine.refresh_token)).body.error, "invalid_client");
      assert.equal((await callTool(other.url, mine.access_token, "whoami")).status, 401);
      await signInForTokens(other.baseUrl, await register(other.baseUrl));
      await other.reencrypt();
      assert.equal((await refresh(one.baseUrl, ours, mine.refresh_token)).status, 200);
    } finally {
      await one.close();
      await other.close();
    }
  });
});
