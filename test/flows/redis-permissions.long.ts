/** Redis answers but refuses commands that the server needs: not ready, logged with the remedy, and ready again by itself. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { Browser } from "../../dev/client/browser.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { keptLog, logged } from "../storage/support.ts";
import {
  authorizeUrl,
  callTool,
  postJson,
  REDIRECT_URI,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { tellRedis, until } from "../support/redis-admin.ts";
import { startRedisCluster } from "../support/redis-cluster.ts";
import { signIn } from "../support/sign-in.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";

const PREFIX = "mcp";

/** What a user needs, each part of it on its own. */
const KEYS = `~${PREFIX}:*`;
const CHANNELS = `&${PREFIX}:*`;
const COMMANDS = ["+@read", "+@write", "+@scripting", "+@pubsub", "+@connection", "+time"];

interface Trouble {
  reason: string;
  says: string;
  fix: string;
}

async function serverFor(t: TestContext, redis: TestRedis, url = redis.url): Promise<TestServer> {
  t.after(() => redis.stop());
  const testServer = await startTestServer({ redisUrl: url, environment: { REDIS_KEY_PREFIX: PREFIX } });
  t.after(() => testServer.close());
  return testServer;
}

/** A server whose user of Redis is described by `rules` once the server runs. */
async function serverWithUser(
  t: TestContext,
  rules: readonly string[],
  atFirst = [KEYS, CHANNELS, ...COMMANDS],
) {
  const redis = await startRedis();
  const setUser = (...more: readonly string[]) => tellRedis(redis.url, "ACL", "SETUSER", "app", ...more);
  await setUser("on", ">pw", ...atFirst);
  const testServer = await serverFor(t, redis, redis.url.replace("//", "//app:pw@"));
  await ready(testServer);
  await setUser("reset", "on", ">pw", ...rules);
  return { redis, testServer };
}

const readiness = async ({ baseUrl }: TestServer) => {
  const response = await fetch(`${baseUrl}/readyz`);
  return { status: response.status, body: (await response.json()) as Partial<Trouble> };
};

const ready = (testServer: TestServer) =>
  until("ready, and nothing wrong", async () => {
    const { status, body } = await readiness(testServer);
    return status === 200 && body.reason === undefined;
  });

const notReady = (testServer: TestServer, reason: string) => saysOf(testServer, reason, 503);

async function saysOf(testServer: TestServer, reason: string, expected: number): Promise<Trouble> {
  await until(`${reason} is said`, async () => (await readiness(testServer)).body.reason === reason);
  const { status, body } = await readiness(testServer);
  assert.equal(status, expected);
  await until("the log says the same", async () =>
    testServer.log.some((line) => line.reason === reason && String(line.msg).includes(body.fix ?? "nothing")),
  );
  return body as Trouble;
}

const registering = ({ baseUrl }: TestServer) =>
  postJson(`${baseUrl}/register`, { redirect_uris: ["https://client.example/cb"] });

const signsIn = async (testServer: TestServer) => {
  const { access_token } = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
  assert.equal((await callTool(testServer.url, access_token, "whoami")).status, 200);
};

