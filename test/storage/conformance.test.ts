/** What every store promises, run on every store there is. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { z } from "zod";
import { fileRecords } from "../../src/dev/file-records.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { memoryRecords } from "../../src/storage/memory.ts";
import { redisRecords } from "../../src/storage/redis.ts";
import type { RedisTopology } from "../../src/storage/redis-topology.ts";
import { type EncryptedKind, reencrypt } from "../../src/storage/reencrypt.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { Records, Store } from "../../src/storage/store.ts";
import { redisForTests, skipWithoutRedisServer } from "../support/redis.ts";
import { startRedisCluster } from "../support/redis-cluster.ts";
import { startRedisSentinel } from "../support/redis-sentinel.ts";
import { startTlsRedis } from "../support/redis-tls.ts";
import { ready } from "./support.ts";

const log = pino({ level: "silent" });
const redis = await redisForTests();
after(() => redis.stop());

const Counter = z.object({ count: z.number() });
const KEY = "a-secret-key-of-at-least-32-bytes-1";

function storeOn(
  records: Records,
  secretKeys = [KEY],
  kind: EncryptedKind = "client",
): Store<{ count: number }> {
  return encryptedStore({ records, sealer: createSealer(secretKeys), log, kind, schema: Counter });
}

/** Every call of `connect` is another process's worth of connection to the same deployment. */
interface StoreUnderTest {
  name: string;
  skip: string | false;
  /** Before `connect`; what it returns is called after the last of the tests. */
  start?: () => Promise<() => Promise<void>>;
  connect: () => Records;
}

const skip = skipWithoutRedisServer();
const keyPrefix = `conformance-${randomBytes(6).toString("hex")}`;
const stores: StoreUnderTest[] = [
  { name: "memory", skip: false, connect: oneOf(memoryRecords()) },
  {
    name: "file of npm run dev",
    skip: false,
    connect: oneOf(await fileRecords(join(mkdtempSync(join(tmpdir(), "conformance-")), "records"))),
  },
  { name: "Redis", skip: redis.skip, connect: () => redisStore({ url: redis.url ?? "" }) },
  onServers("Redis over TLS", startTlsRedis, ({ url, ca }) => ({ url, ca })),
  onServers("Redis Cluster", startRedisCluster, ({ urls }) => ({ clusterNodes: urls })),
  onServers("Redis Sentinel", startRedisSentinel, ({ url, sentinelUrls }) => ({
    url,
    sentinels: sentinelUrls,
  })),
];

function redisStore(topology: RedisTopology): Records {
  return redisRecords({ ...topology, keyPrefix, commandTimeoutMs: 2_000, log });
}

function onServers<Servers extends { stop(): Promise<void> }>(
  name: string,
  startServers: () => Promise<Servers>,
  topologyOf: (servers: Servers) => RedisTopology,
): StoreUnderTest {
  let servers: Servers | undefined;
  return {
    name,
    skip,
    async start() {
      servers = await startServers();
      return servers.stop;
    },
    connect: () => redisStore(topologyOf(servers as Servers)),
  };
}

/** A store of one process. */
function oneOf(records: Records): () => Records {
  return () => records;
}

