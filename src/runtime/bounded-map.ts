/** What is kept in memory, within bounds of number and bytes. The least recently used entry is dropped first. */

export interface BoundedMap<Value> {
  get(key: string): Value | undefined;
  /** Makes it the most recently used. */
  set(key: string, value: Value): void;
  delete(key: string): void;
  clear(): void;
}

/** @param bytesOf what one of them takes, about */
export function createBoundedMap<Value>(
  max: { entries: number; bytes: number },
  bytesOf: (value: Value) => number,
): BoundedMap<Value> {
  // A Map remembers the order.
  const entries = new Map<string, Value>();
  let bytes = 0;

  function remove(key: string): void {
    const value = entries.get(key);
    if (value !== undefined) bytes -= bytesOf(value);
    entries.delete(key);
  }

  return {
    get: (key) => entries.get(key),
    set(key, value) {
      remove(key);
      entries.set(key, value);
      bytes += bytesOf(value);
      for (const oldest of entries.keys()) {
        if (entries.size <= max.entries && bytes <= max.bytes) return;
        remove(oldest);
      }
    },
    delete: remove,
    clear() {
      entries.clear();
      bytes = 0;
    },
  };
}
