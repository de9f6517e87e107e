/** A bounded memory of what was found out about tokens, so that the next request with one costs no signature and no request. */
import { sha256 } from "../oauth/sha256.ts";

export interface Remembered<T> {
  get(token: string): T | undefined;
  /** @param seconds for how long it counts */
  put(token: string, value: T, seconds: number): void;
}

/**
 * @param limit beyond it, what was used longest ago is forgotten
 * @param now seconds, by a clock that nobody sets
 */
export function rememberTokens<T>(limit: number, now: () => number): Remembered<T> {
  // In the order of their last use.
  const entries = new Map<string, { value: T; until: number }>();
  return {
    get(token) {
      const key = sha256(token);
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      entries.delete(key);
      if (entry.until <= now()) return undefined;
      entries.set(key, entry);
      return entry.value;
    },
    put(token, value, seconds) {
      if (seconds <= 0) return;
      const key = sha256(token);
      entries.delete(key);
      entries.set(key, { value, until: now() + seconds });
      for (const oldest of entries.keys()) {
        if (entries.size <= limit) return;
        entries.delete(oldest);
      }
    },
  };
}
