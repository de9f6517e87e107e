/**
 * The indexes of grants: ended grants leave them, live ones never do, and replicas of the released version, which read and
 * write the same sets, lose nothing and see everything.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { storedUsers } from "../../src/access/stored-users.ts";
import { loadConfig } from "../../src/config/config.ts";
import { codeOf, type Grant } from "../../src/grants/grant.ts";
import { createGrants, type Grants } from "../../src/grants/grants.ts";
import { createLastUse } from "../../src/grants/last-use.ts";
import { readToken } from "../../src/grants/opaque-token.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { sha256 } from "../../src/oauth/sha256.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { untilReady } from "../../src/storage/until-ready.ts";
import { redisForTests } from "../support/redis.ts";
import { tellRedis } from "../support/redis-admin.ts";
import { SECRET_KEY } from "../support/test-server.ts";

const ISSUER = "http://localhost:3001";
const users = storedUsers([{ issuer: ISSUER }]);

const redis = await redisForTests();
after(() => redis.stop());

describe("the index of grants", redis, () => {
  const log = pino({ level: "silent" });
  const keyPrefix = `test-${randomBytes(4).toString("hex")}`;
  const {
    lifetimes: usual,
    grantLimits: limits,
    store,
  } = loadConfig({
    BASE_URL: "http://localhost:3000",
    OIDC_ISSUER: ISSUER,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "secret",
    REDIS_URL: redis.url ?? "redis://localhost",
    REDIS_KEY_PREFIX: keyPrefix,
    SECRET_KEY,
  });
  const CODE_SECONDS = 2;
  const lifetimes = { ...usual, authorizationCodeSeconds: CODE_SECONDS };
  assert.equal(store.kind, "redis");
  const records = redisStore({ ...(store as Extract<typeof store, { kind: "redis" }>), log });
  before(() => untilReady(records));
  after(() => records.close());

  interface Replica {
    secretKey?: string;
    over?: KeyValueStore;
    perUser?: number;
  }

  function replica({
    secretKey = SECRET_KEY,
    over = records,
    perUser = limits.perUser,
  }: Replica = {}): Grants {
    const sealer = createSealer([secretKey]);
    const store = encryptedStore({ records: over, sealer, log, kind: "grant", ...grantFormat(users) });
    const runtime = { now: systemClock, randomBytes, log };
    const lastUse = createLastUse({ ...runtime, records: over, grants: store });
    return createGrants({
      ...runtime,
      store,
      records: over,
      indexes: over.indexes,
      users,
      lastUse,
      lifetimes,
      limits: { ...limits, perUser },
      revocations: { revoke: async () => {} },
      audit: () => {},
    });
  }

  interface Whose {
    subject: string;
    clientId?: string;
    sid?: string;
  }

  /** As a finished login does. @returns the id */
  async function open(grants: Grants, { subject, clientId = "client", sid }: Whose): Promise<string> {
    const opened = await grants.open(
      {
        principal: { kind: "user", issuer: ISSUER, subject, claims: sid === undefined ? {} : { sid } },
        client: { id: clientId, redirectUri: "http://127.0.0.1/callback" },
        codeChallenge: "x",
        resource: "http://localhost:3000/mcp",
        scopes: [],
        allowed: [],
      },
      {
        renewable: [],
        tokens: {
          accessToken: "x",
          obtainedAt: systemClock(),
          expiresAt: systemClock() + 600,
          refreshToken: "y",
        },
      },
      async () => undefined,
    );
    assert.ok("code" in opened);
    return readToken("code", opened.code)?.grantId ?? "";
  }

  /** As any replica does: the record lives longer, and no index hears of it. */
  async function redeem(grants: Grants, id: string): Promise<void> {
    await grants.update(id, (grant) => {
      assert.ok(grant !== undefined, id);
      const code = codeOf(grant) ?? assert.fail("no code");
      const origin = { kind: "authorization_code", code: { ...code, redeemed: true } } as const;
      return { write: { ...grant, origin }, result: undefined };
    });
  }

  const tell = (...command: string[]) => tellRedis(redis.url ?? "", ...command);
  const keyOf = (kind: string, name: string) => `${keyPrefix}:index:${kind}:${sha256(name)}`;
  const members = async (kind: string, name: string) =>
    ((await tell("ZRANGE", keyOf(kind, name), "0", "-1")) as string[]).sort();
  /** Seconds are whole ones. */
  const codesAreOver = () => delay(CODE_SECONDS * 1000 + 1_100);
  async function idsOf(portions: AsyncIterable<Grant[]>): Promise<string[]> {
    const ids = new Set<string>();
    for await (const portion of portions) for (const { id } of portion) ids.add(id);
    return [...ids].sort();
  }

  /** What the landed version does at a sign-in, command for command. @returns what it finds in the index */
  async function openInEarlierVersion(
    kind: string,
    name: string,
    id: string,
    createdAt: number,
  ): Promise<string[]> {
    const script = `redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
  return redis.call('ZRANGE', KEYS[1], 0, -1)`;
    const life = String(lifetimes.grantSeconds * 1000);
    return (await tell("EVAL", script, "1", keyOf(kind, name), String(createdAt), id, life)) as string[];
  }

  test("a replica that cannot decrypt a grant leaves it in its user's index", async () => {
    const [theirs, other] = [replica(), replica({ secretKey: "another-secret-key-of-more-than-32-bytes" })];
    const id = await open(theirs, { subject: "alice" });
    await redeem(theirs, id);
    await codesAreOver();
    assert.equal((await other.ofUser({ issuer: ISSUER, subject: "alice" })).length, 0);
    await open(other, { subject: "alice" });
    const [grant] = await theirs.ofUser({ issuer: ISSUER, subject: "alice" });
    assert.equal(grant?.id, id, "it could not be ended any more");
    await records.delete(`grant:${id}`);
    assert.equal((await theirs.ofUser({ issuer: ISSUER, subject: "alice" })).length, 0);
  });

  test("grants whose code was not redeemed are removed from every index by later sign-ins of anybody", async () => {
    const grants = replica();
    for (let i = 0; i < 30; i++)
      await open(grants, { subject: `idle ${i}`, clientId: "popular", sid: `sid ${i}` });
    await codesAreOver();
    for (let i = 0; i < 4; i++) await open(grants, { subject: "next", clientId: "popular" });
    assert.equal((await members("client", "popular")).length, 4);
    for (let i = 0; i < 30; i++) assert.deepEqual(await members("session", `sid ${i}`), []);
    assert.equal(await tell("EXISTS", keyOf("session", "sid 0"), keyOf("subject", "idle 0")), 0);
  });

  test("grants of a process that died are removed from the index by the sign-ins of another process", async () => {
    const died = replica();
    for (let i = 0; i < 30; i++) await open(died, { subject: "somebody", clientId: "left" });
    await codesAreOver();
    const grants = replica();
    for (let i = 0; i < 5; i++) await open(grants, { subject: `other ${i}`, clientId: "left" });
    assert.equal((await members("client", "left")).length, 5);
  });

  test("a grant whose code was redeemed stays in its indexes for as long as it lives", async () => {
    const grants = replica();
    const id = await open(grants, { subject: "bob", clientId: "kept", sid: "kept" });
    await redeem(grants, id);
    await codesAreOver();
    for (let i = 0; i < 3; i++) await open(grants, { subject: "somebody else", clientId: "kept" });
    for (const [kind, name] of [
      ["client", "kept"],
      ["subject", "bob"],
      ["session", "kept"],
    ] as const) {
      const left = (Number(await tell("ZSCORE", keyOf(kind, name), id)) - Date.now()) / 1000;
      assert.ok(Math.abs(left - lifetimes.grantIdleSeconds) < 60, `${kind}: due in ${left} s`);
      assert.ok(Number(await tell("TTL", keyOf(kind, name))) >= left, "the index lives longer");
    }
  });

  test("listing grants while one is being written removes nothing from the index", async () => {
    const grants = replica();
    const slow: KeyValueStore = {
      ...records,
      async put(...put) {
        assert.equal((await grants.ofUser({ issuer: ISSUER, subject: "carol" })).length, 0);
        await records.put(...put);
      },
    };
    const id = await open(replica({ over: slow }), { subject: "carol" });
    assert.deepEqual(await members("subject", "carol"), [id]);
  });

  test("above the limit the oldest grants end, in portions when the limit was lowered", async () => {
    const grants = replica();
    for (let i = 0; i < 30; i++)
      await redeem(grants, await open(replica({ perUser: 100 }), { subject: "dave", clientId: `${i}` }));
    for (let i = 0; i < 3; i++) await open(replica({ perUser: 3 }), { subject: "dave" });
    assert.equal((await grants.ofUser({ issuer: ISSUER, subject: "dave" })).length, 3);
  });

  test("the limit of sign-ins sees past tokens for assertions, which it leaves alone", async () => {
    const grants = replica({ perUser: 3 });
    const gina = { issuer: ISSUER, subject: "gina" };
    for (let i = 0; i < 3 + 40; i++)
      await grants.issue({
        principal: { kind: "user", ...gina, claims: { sub: "gina" } },
        client: { id: "agent" },
        origin: { kind: "jwt_bearer", profile: "id-jag", issuer: ISSUER },
        resource: "http://localhost:3000/mcp",
        scopes: [],
        permitted: [],
      });
    for (let i = 0; i < 5; i++) await open(grants, { subject: "gina", clientId: `${i}` });
    const theirs = await grants.ofUser(gina);
    assert.equal(theirs.filter((grant) => codeOf(grant) !== undefined).length, 3);
    assert.equal(theirs.length, 46);
  });

  test("replicas of 0.1.0 find and end grants of this version", async () => {
    const grants = replica();
    const id = await open(grants, { subject: "erin", clientId: "both", sid: "both" });
    await redeem(grants, id);
    const found = await openInEarlierVersion("client", "both", "theirs", systemClock());
    assert.deepEqual(found.sort(), [id, "theirs"].sort());
    for (const kind of ["client", "session"]) assert.ok((await members(kind, "both")).includes(id));
    await tell("DEL", `${keyPrefix}:grant:${id}`);
    await tell("ZREM", keyOf("client", "both"), id);
    assert.deepEqual(await idsOf(grants.ofClient("both")), []);
  });

  test("this version keeps, finds and ends grants of 0.1.0, and removes their entries when they are over", async () => {
    const grants = replica();
    const long = systemClock() - 86_400;
    // Alive, and indexed as the landed version does it.
    const id = await open(grants, { subject: "frank", clientId: "old" });
    await redeem(grants, id);
    await openInEarlierVersion("client", "old", id, long);
    for (let i = 0; i < 40; i++) await openInEarlierVersion("client", "old", `over ${i}`, long - i);
    // Between index and record.
    await openInEarlierVersion("client", "old", "fresh", systemClock());
    for (let i = 0; i < 12; i++) await open(grants, { subject: `new ${i}`, clientId: "old" });
    const left = await members("client", "old");
    assert.deepEqual(
      left.filter((member) => member.startsWith("over")),
      [],
    );
    assert.ok(left.includes(id) && left.includes("fresh"), left.join());
    assert.ok((await idsOf(grants.ofClient("old"))).includes(id));
    assert.ok((await members("client", "old")).includes("fresh"), "a list takes nothing fresh either");
  });
});
