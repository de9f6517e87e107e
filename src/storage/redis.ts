/** Records in Redis: keyv for the plain verbs, the same client for the one that keyv lacks (compare-and-set). */
import KeyvRedis, { type RedisClientType } from "@keyv/redis";
import { Keyv } from "keyv";
import type { Logger } from "pino";
import { RateLimiterRedis } from "rate-limiter-flexible";
import { causes, UnavailableError } from "../oauth/errors.ts";
import { rateLimits } from "./rate-limits.ts";
import { createRedisWatch, type Subscriber } from "./redis-watch.ts";
import { isTold, type Records } from "./store.ts";

export interface RedisOptions {
  /** `redis://` or `rediss://`. */
  url: string;
  /** Comes before every key, so that several deployments can share one Redis. */
  keyPrefix: string;
  commandTimeoutMs: number;
  log: Logger;
}

// The last two arguments are the channel and the message that tell other replicas; in the same step as the change, so
// that none is ever made without being told.
const TELL = "if ARGV[#ARGV] ~= '' then redis.call('PUBLISH', ARGV[#ARGV - 1], ARGV[#ARGV]) end";
const PUT = `redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) ${TELL} return 1`;
const DELETE = `if redis.call('DEL', KEYS[1]) == 0 then return 0 end ${TELL} return 1`;
// Both act only if the value still is what the caller read.
const REPLACE = `if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) ${TELL} return 1 end return 0`;
const REWRITE = `if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL') return 1 end return 0`;
// An index lives as long as its longest-lived member may.
const INDEX_ADD = `redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end return 1`;
const DELETE_IF =
  "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

const MAX_QUEUED_COMMANDS = 10_000;
const MAX_RECONNECT_DELAY_MS = 1_000;

/** Connects in the background and reconnects for ever; until Redis answers, every call throws UnavailableError. */
export function redisRecords({ url, keyPrefix, commandTimeoutMs, log }: RedisOptions): Records {
  const adapter = new KeyvRedis<string>(
    {
      url,
      // Fail at once while disconnected: a queue would answer minutes later, to nobody.
      disableOfflineQueue: true,
      commandsQueueMaxLength: MAX_QUEUED_COMMANDS,
      socket: {
        connectTimeout: commandTimeoutMs,
        reconnectStrategy: (attempt: number) => Math.min(50 * 2 ** attempt, MAX_RECONNECT_DELAY_MS),
      },
    },
    { throwOnErrors: true, keyPrefixSeparator: ":" },
  );
  const client = adapter.client as RedisClientType;
  logConnection(client, log);
  const keyv = new Keyv<string>({
    store: adapter,
    namespace: keyPrefix,
    useKeyPrefix: false, // the adapter adds it
    throwOnErrors: true,
    // Redis itself expires records, and compare-and-set needs the text as it was written: no envelope.
    serialize: ({ value }) => String(value),
    deserialize: <Value>(text: string) => ({ value: text as Value }),
  });
  keyv.on("error", () => {}); // thrown to the caller and logged by the client's own events
  // Settles only when the client is closed; its failures are events.
  client.connect().catch(() => {});

  let answeredAt = Date.now();

  /** A connection that swallows everything is never given up by itself: our own writes look like life. */
  function reconnectIfSilent(): void {
    if (!client.isReady || Date.now() - answeredAt < 2 * commandTimeoutMs) return;
    log.error({ reason: "redis_silent" }, "Redis does not answer on this connection; connecting anew");
    answeredAt = Date.now();
    client.destroy();
    client.connect().catch(() => {});
  }

  async function answer<T>(command: () => Promise<T>): Promise<T> {
    try {
      const reply = await withTimeout(command(), commandTimeoutMs);
      answeredAt = Date.now();
      return reply;
    } catch (cause) {
      reconnectIfSilent();
      throw new UnavailableError("storage", { reason: "redis_unavailable", cause });
    }
  }

  const channel = `${keyPrefix}:changes`;
  const watching = createRedisWatch(client.duplicate() as Subscriber, channel, commandTimeoutMs);
  const redisKeyOf = (key: string) => adapter.createKeyPrefix(key, keyPrefix);

  async function evaluate(script: string, key: string, ...args: string[]): Promise<boolean> {
    const keys = [redisKeyOf(key)];
    const told = [channel, isTold(key) ? key : ""];
    return (await answer(() => client.eval(script, { keys, arguments: [...args, ...told] }))) === 1;
  }

  async function putIfAbsent(key: string, record: string, ttlSeconds: number): Promise<boolean> {
    const reply = await answer(() =>
      client.set(redisKeyOf(key), record, { PX: ttlSeconds * 1000, NX: true }),
    );
    return reply !== null;
  }

  const limits = rateLimits(
    ({ name, points, seconds }) =>
      new RateLimiterRedis({
        storeClient: client,
        useRedisPackage: true,
        keyPrefix: `${keyPrefix}:limit:${name}`,
        points,
        duration: seconds,
      }),
  );

  return {
    get: (key) => answer(() => keyv.get(key)),
    async put(key, record, ttlSeconds) {
      if (isTold(key)) await evaluate(PUT, key, record, String(ttlSeconds * 1000));
      else await answer(() => keyv.set(key, record, ttlSeconds * 1000));
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
      for await (const batch of client.scanIterator({ MATCH, COUNT: 500 }))
        for (const key of batch) yield prefix + key.slice(start.length);
    },
    delete: (key) => (isTold(key) ? evaluate(DELETE, key) : answer(() => keyv.delete(key))),
    deleteIf: (key, expected) => evaluate(DELETE_IF, key, expected),
    watch: watching.watch,
    indexes: {
      add: async (index, member, score, ttlSeconds) =>
        void (await evaluate(INDEX_ADD, `index:${index}`, String(score), member, String(ttlSeconds * 1000))),
      remove: async (index, member) =>
        void (await answer(() => client.zRem(redisKeyOf(`index:${index}`), member))),
      members: (index) => answer(() => client.zRange(redisKeyOf(`index:${index}`), 0, -1)),
    },
    rateLimits: { count: (limit, key) => answer(() => limits.count(limit, key)) },
    ping: async () => void (await answer(() => client.ping())),
    async close() {
      watching.close();
      // close() waits for the replies that are due, which a silent connection never brings.
      if (client.isReady) await withTimeout(client.close(), commandTimeoutMs).catch(() => client.destroy());
      else client.destroy();
    },
  };
}

/** One line when the connection is lost and one when it is back, not one for every attempt. */
function logConnection(client: RedisClientType, log: Logger): void {
  let lost = false;
  client.on("error", (error: Error) => {
    if (!lost)
      log.error({ reason: "redis_unavailable", cause: error.message }, "Redis cannot be reached; retrying");
    lost = true;
  });
  client.on("ready", () => {
    // A Redis that wants a password accepts the connection and then refuses every command.
    client.ping().then(
      () => {
        log.info(lost ? "Redis is reachable again" : "Connected to Redis");
        lost = false;
      },
      (error: unknown) => {
        log.error(
          { reason: "redis_unavailable", cause: causes(error) },
          "Redis answers, but refuses this server",
        );
      },
    );
  });
}

async function withTimeout<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