describe("a user of Redis who may not do all that is needed", { skip: skipWithoutRedisServer() }, () => {
  const lacking: Record<string, { rules: string[]; grants: RegExp; next?: string }> = {
    "channels, which Redis 7 gives to nobody": { rules: [KEYS, ...COMMANDS], grants: /^app &mcp:\* \+@read/ },
    scripts: { rules: [KEYS, CHANNELS, ...COMMANDS, "-@scripting"], grants: /^app \+@read/ },
    "one command that scripts use": { rules: [KEYS, CHANNELS, ...COMMANDS, "-zadd"], grants: /^app \+@read/ },
    "the command that tells the time": {
      rules: [KEYS, CHANNELS, ...COMMANDS, "-time"],
      grants: /^app \+@read/,
    },
    writing: {
      rules: [KEYS, CHANNELS, "+@read", "+@scripting", "+@pubsub", "+time"],
      grants: /^app \+@read/,
    },
    "the keys of this deployment": {
      rules: ["~other:*", CHANNELS, ...COMMANDS],
      grants: /^app ~mcp:\* \+@read/,
    },
    "keys and channels, which is found out one after the other": {
      rules: ["~other:*", "&other:*", ...COMMANDS],
      grants: /^app ~mcp:\* \+@read/,
      next: CHANNELS,
    },
  };
  for (const [what, { rules, grants, next }] of Object.entries(lacking))
    test(`has not: ${what}. /readyz and the log say which ACL line to give, and it helps at once`, async (t) => {
      const { redis, testServer } = await serverWithUser(t, rules);
      const { says, fix } = await notReady(testServer, "redis_not_permitted");
      assert.equal(says, "Redis does not permit its user what the server needs.");
      const line = /ACL SETUSER ([^(]+) \(/.exec(fix)?.[1] ?? "";
      assert.match(line, grants);
      const { status, body } = await registering(testServer);
      if (status !== 201) assert.match(String(body.error_description), /not permitted .* operator/);
      await tellRedis(redis.url, "ACL", "SETUSER", ...line.split(" "));
      if (next !== undefined) {
        await until("the next is said", async () =>
          ((await readiness(testServer)).body.fix ?? "").includes(next),
        );
        await tellRedis(redis.url, "ACL", "SETUSER", "app", next);
      }
      await ready(testServer);
      await signsIn(testServer);
    });

  test("may not any more when a sign-in comes back: person and client hear that the operator has to repair it", async (t) => {
    const all = [KEYS, CHANNELS, ...COMMANDS];
    const { redis, testServer } = await serverWithUser(t, all);
    const client = await register(testServer.baseUrl);
    const browser = new Browser({
      stopAt: (url) => url.pathname === "/auth/callback" || url.href.startsWith(REDIRECT_URI),
    });
    const callback = await signIn(browser, authorizeUrl(testServer.baseUrl, client));
    await tellRedis(redis.url, "ACL", "SETUSER", "app", "-zadd");
    const page = await browser.get(callback);
    assert.equal(page.status, 503);
    assert.match(page.body, /could not be stored\. This server is not permitted.*operator has to repair/);
    assert.doesNotMatch(page.body, /in a moment/);
    assert.match(page.body, /error=server_error/, "which is what the client gets");
  });

  test("may not subscribe: that stops nothing, and the log says what it costs", async (t) => {
    const rules = [KEYS, CHANNELS, ...COMMANDS, "-subscribe"];
    const { testServer } = await serverWithUser(t, rules, rules);
    await until("it is told", async () =>
      testServer.log.some(({ reason }) => reason === "redis_changes_not_heard"),
    );
    assert.equal((await readiness(testServer)).status, 200);
    await signsIn(testServer);
  });
});

describe("a Redis that refuses", { skip: skipWithoutRedisServer() }, () => {
  const config = (redis: TestRedis, name: string, value: string) =>
    tellRedis(redis.url, "CONFIG", "SET", name, value);

  test("is full: ready for calls, and says so although nobody writes, until there is room", async (t) => {
    const redis = await startRedis({ args: ["--maxmemory-policy", "noeviction"] });
    const testServer = await serverFor(t, redis);
    await config(redis, "maxmemory", "1");
    const { fix } = await saysOf(testServer, "redis_full", 200);
    assert.match(fix, /Raise its maxmemory/);
    const { status, body } = await registering(testServer);
    assert.deepEqual(
      [status, body.error_description],
      [503, "This server's storage is full. Its operator has to make room."],
    );
    await config(redis, "maxmemory", "0");
    await ready(testServer);
    await signsIn(testServer);
  });

  test("has too few replicas to write: ready for calls, and says so until it has them", async (t) => {
    const redis = await startRedis();
    const testServer = await serverFor(t, redis);
    await config(redis, "min-replicas-to-write", "1");
    assert.match((await saysOf(testServer, "redis_not_writable", 200)).fix, /min-replicas-to-write/);
    await config(redis, "min-replicas-to-write", "0");
    await ready(testServer);
    await signsIn(testServer);
  });

  test("is a replica: not ready until it is a master, and said once", async (t) => {
    const redis = await startRedis();
    const testServer = await serverFor(t, redis);
    await tellRedis(redis.url, "REPLICAOF", "127.0.0.1", "1");
    assert.match((await notReady(testServer, "redis_read_only")).fix, /REDIS_URL lead to the master/);
    await tellRedis(redis.url, "REPLICAOF", "NO", "ONE");
    await ready(testServer);
    await signsIn(testServer);
    const said = testServer.log.filter(({ reason, level }) => reason === "redis_read_only" && level === 50);
    assert.equal(said.length, 1);
  });

  test("has no such command: not ready from the beginning", async (t) => {
    const redis = await startRedis({ args: ["--rename-command", "EVAL", ""] });
    const testServer = await serverFor(t, redis);
    const { says, fix } = await notReady(testServer, "redis_not_permitted");
    assert.match(says, /does not know a command/);
    assert.match(fix, /rename-command/);
    assert.equal((await registering(testServer)).status, 503);
  });
});

test("a user of a Redis Cluster who may nothing: the line that the log gives is enough", {
  skip: skipWithoutRedisServer(),
}, async (t) => {
  const cluster = await startRedisCluster();
  t.after(() => cluster.stop());
  const setUser = (...rules: readonly string[]) =>
    Promise.all(
      cluster.masters.map((node) => tellRedis(cluster.urlOf(node), "ACL", "SETUSER", "app", ...rules)),
    );
  await setUser("on", ">pw", KEYS, CHANNELS);
  const { log, lines } = keptLog();
  const records = redisStore({
    clusterNodes: cluster.urls.map((url) => url.replace("//", "//app:pw@")),
    keyPrefix: PREFIX,
    commandTimeoutMs: 2_000,
    log,
  });
  t.after(() => records.close());
  const { msg } = await logged(lines, "redis_not_permitted");
  const line = /ACL SETUSER app ([^(]+) \(/.exec(msg)?.[1] ?? "";
  await setUser(...line.split(" "));
  await until("it can do all that is needed", () =>
    records.checkReady().then(
      () => true,
      () => false,
    ),
  );
});
