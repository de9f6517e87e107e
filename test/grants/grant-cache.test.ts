/** The cache of grants in use: which look-ups it saves, and that no ended grant stays in it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { subjectOf } from "../../src/access/principal.ts";
import type { Grant } from "../../src/grants/grant.ts";
import { type CachedGrant, createGrantCache, type Lookup } from "../../src/grants/grant-cache.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import type { ChangeFeed } from "../../src/storage/store.ts";
import { held } from "../support/held.ts";

/** A store that counts, fails and waits as told, and whose watch can lose its connection. */
function testServer(settings: { entries?: number; seconds?: number; outageSeconds?: number } = {}) {
  const stored = new Map<string, Grant>();
  const state = { reads: 0, now: 1_000, down: false, gate: undefined as ReturnType<typeof held> | undefined };
  const watch: { epoch: number | undefined; close(): void } = { epoch: 1, close() {} };
  let tell: (key: string) => void = () => {};
  const lookups: Lookup[] = [];
  const cache = createGrantCache({
    entries: 3,
    seconds: 10,
    outageSeconds: 60,
    ...settings,
    grants: {
      async find(id) {
        state.reads++;
        const found = stored.get(id);
        await state.gate?.wait();
        if (state.down) throw new UnavailableError("storage", { reason: "redis_unavailable" });
        return found;
      },
    },
    records: {
      watch(kind, changed): ChangeFeed {
        assert.equal(kind, "grant");
        tell = changed;
        return watch;
      },
    },
    now: () => state.now,
    onLookup: (lookup) => lookups.push(lookup),
  });
  const grant = (id: string, subject = "alice") =>
    ({
      id,
      principal: { kind: "user", subject },
      upstream: { accessToken: "secret" },
      replaced: [],
      familyKey: "secret",
    }) as never as Grant;
  return { stored, state, watch, cache, lookups, grant, tell: (id: string) => tell(`grant:${id}`) };
}

const reads = async ({ state, cache }: ReturnType<typeof testServer>, id = "g") => {
  const before = state.reads;
  const found = await cache.find(id, () => true);
  return { count: state.reads - before, found };
};

const nameIn = (found: CachedGrant | undefined) => found && subjectOf(found.principal);

const find = ({ cache }: ReturnType<typeof testServer>, id: string) => cache.find(id, () => true);

