/** The guarantees of the store, tested on every implementation. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { z } from "zod";
import { fileRecords } from "../../dev/watch/file-records.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import type { RedisTopology } from "../../src/storage/redis/topology.ts";
import { type EncryptedKind, reencrypt } from "../../src/storage/reencrypt.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { KeyValueStore, Store } from "../../src/storage/store.ts";
import { eventually } from "../support/eventually.ts";
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
  records: KeyValueStore,
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
  connect: () => KeyValueStore;
}

const skip = skipWithoutRedisServer();
const keyPrefix = `conformance-${randomBytes(6).toString("hex")}`;
const stores: StoreUnderTest[] = [
  { name: "memory", skip: false, connect: oneOf(memoryStore()) },
  {
    name: "file of npm run dev",
    skip: false,
    connect: oneOf(await fileRecords(join(mkdtempSync(join(tmpdir(), "conformance-")), "records"))),
  },
  { name: "Redis", skip: redis.skip, connect: () => connectRedis({ url: redis.url ?? "" }) },
  onServers("Redis over TLS", startTlsRedis, ({ url, ca }) => ({ url, ca })),
  onServers("Redis Cluster", startRedisCluster, ({ urls }) => ({ clusterNodes: urls })),
  onServers("Redis Sentinel", startRedisSentinel, ({ url, sentinelUrls }) => ({
    url,
    sentinels: sentinelUrls,
  })),
];

function connectRedis(topology: RedisTopology): KeyValueStore {
  return redisStore({ ...topology, keyPrefix, commandTimeoutMs: 10_000, log });
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
    connect: () => connectRedis(topologyOf(servers as Servers)),
  };
}

/** A store of one process. */
function oneOf(records: KeyValueStore): () => KeyValueStore {
  return () => records;
}

async function membersOf(records: KeyValueStore, index: string): Promise<string[]> {
  const members = new Set<string>();
  for await (const portion of records.indexes.members(index))
    for (const member of portion) members.add(member);
  return [...members].sort();
}

