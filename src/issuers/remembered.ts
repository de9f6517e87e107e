/** A bounded memory of what was found out about tokens, so that the next request with one costs no signature and no request. */
import { createBoundedMap } from "../runtime/bounded-map.ts";

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
export function rememberTokens<T>({ bytesOf, ...max }: MemoryBounds<T>, now: () => number): Remembered<T> {
  // Measured once, because a use puts it back.
  const entries = createBoundedMap<{ value: T; until: number; bytes: number }>(max, ({ bytes }) => bytes);
  return {
    forget: entries.delete,
    get(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      if (entry.until <= now()) {
        entries.delete(key);
        return undefined;
      }
      entries.set(key, entry);
      return entry.value;
    },
    put(key, value, seconds) {
      if (seconds > 0)
        entries.set(key, { value, until: now() + seconds, bytes: OVERHEAD_BYTES + bytesOf(value) });
    },
  };
}
