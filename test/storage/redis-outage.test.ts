/** Every kind of outage of one Redis: never "not found", never a crash, and reconnected by itself. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { tellRedis, until } from "../support/redis-admin.ts";
import { keptLog, logged, ready, silent } from "./support.ts";

interface RedisWithRecords {
  server: TestRedis;
  records: KeyValueStore;
  /** Another process of the same deployment. */
  connect(options?: { url?: string; log?: typeof silent }): KeyValueStore;
}

/** A server of its own, and records in it that close with the test. */
async function startRedisWithRecords(
  t: TestContext,
  { args = [], commandTimeoutMs = 200 }: { args?: string[]; commandTimeoutMs?: number } = {},
): Promise<RedisWithRecords> {
  const server = await startRedis({ args });
  t.after(() => server.stop());
  const connect: RedisWithRecords["connect"] = ({ url = server.url, log = silent } = {}) => {
    const records = redisStore({ url, keyPrefix: "outage", commandTimeoutMs, log });
    t.after(() => records.close());
    return records;
  };
  const records = connect();
  await ready(records);
  return { server, records, connect };
}

/** On a busy machine, less would be an outage of its own in the log. */
const PATIENT = { commandTimeoutMs: 10_000 };

const everyVerb: Record<string, (records: KeyValueStore) => Promise<unknown>> = {
  get: (records) => records.get("k"),
  secondsLeft: (records) => records.secondsLeft("k"),
  put: (records) => records.put("k", "w", 60),
  "put of what is told": (records) => records.put("grant:k", "w", 60),
  replace: (records) => records.replace("k", "v", "w", 60),
  "replace of nothing": (records) => records.replace("new", undefined, "w", 60),
  rewrite: (records) => records.rewrite("k", "v", "w"),
  delete: (records) => records.delete("k"),
  "delete of what is told": (records) => records.delete("grant:k"),
  deleteIf: (records) => records.deleteIf("k", "v"),
  keys: async (records) => {
    for await (const _ of records.keys(""));
  },
  "indexes.add": (records) => records.indexes.add(["i"], "m", { due: 1, latest: 60 }),
  "indexes.move": (records) => records.indexes.move("i", "m", 60),
  "indexes.remove": (records) => records.indexes.remove("i", ["m"]),
  "indexes.forget": (records) => records.indexes.forget("i", ["m"], 60),
  "indexes.latest": (records) => records.indexes.latest("i", 1),
  "indexes.members": async (records) => {
    for await (const _ of records.indexes.members("i"));
  },
  "budgets.spend": (records) => records.budgets.spend({ name: "b", points: 1, seconds: 60 }, [], 1),
  "rateLimits.count": (records) => records.rateLimits.count({ name: "l", points: 1, seconds: 60 }, "k"),
  ping: (records) => records.ping(),
};

const writes = [
  "put",
  "put of what is told",
  "replace of nothing",
  "delete",
  "indexes.add",
  "rateLimits.count",
];

async function assertUnavailable(records: KeyValueStore, verbs = Object.keys(everyVerb)): Promise<void> {
  for (const verb of verbs)
    await assert.rejects(async () => everyVerb[verb]?.(records), UnavailableError, verb);
}

