/** Records in this process's memory: for the demo, for tests, and for whoever says STORE=memory out loud. */
import { EventEmitter } from "node:events";
import { Keyv } from "keyv";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { rateLimits } from "./rate-limits.ts";
import { kindOf, type Records } from "./store.ts";

interface Entry {
  value: string;
  expires?: number | undefined;
}

const SWEEP_MILLISECONDS = 60_000;

export function memoryRecords(): Records {
  const entries = new Map<string, Entry>();
  const indexes = new Map<string, Map<string, number>>();
  const keyv = new Keyv<string>({ store: entries, useKeyPrefix: false, throwOnErrors: true });
  // Entries stay objects, so that compare-and-set can look at them without parsing.
  keyv.serialize = undefined;
  keyv.deserialize = undefined;
  const changes = new EventEmitter();
  changes.setMaxListeners(0);
  const tell = (key: string) => changes.emit(kindOf(key), key);
  const live = (key: string) => {
    const entry = entries.get(key);
    return entry?.expires !== undefined && entry.expires <= Date.now() ? undefined : entry;
  };
  const membersOf = (index: string) =>
    [...(indexes.get(index) ?? [])].sort(([, one], [, other]) => one - other).map(([member]) => member);
  // Keyv removes an expired entry only when it is read; abandoned ones would stay for ever.
  const sweep = setInterval(() => {
    for (const key of entries.keys()) if (live(key) === undefined) entries.delete(key);
  }, SWEEP_MILLISECONDS).unref();

  return {
    get: async (key) => (live(key) === undefined ? undefined : keyv.get(key)),
    async put(key, record, ttlSeconds) {
      await keyv.set(key, record, ttlSeconds * 1000);
      tell(key);
    },
    // Keyv has no compare-and-set; without an await in between, this one is atomic.
    replace: async (key, expected, record, ttlSeconds) => {
      if (live(key)?.value !== expected) return false;
      entries.set(key, { value: record, expires: Date.now() + ttlSeconds * 1000 });
      tell(key);
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
      if (removed) tell(key);
      return removed;
    },
    async deleteAll(keys) {
      for (const key of keys) entries.delete(key);
    },
    async deleteIf(key, expected) {
      const removed = live(key)?.value === expected && entries.delete(key);
      if (removed) tell(key);
      return removed;
    },
    watch(kind, changed) {
      changes.on(kind, changed);
      return { epoch: 0, close: () => void changes.off(kind, changed) };
    },
    indexes: {
      add: async (names, member, score) =>
        names.map((index) => {
          const scores = indexes.get(index) ?? new Map<string, number>();
          indexes.set(index, scores.set(member, score));
          return membersOf(index);
        }),
      remove: async (index, member) => {
        indexes.get(index)?.delete(member);
        if (indexes.get(index)?.size === 0) indexes.delete(index);
      },
      members: async (index) => membersOf(index),
    },
    rateLimits: rateLimits(
      ({ name, points, seconds }) => new RateLimiterMemory({ keyPrefix: name, points, duration: seconds }),
    ),
    ping: async () => {},
    close: async () => clearInterval(sweep),
  };
}
