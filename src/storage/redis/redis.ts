/** The key-value store in Redis: keyv for get, set and delete, scripts for what keyv lacks (compare-and-set). */
import KeyvRedis, { type RedisClientType } from "@keyv/redis";
import { Keyv } from "keyv";
import { RateLimiterRedis } from "rate-limiter-flexible";
import type { Log } from "../../runtime/log.ts";
import { redisBudgets } from "../budgets.ts";
import { type RateLimits, rateLimits } from "../rate-limits.ts";
import { isPublished, type KeyValueStore } from "../store.ts";
import { createRedisWatch } from "./change-feed.ts";
import { keepConnected } from "./connection.ts";
import { evictionWarning } from "./eviction.ts";
import type { RedisCommands, RedisLink } from "./link.ts";
import { refusalOf } from "./refusal.ts";
import { openLink, type RedisTopology } from "./topology.ts";
import { redisTrials, type Trial } from "./trial.ts";

export type RedisOptions = RedisTopology & {
  /** Comes before every key, so that several deployments can share one Redis. */
  keyPrefix: string;
  commandTimeoutMs: number;
  log: Log;
};

// The last two arguments are the channel and the message of the change feed: published in the same step as the change, so
// that no change goes unpublished.
const TELL = "if ARGV[#ARGV] ~= '' then redis.call('PUBLISH', ARGV[#ARGV - 1], ARGV[#ARGV]) end";
const PUT = `redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) ${TELL} return 1`;
const DELETE = `if redis.call('DEL', KEYS[1]) == 0 then return 0 end ${TELL} return 1`;
// Both act only if the value still is what the caller read.
const REPLACE = `if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) ${TELL} return 1 end return 0`;
const REWRITE = `if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL') return 1 end return 0`;
// Members are ordered by the millisecond at which they are due. Replicas of an earlier version, which read and write the
// same sets, order them by the second at which the grant was made, a number a thousand times smaller: such a member is due
// ten minutes later, when its record was written in any case.
/** A score below is in seconds (until the year 5138), one above in milliseconds (since March 1973). */
const LEAST_MILLISECONDS = 1e11;
const DUE_AFTER_SECONDS = 600;
const NOW = `local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)`;
const INDEX_ADD = `${NOW}
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
  local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', time[1] - ${DUE_AFTER_SECONDS}, 'LIMIT', 0, ARGV[4])
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ${LEAST_MILLISECONDS}, now, 'LIMIT', 0, ARGV[4])) do due[#due + 1] = each end
  return due`;
const INDEX_MOVE = `${NOW} return redis.call('ZADD', KEYS[1], 'XX', now + ARGV[2], ARGV[1])`;
const INDEX_FORGET = `${NOW}
  for i = 2, #ARGV do
    local due = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or 0)
    local fresh = due > time[1] - ${DUE_AFTER_SECONDS} and due < ${LEAST_MILLISECONDS} or due > now and due <= now + ARGV[1]
    if not fresh then redis.call('ZREM', KEYS[1], ARGV[i]) end
  end`;
const DELETE_IF = `if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1]) ${TELL} return 1 end return 0`;

// More than one sign-in adds, so that what is due grows fewer; few enough that nobody waits for it. Of each version.
const DUE_AT_ONCE = 8;
const MEMBERS_AT_ONCE = 250;
/** PTTL says so. */
const NO_SUCH_KEY = -2;

