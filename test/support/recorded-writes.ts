/** What is written to a store while something happens. */
import type { KeyValueStore } from "../../src/storage/store.ts";

/** @returns the keys that were written, in the order in which they were */
export async function writesDuring(records: KeyValueStore, work: () => Promise<void>): Promise<string[]> {
  const keys: string[] = [];
  const { put, replace } = records;
  records.put = (key, ...rest) => {
    keys.push(key);
    return put(key, ...rest);
  };
  records.replace = (key, ...rest) => {
    keys.push(key);
    return replace(key, ...rest);
  };
  try {
    await work();
  } finally {
    Object.assign(records, { put, replace });
  }
  return keys;
}
