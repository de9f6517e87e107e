/** The store, with an eye on how long it takes. */
import type { Records } from "../storage/store.ts";
import type { Observe } from "./operation.ts";

export function observedRecords(records: Records, observe: Observe): Records {
  const watched = <T>(name: string, work: () => Promise<T>) => observe({ of: "store", name }, work);
  const { indexes, rateLimits } = records;
  return {
    get: (key) => watched("get", () => records.get(key)),
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
      add: (names, member, score, ttl) => watched("index_add", () => indexes.add(names, member, score, ttl)),
      remove: (index, member) => watched("index_remove", () => indexes.remove(index, member)),
      members: (index) => watched("index_members", () => indexes.members(index)),
    },
    rateLimits: { count: (limit, key) => watched("rate_limit", () => rateLimits.count(limit, key)) },
    ping: () => watched("ping", () => records.ping()),
    close: () => records.close(),
  };
}
