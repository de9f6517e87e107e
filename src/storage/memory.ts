/** A key-value store in this process's memory: for the demo, for tests, and for STORE=memory. */
import { EventEmitter } from "node:events";
import { Keyv } from "keyv";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { memoryBudgets } from "./budgets.ts";
import { rateLimits } from "./rate-limits.ts";
import { type Indexes, type KeyValueStore, kindOf } from "./store.ts";

interface Entry {
  value: string;
  expires?: number | undefined;
}

const SWEEP_MILLISECONDS = 60_000;

export function memoryStore(): KeyValueStore {
  const entries = new Map<string, Entry>();
  const indexes = new Map<string, Index>();
  const keyv = new Keyv<string>({ store: entries, useKeyPrefix: false, throwOnErrors: true });
  // Entries stay objects, so that compare-and-set can look at them without parsing.
  keyv.serialize = undefined;
  keyv.deserialize = undefined;
  const changes = new EventEmitter();
  changes.setMaxListeners(0);
  const publish = (key: string) => changes.emit(kindOf(key), key);
  const live = (key: string) => {
    const entry = entries.get(key);
    return entry?.expires !== undefined && entry.expires <= Date.now() ? undefined : entry;
  };
  // Keyv removes an expired entry only when it is read; abandoned ones would stay for ever.
  const sweep = setInterval(() => {
    for (const key of entries.keys()) if (live(key) === undefined) entries.delete(key);
    for (const [name, { until }] of indexes) if (until <= Date.now()) indexes.delete(name);
  }, SWEEP_MILLISECONDS).unref();

  return {
    get: async (key) => (live(key) === undefined ? undefined : keyv.get(key)),
    async secondsLeft(key) {
      const entry = live(key);
      return entry && ((entry.expires ?? Infinity) - Date.now()) / 1000;
    },
    async put(key, record, ttlSeconds) {
      await keyv.set(key, record, ttlSeconds * 1000);
      publish(key);
    },
    // Keyv has no compare-and-set; without an await in between, this one is atomic.
    replace: async (key, expected, record, ttlSeconds) => {
      if (live(key)?.value !== expected) return false;
      entries.set(key, { value: record, expires: Date.now() + ttlSeconds * 1000 });
      publish(key);
      return true;
    },
    rewrite: async (key, expected, record) => {
      const entry = live(key);
      if (entry?.value !== expected) return false;
      entry.value = record;
      return true;
    },
    async *keys(prefix) {
      for (const key of [...entries.keys()]) if (key.startsWith(prefix) && live(key) !== undefined) yield key;
    },
    async delete(key) {
      const removed = live(key) !== undefined && (await keyv.delete(key));
      if (removed) publish(key);
      return removed;
    },
    async deleteAll(keys) {
      for (const key of keys) entries.delete(key);
    },
    async deleteIf(key, expected) {
      const removed = live(key)?.value === expected && entries.delete(key);
      if (removed) publish(key);
      return removed;
    },
    watch(kind, changed) {
      changes.on(kind, changed);
      return { epoch: 0, close: () => void changes.off(kind, changed) };
    },
    indexes: memoryIndexes(indexes),
    rateLimits: rateLimits(
      ({ name, points, seconds }) => new RateLimiterMemory({ keyPrefix: name, points, duration: seconds }),
    ),
    budgets: memoryBudgets(Date.now),
    ping: async () => {},
    checkReady: async () => {},
    close: async () => clearInterval(sweep),
  };
}

interface Index {
  /** When each member is due, in milliseconds since the epoch. */
  due: Map<string, number>;
  until: number;
}

const DUE_AT_ONCE = 8;
const MEMBERS_AT_ONCE = 250;

function memoryIndexes(indexes: Map<string, Index>): Indexes {
  async function remove(name: string, members: readonly string[]): Promise<void> {
    const due = indexes.get(name)?.due;
    for (const member of members) due?.delete(member);
    if (due?.size === 0) indexes.delete(name);
  }

  return {
    add: async (names, member, life) =>
      names.map((name) => {
        const index = indexes.get(name) ?? { due: new Map(), until: 0 };
        indexes.set(name, index);
        index.due.set(member, Date.now() + life.due * 1000);
        index.until = Math.max(index.until, Date.now() + life.latest * 1000);
        return someDue(index);
      }),
    async move(name, member, seconds) {
      const due = indexes.get(name)?.due;
      if (due?.has(member)) due.set(member, Date.now() + seconds * 1000);
    },
    remove,
    async forget(name, gone, freshSeconds) {
      const left = (member: string) => (indexes.get(name)?.due.get(member) ?? 0) - Date.now();
      await remove(
        name,
        gone.filter((member) => left(member) <= 0 || left(member) > freshSeconds * 1000),
      );
    },
    latest: async (name, count) =>
      [...(indexes.get(name)?.due ?? [])]
        .sort(([, one], [, other]) => other - one)
        .slice(0, count)
        .map(([member]) => member),
    async *members(name) {
      const all = [...(indexes.get(name)?.due.keys() ?? [])];
      for (let i = 0; i < all.length; i += MEMBERS_AT_ONCE) yield all.slice(i, i + MEMBERS_AT_ONCE);
    },
  };
}

/** Of the members that were looked at longest ago: there may be many. */
function someDue({ due }: Index): string[] {
  const found: string[] = [];
  let looks = Math.min(DUE_AT_ONCE, due.size);
  for (const [member, at] of due) {
    if (looks-- === 0) break;
    if (at <= Date.now()) found.push(member);
    due.delete(member);
    due.set(member, at);
  }
  return found;
}