for (const { name, skip, start, connect } of stores) {
  describe(`${name} store`, { skip }, () => {
    let here: Records;
    let elsewhere: Records;
    let stop: (() => Promise<void>) | undefined;
    before(async () => {
      stop = await start?.();
      here = connect();
      elsewhere = connect();
      await ready(here);
      await ready(elsewhere);
    });
    after(async () => {
      await here.close();
      if (elsewhere !== here) await elsewhere.close();
      await stop?.();
    });

    test("what was put is got, from another process too", async () => {
      await storeOn(here).put("a", { count: 1 }, 60);
      assert.deepEqual(await storeOn(elsewhere).get("a"), { count: 1 });
      assert.equal(await storeOn(here).get("never put"), undefined);
    });

    test("an expired record is absent for every verb", async () => {
      const store = storeOn(here);
      await store.put("short", { count: 1 }, 1);
      await delay(1_100);
      assert.equal(await store.get("short"), undefined);
      assert.equal(await store.take("short"), undefined);
      assert.equal(await store.delete("short"), false);
      assert.equal(await here.replace("client:short", undefined, "x", 60), true, "the key is free again");
    });

    test("of many concurrent takers on two processes, one gets the value (invariant 2)", async () => {
      for (let round = 0; round < 50; round++) {
        await storeOn(here).put(`race ${round}`, { count: round }, 60);
        const takers = Array.from({ length: 10 }, (_, i) =>
          storeOn(i % 2 ? here : elsewhere).take(`race ${round}`),
        );
        const taken = (await Promise.all(takers)).filter((value) => value !== undefined);
        assert.deepEqual(taken, [{ count: round }]);
      }
    });

    test("of many concurrent updates on two processes, none is lost", async () => {
      await storeOn(here).put("sum", { count: 0 }, 60);
      const increments = Array.from({ length: 40 }, (_, i) =>
        storeOn(i % 2 ? here : elsewhere).update("sum", (current) => ({
          write: { count: (current?.count ?? 0) + 1 },
          ttlSeconds: 60,
          result: undefined,
        })),
      );
      await Promise.all(increments);
      assert.deepEqual(await storeOn(here).get("sum"), { count: 40 });
    });

    test("an update that decides to write nothing leaves the record as it is", async () => {
      await storeOn(here).put("kept", { count: 7 }, 60);
      assert.equal(await storeOn(here).update("kept", (current) => ({ result: current?.count })), 7);
      assert.deepEqual(await storeOn(here).get("kept"), { count: 7 });
    });

    test("of many who put where nothing is, one succeeds", async () => {
      const attempts = Array.from({ length: 10 }, (_, i) =>
        (i % 2 ? here : elsewhere).replace("lock", undefined, `${i}`, 60),
      );
      const won = (await Promise.all(attempts)).indexOf(true);
      assert.equal((await Promise.all(attempts)).filter(Boolean).length, 1);
      assert.equal(await here.deleteIf("lock", "somebody else"), false);
      assert.equal(await here.deleteIf("lock", `${won}`), true);
    });

    test("many are removed at once, and those that were not there do not matter", async () => {
      const keys = Array.from({ length: 50 }, (_, i) => `heap-${i}`);
      await Promise.all(keys.map((key) => storeOn(here).put(key, { count: 1 }, 60)));
      await storeOn(here).put("heap-kept", { count: 1 }, 60);
      await storeOn(elsewhere).deleteAll([...keys, "heap-none"]);
      await storeOn(elsewhere).deleteAll([]);
      for (const key of keys) assert.equal(await storeOn(here).exists(key), false, key);
      assert.equal(await storeOn(here).exists("heap-kept"), true);
    });

    test("only the first delete says that it deleted", async () => {
      await storeOn(here).put("gone", { count: 1 }, 60);
      const deleted = await Promise.all([storeOn(here).delete("gone"), storeOn(elsewhere).delete("gone")]);
      assert.deepEqual(deleted.sort(), [false, true]);
    });

    test("an index keeps its members in order, for every process, until they are removed", async () => {
      for (const [member, score] of [
        ["c", 3],
        ["a", 1],
        ["b", 2],
      ] as const)
        await (score === 2 ? elsewhere : here).indexes.add(["letters", "signs"], member, score, 60);
      assert.deepEqual(await here.indexes.add(["letters", "words"], "a", 1, 60), [["a", "b", "c"], ["a"]]);
      assert.deepEqual(await elsewhere.indexes.members("letters"), ["a", "b", "c"]);
      await elsewhere.indexes.remove("letters", "b");
      await here.indexes.remove("letters", "never there");
      assert.deepEqual(await here.indexes.members("letters"), ["a", "c"]);
      assert.deepEqual(await here.indexes.members("nothing"), []);
    });

    test("all keys of a prefix are found, however many servers they are on", async () => {
      const keys = Array.from({ length: 100 }, (_, i) => `approval:${i}`);
      await Promise.all(keys.map((key) => here.put(key, "x", 60)));
      await here.put("approvals:other", "x", 60);
      const found = [];
      for await (const key of elsewhere.keys("approval:")) found.push(key);
      assert.deepEqual(found.sort(), keys.sort());
    });

    test("a change of a grant is told to every process, and no other change", async () => {
      const heard: string[] = [];
      const watch = elsewhere.watch("grant", (key) => heard.push(key));
      for (let attempt = 0; watch.epoch === undefined && attempt < 150; attempt++) await delay(20);
      assert.notEqual(watch.epoch, undefined);
      await here.put("client:told", "x", 60);
      // On a cluster these are on several servers.
      const keys = Array.from({ length: 9 }, (_, i) => `grant:told-${i}`);
      for (const key of keys) await here.put(key, "1", 60);
      assert.equal(await here.replace("grant:told-0", "1", "2", 60), true);
      assert.equal(await here.delete("grant:told-0"), true);
      for (let attempt = 0; new Set(heard).size < keys.length && attempt < 150; attempt++) await delay(20);
      assert.deepEqual([...new Set(heard)].sort(), keys);
      watch.close();
    });

    test("everything is brought under the first key while it is in use, and lives as long as before", async () => {
      const newKey = "a-newer-secret-key-of-at-least-32-bytes";
      await storeOn(here).put("kept for an hour", { count: 1 }, 3_600);
      await storeOn(here).put("kept for a second", { count: 1 }, 1);
      await here.put("client:unreadable", createSealer(["x".repeat(40)]).seal("{}", "client:unreadable"), 60);
      const { reencrypted, unreadable } = await reencrypt(elsewhere, createSealer([newKey, KEY]));
      assert.ok(reencrypted >= 2 && unreadable >= 1);
      assert.deepEqual(await storeOn(here, [newKey]).get("kept for an hour"), { count: 1 });
      await delay(1_100);
      assert.equal(await storeOn(here, [newKey]).get("kept for a second"), undefined);
      assert.equal((await reencrypt(here, createSealer([newKey, KEY]))).reencrypted, 0);
    });

    test("a limit is shared by processes, per key, and says how long to wait", async () => {
      const limit = { name: `test-${randomBytes(4).toString("hex")}`, points: 3, seconds: 60 };
      const counted = [];
      for (let i = 0; i < 5; i++) counted.push(await (i % 2 ? here : elsewhere).rateLimits.count(limit, "a"));
      assert.deepEqual(counted.slice(0, 3), [0, 0, 0]);
      assert.ok(counted.slice(3).every((seconds) => seconds > 0 && seconds <= 60));
      assert.equal(await here.rateLimits.count(limit, "b"), 0);
    });

    test("nothing readable is at rest", async () => {
      await storeOn(here).put("hidden", { count: 123_456_789 }, 60);
      const record = (await here.get("client:hidden")) ?? "";
      assert.doesNotMatch(record, /123456789|count/);
    });

    test("a ciphertext moved to another key or kind does not open", async () => {
      await storeOn(here).put("mine", { count: 1 }, 60);
      const record = (await here.get("client:mine")) ?? "";
      await here.put("client:yours", record, 60);
      await here.put("grant:mine", record, 60);
      assert.equal(await storeOn(here).get("yours"), undefined);
      assert.equal(await storeOn(here, [KEY], "grant").get("mine"), undefined);
    });

    test("a rotated key still opens, a foreign one does not, a tampered record does not", async () => {
      const newKey = "another-secret-key-of-at-least-32-bytes";
      await storeOn(here).put("rotated", { count: 1 }, 60);
      assert.deepEqual(await storeOn(here, [newKey, KEY]).get("rotated"), { count: 1 });
      assert.equal(await storeOn(here, [newKey]).get("rotated"), undefined);
      assert.equal(await storeOn(here, [newKey]).exists("rotated"), true, "unreadable is not gone");
      assert.equal(await storeOn(here).exists("never put"), false);
      const record = (await here.get("client:rotated")) ?? "";
      await here.put("client:rotated", `${record.slice(0, -3)}AAA`, 60);
      assert.equal(await storeOn(here).get("rotated"), undefined);
    });

    test("a record of another shape counts as absent", async () => {
      const sealer = createSealer([KEY]);
      await here.put("client:old", sealer.seal('{"amount":1}', "client:old"), 60);
      assert.equal(await storeOn(here).get("old"), undefined);
    });
  });
}