describe("an outage of Redis", { skip: skipWithoutRedisServer() }, () => {
  test("is an error for every verb, at once, and ends by itself", async (t) => {
    const { server, records } = await startRedisWithRecords(t, { commandTimeoutMs: 2_000 });
    await records.put("k", "v", 60);
    await server.kill();
    const start = performance.now();
    await assertUnavailable(records);
    const verbs = Object.keys(everyVerb).length;
    t.diagnostic(`${verbs} verbs refused in ${Math.round(performance.now() - start)} ms`);
    await delay(1_500); // let the pauses between the attempts grow
    await server.restart();
    t.diagnostic(`recovered ${await ready(records)} ms after Redis's return`);
    assert.equal(await records.get("k"), undefined, "it came back empty, and says so itself");
    await records.put("k", "v", 60);
    assert.equal(await records.get("k"), "v");
  });

  test("may be there from the beginning", async (t) => {
    const { server, connect } = await startRedisWithRecords(t);
    await server.kill();
    const records = connect();
    await assertUnavailable(records);
    await server.restart();
    await ready(records);
  });

  test("a server that hangs is noticed, and used again when it goes on", async (t) => {
    const { server, records, connect } = await startRedisWithRecords(t);
    const { log, lines } = keptLog();
    const idle = connect({ log });
    await ready(idle);
    await records.put("k", "v", 60);
    await server.kill("SIGSTOP");
    await assert.rejects(records.get("k"), UnavailableError);
    // Also by somebody who asks nothing.
    await logged(lines, "redis_unavailable", /no answer within 200 ms/);
    const start = performance.now();
    await assertUnavailable(idle);
    t.diagnostic(`all verbs refused in ${Math.round(performance.now() - start)} ms while it hangs`);
    await delay(1_000);
    await server.kill("SIGCONT");
    t.diagnostic(`recovered ${await ready(records)} ms after it went on`);
    assert.equal(await records.get("k"), "v");
  });

  test("what waits for a server that hangs is bounded", async (t) => {
    const { server, records } = await startRedisWithRecords(t, { commandTimeoutMs: 1_000 });
    await server.kill("SIGSTOP");
    const puts = Array.from({ length: 12_000 }, (_, i) => records.put(`k${i}`, "v", 60));
    const reasons = new Map<string, number>();
    for (const put of await Promise.allSettled(puts)) {
      assert.ok(put.status === "rejected" && put.reason instanceof UnavailableError);
      const reason = String(put.reason.cause);
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    assert.equal(reasons.get("Error: too many commands are waiting"), 2_000);
    await server.kill("SIGCONT");
    await ready(records);
    await records.put("after", "v", 60);
    assert.equal(await records.get("after"), "v");
  });

  test("closing does not wait for a server that hangs", async (t) => {
    const { server, connect } = await startRedisWithRecords(t);
    const records = connect();
    await ready(records);
    await server.kill("SIGSTOP");
    const waiting = assert.rejects(records.get("k"), UnavailableError);
    await records.close();
    await waiting;
    await assertUnavailable(records);
    await server.kill("SIGCONT");
  });

  test("a server that loads its data says not yet, and never 'not found'", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "redis-loading-"));
    t.after(() => rm(folder, { recursive: true }));
    const slowly = ["--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024"];
    const { server, records } = await startRedisWithRecords(t, { args: ["--dir", folder, ...slowly] });
    await records.put("k", "v", 600);
    const fill = "for i = 1, 3000 do redis.call('SET', 'filling' .. i, string.rep('x', 100)) end";
    await tellRedis(server.url, "EVAL", fill, "0");
    await tellRedis(server.url, "SAVE");
    const { log, lines } = keptLog();
    await server.kill();
    const restarted = redisStore({ url: server.url, keyPrefix: "outage", commandTimeoutMs: 200, log });
    t.after(() => restarted.close());
    await server.restart();
    for (let found: string | undefined; found !== "v"; )
      found = await restarted.get("k").catch((error: unknown) => {
        assert.ok(error instanceof UnavailableError);
        return delay(20, "unavailable");
      });
    const line = await logged(lines, "redis_unavailable", /^LOADING /);
    assert.match(line.msg, /Redis is loading its data; retrying/);
    const before = lines.slice(0, lines.indexOf(line));
    assert.ok(
      before.every(({ reason }) => reason === "redis_unavailable"),
      "nobody said that it is there",
    );
  });

  test("a server that became a replica refuses writes until it is a master again", async (t) => {
    const { server, connect } = await startRedisWithRecords(t);
    const { log, lines } = keptLog();
    const records = connect({ log });
    await ready(records);
    await records.put("k", "v", 60);
    await tellRedis(server.url, "REPLICAOF", "127.0.0.1", "1");
    await assertUnavailable(records, writes);
    // By then its name may lead to another server.
    await logged(lines, "redis_read_only", /READONLY/);
    await tellRedis(server.url, "REPLICAOF", "NO", "ONE");
    await until("it is written to again", async () => {
      await records.put("k", "w", 60);
      return true;
    });
    assert.equal(await records.get("k"), "w");
  });

  test("a password that is refused is said in the log, without the password", async (t) => {
    const { server, connect } = await startRedisWithRecords(t);
    const { log, lines } = keptLog();
    await tellRedis(server.url, "CONFIG", "SET", "requirepass", "another");
    const records = connect({ url: server.url.replace("//", "//:top%2Fsecret@"), log });
    await logged(lines, "redis_login_refused", /WRONGPASS/);
    await assertUnavailable(records, ["get", "put", "ping"]);
    await tellRedis(server.url.replace("//", "//:another@"), "CONFIG", "SET", "requirepass", "top/secret");
    await ready(records);
    await server.kill();
    await logged(lines, "redis_unavailable", /ECONNREFUSED/);
    assert.doesNotMatch(JSON.stringify(lines), /secret/);
  });

  test("is logged once, however long it takes", async (t) => {
    const { server, connect } = await startRedisWithRecords(t, PATIENT);
    const { log, lines } = keptLog();
    const records = connect({ log });
    await ready(records);
    await server.kill();
    await logged(lines, "redis_unavailable", /ECONNREFUSED/);
    await delay(1_000); // for a few more attempts
    await server.restart();
    await ready(records);
    assert.deepEqual(
      lines.map(({ msg, cause }) => [msg, cause?.replace(/:\d+$/, "")]),
      [
        ["Connected to Redis", undefined],
        ["Redis cannot be reached; retrying", "Socket closed unexpectedly"],
        ["Redis cannot be reached; retrying", "connect ECONNREFUSED 127.0.0.1"],
        ["Redis is reachable again", undefined],
      ],
    );
  });

  test("makes known that changes may have gone unpublished meanwhile: the feed has another epoch afterwards", async (t) => {
    const { server, records } = await startRedisWithRecords(t);
    const watch = records.watch("grant", () => {});
    const epochs = () => until("changes are told", async () => watch.epoch !== undefined);
    await epochs();
    const before = watch.epoch;
    await server.kill();
    await until("they are not", async () => watch.epoch === undefined);
    await server.restart();
    await epochs();
    assert.notEqual(watch.epoch, before);
  });
});

