/** Counting what somebody does, in windows of time: rate-limiter-flexible behind the one verb that the rooms need. */
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

/** `make` builds the limiter of a store, once for every limit. */
export function rateLimits(make: (limit: RateLimit) => RateLimiterAbstract): RateLimits {
  const limiters = new Map<string, RateLimiterAbstract>();
  return {
    async count(limit, key) {
      const limiter = limiters.get(limit.name) ?? make(limit);
      limiters.set(limit.name, limiter);
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
