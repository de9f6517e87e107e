/**
 * What everybody shares in a window of time, given away so that nobody can take it from the others: a spender has at most
 * its own points, and at most a part of what is left. The less is left, the less one may take, so that who comes late,
 * and has taken nothing yet, is served until the very end.
 */

/** `points` for everybody in `seconds`. */
export interface Budget {
  name: string;
  points: number;
  seconds: number;
}

/** Somebody in whose name is spent, and how much they may have at most. */
export interface Spender {
  key: string;
  points: number;
}

/** Undefined if it was spent; otherwise whose points are used up, and the seconds until there are new ones. */
export type Spent = undefined | { usedUp: "share" | "budget"; seconds: number };

export interface Budgets {
  /**
   * Spends `cost` points in the name of every spender, or nothing at all: what is refused uses nothing up. In one step,
   * over all replicas: neither the budget nor a share is ever exceeded.
   */
  spend(budget: Budget, spenders: readonly Spender[], cost: number): Promise<Spent>;
}

/** The part of what is left that one spender may have. It can have a fifth of an untouched budget. */
const SHARE = 1 / 4;

/** How much of a record counts as one point. Most records are smaller. */
const BYTES_OF_POINT = 2_048;

/** What a record costs, in points, by the bytes that it takes at rest: encrypted, in base64. */
export function costOf(value: object): number {
  const sealed = (Buffer.byteLength(JSON.stringify(value)) + 28) * (4 / 3) + 11;
  return Math.ceil(sealed / BYTES_OF_POINT);
}

interface Window {
  /** Milliseconds since the epoch. */
  until: number;
  all: number;
  spent: Map<string, number>;
}

/** @param nowMs milliseconds since the epoch */
export function memoryBudgets(nowMs: () => number): Budgets {
  const windows = new Map<string, Window>();

  function windowOf({ name, seconds }: Budget): Window {
    const known = windows.get(name);
    if (known !== undefined && known.until > nowMs()) return known;
    const opened = { until: nowMs() + seconds * 1000, all: 0, spent: new Map() };
    windows.set(name, opened);
    return opened;
  }

  return {
    async spend(budget, spenders, cost) {
      const window = windowOf(budget);
      const left = budget.points - window.all;
      const seconds = Math.max(1, Math.ceil((window.until - nowMs()) / 1000));
      if (cost > left) return { usedUp: "budget", seconds };
      // Who has taken nothing yet may have one thing, however large, as long as it is left.
      const share = Math.max(cost, Math.floor(left * SHARE));
      const after = ({ key }: Spender) => (window.spent.get(key) ?? 0) + cost;
      if (spenders.some((spender) => after(spender) > Math.min(spender.points, share)))
        return { usedUp: "share", seconds };
      window.all += cost;
      for (const spender of spenders) window.spent.set(spender.key, after(spender));
      return undefined;
    },
  };
}

// One hash for a budget, so that it is on one server of a cluster. It has no more fields than points were spent, times
// the spenders of each, and ends with its window.
const SPEND = `local cost, left = tonumber(ARGV[1]), tonumber(ARGV[2])
  local function spent(key) return tonumber(redis.call('HGET', KEYS[1], key) or 0) end
  left = left - spent('all')
  local refused = cost > left and 1 or 0
  local share = math.max(cost, math.floor(left * ${SHARE}))
  for i = 4, #ARGV, 2 do
    if refused == 0 and spent(ARGV[i]) + cost > math.min(tonumber(ARGV[i + 1]), share) then refused = 2 end
  end
  if refused > 0 then return {refused, redis.call('PTTL', KEYS[1])} end
  redis.call('HINCRBY', KEYS[1], 'all', cost)
  for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], cost) end
  if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
  return {0, 0}`;

/** @param evaluate runs a script on one key, which it is given without the deployment's prefix */
export function redisBudgets(
  evaluate: (script: string, key: string, args: string[]) => Promise<unknown>,
): Budgets {
  return {
    async spend({ name, points, seconds }, spenders, cost) {
      const named = spenders.flatMap((spender) => [`of ${spender.key}`, String(spender.points)]);
      const args = [String(cost), String(points), String(seconds * 1000), ...named];
      const [refused, ttl] = (await evaluate(SPEND, `limit:${name}`, args)) as [number, number];
      if (refused === 0) return undefined;
      const wait = ttl > 0 ? Math.ceil(ttl / 1000) : seconds;
      return { usedUp: refused === 1 ? "budget" : "share", seconds: wait };
    },
  };
}