/** Connects in the background and reconnects for ever; until Redis answers, every call throws UnavailableError. */
export function redisStore(options: RedisOptions): KeyValueStore {
  const { keyPrefix, commandTimeoutMs, log } = options;
  const redisKeyOf = (key: string) => `${keyPrefix}:${key}`;
  const indexKeyOf = (index: string) => redisKeyOf(`index:${index}`);
  const probeKey = redisKeyOf("ping");
  const channel = redisKeyOf("changes");
  const warnOfEviction = evictionWarning(log);
  const meaning = { refusalOf: (error: unknown) => refusalOf(error, options), commandTimeoutMs, log };
  const trials = redisTrials({ ...meaning, key: redisKeyOf("trial"), channel });

  const { run, close } = keepConnected<Session>({
    async open(lose) {
      const link = await openLink(options, { ...options, probeKey, lose });
      try {
        const trial = await trials.on(link);
        const check = async () => {
          await link.check();
          await trial.repeat();
        };
        const { commands } = link;
        return {
          ...link,
          check,
          trial,
          keyv: keyvOn(commands, keyPrefix),
          limits: limitsOn(commands, keyPrefix),
        };
      } catch (error) {
        link.destroy();
        throw error;
      }
    },
    onOpen(link) {
      watching.restart();
      void warnOfEviction(link.servers());
    },
    onLost: () => watching.restart(),
    onRefused: ({ trial }) => trial.doubt(),
    ...meaning,
  });
  const watching = createRedisWatch({
    ...meaning,
    servers: () => run(async (link) => link.servers()),
    channel,
  });

  async function evaluate(script: string, key: string, ...args: string[]): Promise<boolean> {
    const keys = [redisKeyOf(key)];
    const told = [channel, isPublished(key) ? key : ""];
    const reply = await run(({ commands }) => commands.eval(script, { keys, arguments: [...args, ...told] }));
    return reply === 1;
  }

  async function putIfAbsent(key: string, record: string, ttlSeconds: number): Promise<boolean> {
    const options = { PX: ttlSeconds * 1000, NX: true } as const;
    return (await run(({ commands }) => commands.set(redisKeyOf(key), record, options))) !== null;
  }

  return {
    get: (key) => run(({ keyv }) => keyv.get(key)),
    async secondsLeft(key) {
      const left = await run(({ commands }) => commands.pTTL(redisKeyOf(key)));
      return left === NO_SUCH_KEY ? undefined : Math.max(0, left / 1000);
    },
    async put(key, record, ttlSeconds) {
      if (isPublished(key)) await evaluate(PUT, key, record, String(ttlSeconds * 1000));
      else await run(({ keyv }) => keyv.set(key, record, ttlSeconds * 1000));
    },
    replace: (key, expected, record, ttlSeconds) =>
      expected === undefined
        ? putIfAbsent(key, record, ttlSeconds)
        : evaluate(REPLACE, key, expected, record, String(ttlSeconds * 1000)),
    rewrite: (key, expected, record) => evaluate(REWRITE, key, expected, record),
    async *keys(prefix) {
      const start = redisKeyOf(prefix);
      // A prefix is ours and has no pattern characters, except perhaps in what the operator chose.
      const MATCH = `${start.replace(/[\\*?[\]]/g, "\\$&")}*`;
      for (const server of await run(async (link) => link.servers())) {
        let cursor = "0";
        do {
          const page = await run(() => server.scan(cursor, { MATCH, COUNT: 500 }));
          for (const key of page.keys) yield prefix + key.slice(start.length);
          cursor = page.cursor;
        } while (cursor !== "0");
      }
    },
    delete: (key) => (isPublished(key) ? evaluate(DELETE, key) : run(({ keyv }) => keyv.delete(key))),
    async deleteAll(keys) {
      if (keys.length === 0) return;
      const all = keys.map(redisKeyOf);
      // Each is somewhere else in a cluster; they travel together all the same.
      if ("clusterNodes" in options)
        await run(({ commands }) => Promise.all(all.map((key) => commands.del(key))));
      else await run(({ commands }) => commands.del(all));
    },
    deleteIf: (key, expected) => evaluate(DELETE_IF, key, expected),
    watch: watching.watch,
    indexes: {
      // Each is somewhere else in a cluster; on one server they travel together.
      add: (indexes, member, { due, latest }) =>
        Promise.all(
          indexes.map((index) =>
            run(async ({ commands }) => {
              const life = [due, latest].map((seconds) => String(Math.round(seconds * 1000)));
              const options = {
                keys: [indexKeyOf(index)],
                arguments: [member, ...life, String(DUE_AT_ONCE)],
              };
              return (await commands.eval(INDEX_ADD, options)) as string[];
            }),
          ),
        ),
      async move(index, member, seconds) {
        const options = {
          keys: [indexKeyOf(index)],
          arguments: [member, String(Math.round(seconds * 1000))],
        };
        await run(({ commands }) => commands.eval(INDEX_MOVE, options));
      },
      async remove(index, members) {
        if (members.length > 0) await run(({ commands }) => commands.zRem(indexKeyOf(index), [...members]));
      },
      async forget(index, gone, freshSeconds) {
        const options = { keys: [indexKeyOf(index)], arguments: [String(freshSeconds * 1000), ...gone] };
        if (gone.length > 0) await run(({ commands }) => commands.eval(INDEX_FORGET, options));
      },
      latest: (index, count) =>
        run(({ commands }) => commands.zRange(indexKeyOf(index), 0, count - 1, { REV: true })),
      async *members(index) {
        let cursor = "0";
        do {
          const from = cursor;
          const page = await run(({ commands }) =>
            commands.zScan(indexKeyOf(index), from, { COUNT: MEMBERS_AT_ONCE }),
          );
          yield page.members.map(({ value }) => value);
          cursor = page.cursor;
        } while (cursor !== "0");
      },
    },
    rateLimits: { count: (limit, key) => run(({ limits }) => limits.count(limit, key)) },
    budgets: redisBudgets((script, key, args) =>
      run(({ commands }) => commands.eval(script, { keys: [redisKeyOf(key)], arguments: args })),
    ),
    ping: async () => void (await run(({ commands }) => commands.get(probeKey))),
    async checkReady() {
      await run(async ({ commands, trial }) => {
        await commands.get(probeKey);
        if (trial.refused !== undefined) throw trial.refused.cause;
      });
    },
    async close() {
      watching.close();
      await close();
    },
  };
}

/** A link and what is built on it: they live as long as it does. */
interface Session extends RedisLink {
  trial: Trial;
  keyv: Keyv<string>;
  limits: RateLimits;
}

function keyvOn(commands: RedisCommands, keyPrefix: string): Keyv<string> {
  const adapter = new KeyvRedis<string>(commands as RedisClientType, {
    throwOnErrors: true,
    keyPrefixSeparator: ":",
  });
  const keyv = new Keyv<string>({
    store: adapter,
    namespace: keyPrefix,
    useKeyPrefix: false, // the adapter adds it
    throwOnErrors: true,
    // Redis itself expires records, and compare-and-set needs the text as it was written: no envelope.
    serialize: ({ value }) => String(value),
    deserialize: <Value>(text: string) => ({ value: text as Value }),
  });
  keyv.on("error", () => {}); // thrown to the caller as well
  return keyv;
}

function limitsOn(commands: RedisCommands, keyPrefix: string): RateLimits {
  return rateLimits(
    ({ name, points, seconds }) =>
      new RateLimiterRedis({
        storeClient: commands,
        useRedisPackage: true,
        keyPrefix: `${keyPrefix}:limit:${name}`,
        points,
        duration: seconds,
      }),
  );
}
