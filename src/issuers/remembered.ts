/** A bounded memory of what was found out about tokens, so that the next request with one costs no signature and no request. */

export interface Remembered<T> {
  get(key: string): T | undefined;
  /** @param seconds for how long it counts */
  put(key: string, value: T, seconds: number): void;
  forget(key: string): void;
}

export interface MemoryBounds<T> {
  /** Beyond either, what was used longest ago is forgotten. */
  readonly entries: number;
  readonly bytes: number;
  /** About how many bytes a value takes. */
  bytesOf(value: T): number;
}

/** The key and the entry of the map. */
const OVERHEAD_BYTES = 256;

/** @param now seconds, by a clock that nobody sets */
export function rememberTokens<T>(
  { entries: most, bytes: mostBytes, bytesOf }: MemoryBounds<T>,
  now: () => number,
): Remembered<T> {
  // In the order of their last use.
  const entries = new Map<string, { value: T; until: number; bytes: number }>();
  let total = 0;
  function forget(key: string): void {
    total -= entries.get(key)?.bytes ?? 0;
    entries.delete(key);
  }
  return {
    forget,
    get(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      if (entry.until <= now()) {
        forget(key);
        return undefined;
      }
      entries.delete(key);
      entries.set(key, entry);
      return entry.value;
    },
    put(key, value, seconds) {
      if (seconds <= 0) return;
      forget(key);
      const bytes = OVERHEAD_BYTES + bytesOf(value);
      entries.set(key, { value, until: now() + seconds, bytes });
      total += bytes;
      for (const oldest of entries.keys()) {
        if (entries.size <= most && total <= mostBytes) return;
        forget(oldest);
      }
    },
  };
}