describe("a Redis that may drop records", { skip: skipWithoutRedisServer() }, () => {
  const evictions = (lines: ReturnType<typeof keptLog>["lines"]) =>
    lines.filter(({ reason }) => reason === "redis_eviction");

  test("is warned of once", async (t) => {
    const { server, connect } = await startRedisWithRecords(t, {
      args: ["--maxmemory-policy", "allkeys-lru"],
    });
    const { log, lines } = keptLog();
    const records = connect({ log });
    assert.equal((await logged(lines, "redis_eviction")).policy, "allkeys-lru");
    await server.kill();
    await server.restart();
    await ready(records);
    await delay(200);
    assert.equal(evictions(lines).length, 1);
  });

  test("is not asked for by a user that may not", async (t) => {
    const { server, connect } = await startRedisWithRecords(t, {
      ...PATIENT,
      args: ["--maxmemory-policy", "allkeys-lru"],
    });
    const permissions = ["+@all", "-info", "-config", "-role"];
    await tellRedis(
      server.url,
      "ACL",
      "SETUSER",
      "app",
      "on",
      ">pw",
      "~outage:*",
      "&outage:*",
      ...permissions,
    );
    const { log, lines } = keptLog();
    const records = connect({ url: server.url.replace("//", "//app:pw@"), log });
    await ready(records);
    for (const [verb, call] of Object.entries(everyVerb)) await assert.doesNotReject(call(records), verb);
    await delay(200);
    assert.deepEqual(
      lines.map(({ reason }) => reason),
      [undefined],
    );
  });
});
