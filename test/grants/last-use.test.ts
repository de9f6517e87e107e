/** When a grant was last used: nothing within a request, little in the store, and gone with the grant. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";
import { pino } from "pino";
import { storedUsers } from "../../src/access/stored-users.ts";
import { createGrants } from "../../src/grants/grants.ts";
import { createLastUse } from "../../src/grants/last-use.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { observedRecords } from "../../src/telemetry/observed-records.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { tellRedis, until } from "../support/redis-admin.ts";
import { SECRET_KEY } from "../support/test-server.ts";

const DAY = 86_400;
const alice = { issuer: "https://idp.example", subject: "alice" };
const users = storedUsers([{ issuer: alice.issuer }]);

/** One replica on a store: its grants, what it notes of their use, and every operation that the store is asked for. */
function replica(records: KeyValueStore, clock: { now: number }, flushSeconds = 1_000) {
  const operations: string[] = [];
  const observed = observedRecords(records, ({ name }, work) => {
    operations.push(name);
    return work();
  });
  const runtime = { now: () => clock.now, randomBytes, log: pino({ level: "silent" }) };
  const sealer = createSealer([SECRET_KEY]);
  const storing = { records: observed, sealer, log: runtime.log };
  const store = encryptedStore({ ...storing, kind: "grant", ...grantFormat(users) });
  const lastUse = createLastUse({ ...runtime, records: observed, grants: store, flushSeconds });
  const grants = createGrants({
    ...runtime,
    store,
    records: observed,
    indexes: observed.indexes,
    users,
    lastUse,
    lifetimes: { grantSeconds: 90 * DAY, grantIdleSeconds: 30 * DAY, authorizationCodeSeconds: 60 } as never,
    limits: { perUser: 1_000, perUserAndClient: 1_000 },
    revocations: { revoke: async () => {} },
    audit: () => {},
  });
  async function open(): Promise<string> {
    const request = {
      principal: { kind: "user" as const, ...alice, claims: {} },
      client: { id: "client", redirectUri: "https://client.example/" },
      codeChallenge: "c",
      resource: "r",
      scopes: [],
      allowed: [],
    };
    const tokens = { accessToken: "a", refreshToken: "r", obtainedAt: clock.now };
    await grants.open(request, { renewable: [], tokens }, async () => undefined);
    return (await grants.ofUser(alice)).at(-1)?.id ?? "";
  }
  const usedAt = async (id: string) => (await lastUse.of([id])).get(id);
  return { records, lastUse, grants, operations, open, usedAt };
}

describe("the last use of a grant", { skip: skipWithoutRedisServer() }, async () => {
  const redis = await startRedis();
  const stores: KeyValueStore[] = [];
  after(async () => {
    await Promise.all(stores.map((records) => records.close()));
    await redis.stop();
  });

  async function connected({ url }: TestRedis, keyPrefix: string): Promise<KeyValueStore> {
    const log = pino({ level: "silent" });
    const records = redisStore({ kind: "redis", url, keyPrefix, commandTimeoutMs: 500, log } as never);
    stores.push(records);
    await until("Redis is connected", async () => (await records.ping()) === undefined);
    return records;
  }

  async function fresh(): Promise<KeyValueStore> {
    const records = memoryStore();
    stores.push(records);
    return records;
  }

  for (const [name, open] of [
    ["memory", fresh],
    ["Redis", () => connected(redis, `last-use-${randomBytes(4).toString("hex")}`)],
  ] as const) {
    test(`${name}: a thousand uses ask the store for nothing, and are two operations in the end`, async () => {
      const clock = { now: 1_000_000 };
      const { lastUse, operations, usedAt, ...one } = replica(await open(), clock);
      const id = await one.open();
      lastUse.note(id);
      await lastUse.flush();
      operations.length = 0;
      for (let i = 0; i < 1_000; i++) {
        clock.now++;
        lastUse.note(id);
      }
      assert.deepEqual(operations, []);
      await lastUse.flush();
      assert.deepEqual(operations, ["get", "rewrite"]);
      assert.equal(await usedAt(id), 1_001_000);
      operations.length = 0;
      await lastUse.flush();
      assert.deepEqual(operations, [], "nothing new");
    });

    test(`${name}: of two replicas the later use counts, whoever writes last`, async () => {
      const clock = { now: 2_000_000 };
      const records = await open();
      const [one, other] = [replica(records, clock), replica(records, clock)];
      const id = await one.open();
      other.lastUse.note(id);
      clock.now += 500;
      one.lastUse.note(id);
      assert.equal(await one.usedAt(id), 2_000_500, "what is noted here counts at once");
      assert.equal(await other.usedAt(id), 2_000_000);
      await one.lastUse.flush();
      await other.lastUse.flush();
      assert.equal(await other.usedAt(id), 2_000_500);
    });

    test(`${name}: it ends with its grant, and a late write does not bring it back`, async () => {
      const clock = { now: 3_000_000 };
      const records = await open();
      const [one, other] = [replica(records, clock), replica(records, clock)];
      const id = await one.open();
      for (const { lastUse } of [one, other]) lastUse.note(id);
      await one.lastUse.flush();
      assert.ok(await records.get(`used:${id}`));
      assert.ok(await one.grants.end(id, "ended_by_user"));
      assert.equal(await records.get(`used:${id}`), undefined);
      await other.lastUse.flush();
      one.lastUse.note(id);
      await one.lastUse.flush();
      assert.equal(await records.get(`used:${id}`), undefined);
    });

    test(`${name}: it is written after a while without a shutdown`, async () => {
      const clock = { now: 4_000_000 };
      const { lastUse, records, ...one } = replica(await open(), clock, 0.02);
      const id = await one.open();
      lastUse.note(id);
      await until("written", async () => (await records.get(`used:${id}`)) === "4000000", { everyMs: 10 });
    });
  }

  test("it is stored for exactly the longest lifetime of its grant", async () => {
    const clock = { now: 5_000_000 };
    const records = await connected(redis, "ttl");
    const { lastUse, ...one } = replica(records, clock);
    const id = await one.open();
    clock.now += 20 * DAY;
    lastUse.note(id);
    await lastUse.flush();
    clock.now += 60;
    lastUse.note(id);
    await lastUse.flush();
    const days = Number(await tellRedis(redis.url, "TTL", `ttl:used:${id}`)) / DAY;
    assert.ok(days > 69.9 && days <= 70, `${days} days`);
  });

  test("what could not be written in an outage of the store is written after it", async () => {
    const own = await startRedis();
    try {
      const clock = { now: 6_000_000 };
      const records = await connected(own, "away");
      const { lastUse, usedAt, ...one } = replica(records, clock);
      const ids = [await one.open(), await one.open(), await one.open()];
      await tellRedis(own.url, "CLIENT", "PAUSE", "1500", "ALL");
      for (const id of ids) lastUse.note(id);
      await lastUse.flush();
      await until("Redis is back", async () => (await records.ping()) === undefined);
      await lastUse.flush();
      for (const id of ids) {
        assert.equal(await records.get(`used:${id}`), "6000000");
        assert.equal(await usedAt(id), 6_000_000);
      }
    } finally {
      await own.stop();
    }
  });
});