for (const { name, skip, start, connect } of stores) {
  describe(`${name} store`, { skip }, () => {
    let here: KeyValueStore;
    let elsewhere: KeyValueStore;
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

    test("who takes or claims what is written in between gets that, and nothing is removed unseen", async () => {
      const [first, second] = [{ count: 1 }, { count: 2 }];
      for (const verb of ["take", "claim"] as const) {
        await storeOn(here).put("moving", first, 60);
        let isWritten = false;
        /** Just before the record goes. */
        const writing =
          <Args extends unknown[]>(operation: (...args: Args) => Promise<boolean>) =>
          async (...args: Args) => {
            if (!isWritten) await storeOn(elsewhere).put("moving", second, 60);
            isWritten = true;
            return operation(...args);
          };
        const records = {
          ...here,
          delete: writing(here.delete),
          deleteIf: writing(here.deleteIf),
          replace: writing(here.replace),
        };
        assert.deepEqual(await storeOn(records)[verb]("moving"), second, verb);
        assert.equal(await storeOn(elsewhere).get("moving"), undefined);
        await here.delete("client:moving");
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
      for (const key of keys) assert.equal(await storeOn(here).secondsLeft(key), undefined, key);
      assert.notEqual(await storeOn(here).secondsLeft("heap-kept"), undefined);
    });

    test("only the first delete says that it deleted", async () => {
      await storeOn(here).put("gone", { count: 1 }, 60);
      const deleted = await Promise.all([storeOn(here).delete("gone"), storeOn(elsewhere).delete("gone")]);
      assert.deepEqual(deleted.sort(), [false, true]);
    });

    test("an index has its members, for every process, until they are removed", async () => {
      const life = (due: number) => ({ due, latest: 60 });
      for (const [member, due] of Object.entries({ c: 30, a: 10, b: 20 }))
        await (due === 20 ? elsewhere : here).indexes.add(["letters", "signs"], member, life(due));
      assert.deepEqual(
        await elsewhere.indexes.latest("letters", 2),
        ["c", "b"],
        "what is due last comes first",
      );
      assert.deepEqual(await membersOf(elsewhere, "letters"), ["a", "b", "c"]);
      await here.indexes.add(["letters"], "a", life(40));
      await elsewhere.indexes.move("letters", "b", 50);
      assert.deepEqual(await here.indexes.latest("letters", 9), ["b", "a", "c"]);
      await elsewhere.indexes.remove("letters", ["b", "a"]);
      await here.indexes.remove("letters", ["never there"]);
      await here.indexes.remove("letters", []);
      await here.indexes.move("letters", "b", 60);
      assert.deepEqual(await membersOf(here, "letters"), ["c"], "what is gone is not moved");
      assert.deepEqual(await membersOf(here, "signs"), ["a", "b", "c"]);
      assert.deepEqual(await membersOf(here, "nothing"), []);
      assert.deepEqual(await here.indexes.latest("nothing", 1), []);
    });

    test("adding to an index returns a few members that are due, and all of them in the end", async () => {
      const over = Array.from({ length: 30 }, (_, i) => `over ${i}`);
      for (const member of over) await here.indexes.add(["worn"], member, { due: 0, latest: 60 });
      await delay(5);
      const told = new Set<string>();
      for (let adds = 0; told.size < over.length; adds++) {
        assert.ok(adds < 20, "more are told of than are added");
        const [due = []] = await elsewhere.indexes.add(["worn"], `new ${adds}`, { due: 60, latest: 60 });
        assert.ok(due.length <= 16, "but a few");
        for (const member of due) told.add(member);
        await here.indexes.remove("worn", due);
      }
      assert.deepEqual([...told].sort(), over.sort());
    });

    test("members whose records are gone are removed, unless they may have been added a moment ago", async () => {
      for (const [member, due] of Object.entries({ over: 0, fresh: 50, lasting: 500 }))
        await here.indexes.add(["names"], member, { due, latest: 600 });
      await delay(5);
      await elsewhere.indexes.forget("names", ["over", "fresh", "lasting", "never there"], 60);
      await elsewhere.indexes.forget("names", [], 60);
      assert.deepEqual(await membersOf(here, "names"), ["fresh"]);
    });

    test("an index is read in portions, whatever is removed meanwhile", async () => {
      const all = Array.from({ length: 1_000 }, (_, i) => `${i}`);
      await Promise.all(all.map((member) => here.indexes.add(["many"], member, { due: 60, latest: 60 })));
      const read = new Set<string>();
      for await (const portion of elsewhere.indexes.members("many")) {
        assert.ok(portion.length < 600, `${portion.length} at once`);
        for (const member of portion) read.add(member);
        await here.indexes.remove("many", portion);
      }
      assert.equal(read.size, all.length);
      assert.deepEqual(await membersOf(here, "many"), []);
    });

    test("a record says how long it lives still", async () => {
      await storeOn(here).put("lives", { count: 1 }, 60);
      const left = (await storeOn(elsewhere).secondsLeft("lives")) ?? 0;
      assert.ok(left > 50 && left <= 60, `${left}`);
      assert.equal(await storeOn(here).secondsLeft("never put"), undefined);
    });

    test("all keys of a prefix are found, however many servers they are on", async () => {
      const keys = Array.from({ length: 100 }, (_, i) => `approval:${i}`);
      await Promise.all(keys.map((key) => here.put(key, "x", 60)));
      await here.put("approvals:other", "x", 60);
      const found = [];
      for await (const key of elsewhere.keys("approval:")) found.push(key);
      assert.deepEqual(found.sort(), keys.sort());
    });

    test("a change of a grant is published to every process, and no other change", async () => {
      const heard: string[] = [];
      const watch = elsewhere.watch("grant", (key) => heard.push(key));
      await eventually("it listens", () => watch.epoch !== undefined);
      await here.put("client:told", "x", 60);
      // On a cluster these are on several servers.
      const keys = Array.from({ length: 9 }, (_, i) => `grant:told-${i}`);
      for (const key of keys) await here.put(key, "1", 60);
      assert.equal(await here.replace("grant:told-0", "1", "2", 60), true);
      assert.equal(await here.delete("grant:told-0"), true);
      await eventually("it is told of all", () => new Set(heard).size >= keys.length);
      assert.deepEqual([...new Set(heard)].sort(), keys);
      watch.close();
    });

    test("the end of a lock is published to who waits for it", async () => {
      const heard: string[] = [];
      const watch = elsewhere.watch("lock", (key) => heard.push(key));
      await eventually("it listens", () => watch.epoch !== undefined);
      assert.equal(await here.replace("lock:told", undefined, "mine", 60), true);
      heard.length = 0;
      assert.equal(await here.deleteIf("lock:told", "another's"), false);
      assert.equal(await here.deleteIf("lock:told", "mine"), true);
      await eventually("it is told", () => heard.length > 0);
      assert.deepEqual([...new Set(heard)], ["lock:told"]);
      watch.close();
    });

    test("records are sealed anew under the first key while they are in use, and live as long as before", async () => {
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

    test("a budget is shared by processes, spent altogether or not at all, and never exceeded", async () => {
      const budget = { name: `test-${randomBytes(4).toString("hex")}`, points: 40, seconds: 60 };
      const [one, other] = [
        { key: "one", points: 5 },
        { key: "other", points: 40 },
      ];
      assert.equal(await here.budgets.spend(budget, [one, other], 5), undefined);
      const refused = await elsewhere.budgets.spend(budget, [other, one], 1);
      assert.equal(refused?.usedUp, "share", "what one spender may not have, none is charged for");
      assert.ok((refused?.seconds ?? 0) > 0 && (refused?.seconds ?? 0) <= 60);
      // 35 are left: a quarter is 8, and 5 of them are taken.
      assert.equal((await here.budgets.spend(budget, [other], 4))?.usedUp, "share");
      assert.equal(await here.budgets.spend(budget, [other], 3), undefined);
      const late = Array.from({ length: 200 }, (_, i) =>
        (i % 2 ? here : elsewhere).budgets.spend(budget, [{ key: `late ${i}`, points: 5 }], 1),
      );
      const spent = await Promise.all(late);
      assert.equal(spent.filter((each) => each === undefined).length, 32, "to the last point, one each");
      assert.equal(spent.find((each) => each !== undefined)?.usedUp, "budget");
    });

    test("of a budget that runs low, who has taken nothing yet may have one thing that is larger than a share", async () => {
      const budget = { name: `test-${randomBytes(4).toString("hex")}`, points: 20, seconds: 60 };
      const spend = (key: string, cost: number) => here.budgets.spend(budget, [{ key, points: 20 }], cost);
      assert.equal(await spend("large", 6), undefined, "a quarter is 5");
      assert.equal((await spend("large", 1))?.usedUp, "share");
      assert.equal(await spend("whole", 14), undefined, "all that is left");
      assert.equal((await spend("late", 1))?.usedUp, "budget");
    });

    test("a budget is whole again in the next window", async () => {
      const budget = { name: `test-${randomBytes(4).toString("hex")}`, points: 1, seconds: 1 };
      const one = [{ key: "one", points: 1 }];
      assert.equal(await here.budgets.spend(budget, one, 1), undefined);
      assert.equal((await here.budgets.spend(budget, one, 1))?.usedUp, "budget");
      await eventually(
        "the next window",
        async () => (await elsewhere.budgets.spend(budget, one, 1)) === undefined,
      );
    });

    test("what is stored cannot be read without the key", async () => {
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
      assert.equal(
        (await storeOn(here, [newKey]).secondsLeft("rotated")) !== undefined,
        true,
        "unreadable is not gone",
      );
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
