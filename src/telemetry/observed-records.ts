/** Decorates the key-value store with metrics of duration. */
import type { KeyValueStore } from "../storage/store.ts";
import type { Observe } from "./operation.ts";

export function observedRecords(records: KeyValueStore, observe: Observe): KeyValueStore {
  const watched = <T>(name: string, work: () => Promise<T>) => observe({ of: "store", name }, work);
  const { indexes, rateLimits, budgets } = records;
  return {
    get: (key) => watched("get", () => records.get(key)),
    secondsLeft: (key) => watched("seconds_left", () => records.secondsLeft(key)),
    put: (key, record, ttl) => watched("put", () => records.put(key, record, ttl)),
    replace: (key, expected, record, ttl) =>
      watched("replace", () => records.replace(key, expected, record, ttl)),
    rewrite: (key, expected, record) => watched("rewrite", () => records.rewrite(key, expected, record)),
    keys: (prefix) => records.keys(prefix),
    delete: (key) => watched("delete", () => records.delete(key)),
    deleteAll: (keys) => watched("delete_all", () => records.deleteAll(keys)),
    deleteIf: (key, expected) => watched("delete_if", () => records.deleteIf(key, expected)),
    watch: (kind, changed) => records.watch(kind, changed),
    indexes: {
      add: (names, member, life) => watched("index_add", () => indexes.add(names, member, life)),
      move: (index, member, seconds) => watched("index_move", () => indexes.move(index, member, seconds)),
      remove: (index, members) => watched("index_remove", () => indexes.remove(index, members)),
      forget: (index, gone, freshSeconds) =>
        watched("index_forget", () => indexes.forget(index, gone, freshSeconds)),
      latest: (index, count) => watched("index_latest", () => indexes.latest(index, count)),
      members: (index) => indexes.members(index),
    },
    rateLimits: { count: (limit, key) => watched("rate_limit", () => rateLimits.count(limit, key)) },
    budgets: {
      spend: (budget, spenders, cost) => watched("spend", () => budgets.spend(budget, spenders, cost)),
    },
    ping: () => watched("ping", () => records.ping()),
    checkReady: () => watched("ping", () => records.checkReady()),
    close: () => records.close(),
  };
}