describe("the cache of grants", () => {
  test("a cached grant needs no store operation; the provider's tokens are not cached", async () => {
    const s = testServer();
    s.stored.set("g", s.grant("g"));
    const first = await reads(s);
    assert.equal(first.count, 1);
    assert.ok(!JSON.stringify(first.found).includes("secret"), "nor kept by whoever asked first");
    const { count, found } = await reads(s);
    assert.equal(count, 0);
    assert.equal(found, first.found, "what is derived of it is derived once");
    assert.equal(nameIn(found), "alice");
    assert.ok(!JSON.stringify(found).includes("secret"));
    assert.deepEqual(s.lookups, ["miss", "hit"]);
  });

  test("a grant that does not exist is looked up each time", async () => {
    const s = testServer();
    assert.equal((await reads(s)).found, undefined);
    assert.equal((await reads(s)).count, 1);
  });

  test("a grant that changed or ended is looked up again", async () => {
    const s = testServer();
    s.stored.set("g", s.grant("g"));
    await reads(s);
    s.stored.delete("g");
    s.tell("g");
    assert.deepEqual(await reads(s), { count: 1, found: undefined });
  });

  test("a record that was read before a published change does not replace the change", async () => {
    const s = testServer();
    s.stored.set("g", s.grant("g"));
    s.state.gate = held();
    const onItsWay = find(s, "g");
    s.stored.delete("g");
    s.tell("g");
    s.state.gate.letGo();
    await onItsWay;
    assert.equal((await reads(s)).found, undefined);
  });

  test("concurrent lookups of one grant are one store operation", async () => {
    const s = testServer();
    s.stored.set("g", s.grant("g"));
    await Promise.all(Array.from({ length: 10 }, () => find(s, "g")));
    assert.equal(s.state.reads, 1);
  });

  test("a cached grant without the token that is asked for is looked up again: its change may not have been published yet", async () => {
    const s = testServer();
    s.stored.set("g", s.grant("g", "alice"));
    await find(s, "g");
    s.stored.set("g", s.grant("g", "alice again")); // untold as yet
    const isNew = ({ principal }: CachedGrant) => subjectOf(principal) === "alice again";
    assert.equal(nameIn(await s.cache.find("g", isNew)), "alice again");
    s.state.down = true;
    s.stored.set("g", s.grant("g", "third"));
    const isThird = ({ principal }: CachedGrant) => subjectOf(principal) === "third";
    await assert.rejects(s.cache.find("g", isThird), UnavailableError); // never "unknown token"
  });

  test("an entry expires when its lifetime ends, also when a published change was lost", async () => {
    const s = testServer({ seconds: 10 });
    s.stored.set("g", s.grant("g"));
    await reads(s);
    s.state.now += 9;
    assert.equal((await reads(s)).count, 0);
    s.state.now += 1;
    assert.equal((await reads(s)).count, 1);
  });

  test("without a connection to the change feed nothing is cached, and entries from before are dropped", async () => {
    const s = testServer();
    s.stored.set("g", s.grant("g"));
    await reads(s);
    s.watch.epoch = undefined;
    assert.equal((await reads(s)).count, 1);
    s.stored.delete("g"); // untold
    s.watch.epoch = 2;
    assert.deepEqual(await reads(s), { count: 1, found: undefined });
  });

  test("in an outage of the store an entry is valid for as long as configured; everything else is an outage", async () => {
    const s = testServer({ seconds: 10, outageSeconds: 60 });
    s.stored.set("g", s.grant("g"));
    await reads(s);
    s.state.down = true;
    s.watch.epoch = undefined;
    s.state.now += 59;
    assert.equal(nameIn((await reads(s)).found), "alice");
    assert.equal(s.lookups.at(-1), "stale");
    await assert.rejects(find(s, "other"), UnavailableError);
    s.state.now += 1;
    await assert.rejects(find(s, "g"), UnavailableError);
  });

  test("a grant whose end was published is not valid in an outage", async () => {
    const s = testServer();
    s.stored.set("g", s.grant("g"));
    await reads(s);
    s.tell("g");
    s.state.down = true;
    await assert.rejects(find(s, "g"), UnavailableError);
  });

  test("the number of entries is bounded; the least recently used one is evicted", async () => {
    const s = testServer({ entries: 3 });
    for (const id of ["a", "b", "c"]) {
      s.stored.set(id, s.grant(id));
      await find(s, id);
    }
    await find(s, "a");
    s.stored.set("d", s.grant("d"));
    await find(s, "d");
    assert.equal((await reads(s, "a")).count, 0);
    assert.equal((await reads(s, "b")).count, 1);
  });

  test("the size of the entries is bounded in bytes, too", async () => {
    const s = testServer({ entries: 3 });
    const large = "x".repeat(5_000);
    for (const id of ["a", "b", "c"]) s.stored.set(id, s.grant(id, large));
    for (const id of ["a", "b", "c"]) await find(s, id);
    assert.equal((await reads(s, "c")).count, 0);
    assert.equal((await reads(s, "b")).count, 0);
    assert.equal((await reads(s, "a")).count, 1, "went when the others came");
    // A grant that alone is more than all may be is served, and not kept.
    s.stored.set("huge", s.grant("huge", "x".repeat(20_000)));
    assert.equal((await reads(s, "huge")).found?.id, "huge");
    assert.equal((await reads(s, "huge")).count, 1);
    // What went takes nothing up any more.
    for (const id of ["d", "e", "f"]) s.stored.set(id, s.grant(id));
    for (const id of ["d", "e", "f"]) await find(s, id);
    for (const id of ["d", "e", "f"]) assert.equal((await reads(s, id)).count, 0);
    s.tell("d");
    s.stored.set("d", s.grant("d", "x".repeat(10_000)));
    await find(s, "d");
    for (const id of ["d", "e", "f"]) assert.equal((await reads(s, id)).count, 0, id);
  });

  test("with 0 entries every request asks the store", async () => {
    const s = testServer({ entries: 0 });
    s.stored.set("g", s.grant("g"));
    await reads(s);
    assert.equal((await reads(s)).count, 1);
  });
});
