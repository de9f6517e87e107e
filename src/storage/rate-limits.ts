/** Rate limits, counted in windows of time: rate-limiter-flexible behind the one operation that is needed. */
import { type RateLimiterAbstract, RateLimiterRes } from "rate-limiter-flexible";

/** At most `points` in `seconds`, counted per key. */
export interface RateLimit {
  name: string;
  points: number;
  seconds: number;
}

export interface RateLimits {
  /** Counts one for `key`. Resolves to the seconds to wait if the limit is used up, otherwise to 0. */
  count(limit: RateLimit, key: string): Promise<number>;
}

/** Which part of a limit this process gives away without asking the others. */
const LOCAL_SHARE = 1 / 20;
/** Beyond this many at once, every one is counted together with the other replicas. */
const MAX_LOCAL_KEYS = 10_000;

/**
 * Callers far below a limit are counted in this process alone, so that most requests need no store for it. A limit may
 * therefore be exceeded by a twentieth for each replica; one below twenty never is. What must never be exceeded, because
 * it bounds what is stored, is a budget (budgets.ts).
 * @param now seconds since some moment, by a clock that nobody sets
 */
export function sparingRateLimits(shared: RateLimits, now: () => number): RateLimits {
  const windows = new Map<string, { until: number; counts: Map<string, number> }>();
  return {
    async count(limit, key) {
      let window = windows.get(limit.name);
      if (window === undefined || window.until <= now()) {
        window = { until: now() + limit.seconds, counts: new Map() };
        windows.set(limit.name, window);
      }
      const { counts } = window;
      const counted = (counts.get(key) ?? 0) + 1;
      const isKept = counts.has(key) || counts.size < MAX_LOCAL_KEYS;
      if (!isKept || counted > Math.floor(limit.points * LOCAL_SHARE)) return shared.count(limit, key);
      counts.set(key, counted);
      return 0;
    },
  };
}

/** `make` builds the limiter of a store, once for every limit. */
export function rateLimits(make: (limit: RateLimit) => RateLimiterAbstract): RateLimits {
  const limiters = new Map<string, RateLimiterAbstract>();
  return {
    async count(limit, key) {
      // A larger network has more points of the same limit.
      const name = `${limit.name} ${limit.points}`;
      const limiter = limiters.get(name) ?? make(limit);
      limiters.set(name, limiter);
      try {
        await limiter.consume(key);
        return 0;
      } catch (rejection) {
        if (rejection instanceof RateLimiterRes) return Math.max(1, Math.ceil(rejection.msBeforeNext / 1000));
        throw rejection;
      }
    },
  };
}
