/**
 * Tries everything that the server needs of Redis: one that answers reads may still refuse to write, to run scripts, or to
 * publish changes. A user's permissions change while connections are open, and memory gets full, so it is tried again.
 */
import type { Log } from "../../runtime/log.ts";
import { type RedisLink, withTimeLimit } from "./link.ts";
import { allCauses, type Refusal } from "./refusal.ts";

export interface TrialOptions {
  /** A key that may be written: what is left there by one who dies in the middle ends by itself. */
  key: string;
  /** The channel of the change feed. Subscribers ignore an empty message. */
  channel: string;
  commandTimeoutMs: number;
  refusalOf(error: unknown): Refusal | undefined;
  log: Log;
}

export interface Trials {
  /**
   * Tries it once, on a new link.
   * @throws if it cannot be tried, or leads to a replica: by then the name of the master may lead to another server
   */
  on(link: RedisLink): Promise<Trial>;
}

/** What was found on one link. */
export interface Trial {
  /** Why not all that the server needs can be done; undefined if it can. */
  readonly refused: { refusal: Refusal; cause: unknown } | undefined;
  /** To be called every second: tries again when it is time. @throws as {@link Trials.on} */
  repeat(): Promise<void>;
  /** Something was refused just now: it is tried again with the next {@link repeat}. */
  doubt(): void;
}

// Every command that the scripts and verbs of redis.ts, budgets.ts and rate-limits.ts need; what is refused, by command. First
// one that needs memory: Redis lets a script go on that has written something.
const TRIAL = `local refused = {}
  local function try(command, ...)
    local reply = redis.pcall(command, ...)
    if type(reply) == 'table' and reply.err then refused[#refused + 1] = {command, reply.err} end
  end
  try('SET', KEYS[1], '1', 'PX', 10000)
  try('SET', KEYS[1], '1', 'KEEPTTL')
  try('GET', KEYS[1]) try('PTTL', KEYS[1]) try('INCRBY', KEYS[1], 1) try('EXPIRE', KEYS[1], 10) try('UNLINK', KEYS[1])
  try('ZADD', KEYS[1], 1, 'member') try('PEXPIRE', KEYS[1], 10000)
  try('ZRANGEBYSCORE', KEYS[1], 0, 1) try('ZRANGE', KEYS[1], 0, 0, 'REV') try('ZSCAN', KEYS[1], 0)
  try('ZSCORE', KEYS[1], 'member') try('ZREM', KEYS[1], 'member') try('DEL', KEYS[1])
  try('HINCRBY', KEYS[1], 'field', 1) try('HGET', KEYS[1], 'field') try('DEL', KEYS[1])
  try('TIME')
  return refused`;

/** Of checks, one a second. */
const CHECKS_BETWEEN_TRIALS = 5;

/** In a cluster every master has to permit it, and which key is whose is for the cluster to know: these are on all of them. */
const KEYS_OF_CLUSTER = 32;

export function redisTrials({ key, channel, commandTimeoutMs, refusalOf, log }: TrialOptions): Trials {
  const logged = trialLog(log);

  async function tryOn(link: RedisLink): Promise<Trial["refused"]> {
    const servers = link.servers();
    const keys =
      servers.length === 1 ? [key] : Array.from({ length: KEYS_OF_CLUSTER }, (_, i) => `${key}:${i}`);
    const tried = await Promise.allSettled(
      [
        ...keys.map((each) => tryKey(link, each)),
        ...servers.map(async (server) => void (await server.publish(channel, ""))),
      ].map((attempt) => withTimeLimit(attempt, commandTimeoutMs)),
    );
    const errors = tried.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
    if (errors.length === 0) return undefined;
    const cause = errors.length === 1 ? errors[0] : new AggregateError(distinct(errors));
    const refusal = refusalOf(cause);
    if (refusal === undefined || refusal.reason === "redis_read_only") throw cause;
    return { refusal, cause };
  }

  return {
    async on(link) {
      let refused = logged(await tryOn(link));
      let checks = 0;
      return {
        get refused() {
          return refused;
        },
        async repeat() {
          if (refused === undefined && ++checks < CHECKS_BETWEEN_TRIALS) return;
          checks = 0;
          refused = logged(await tryOn(link));
        },
        doubt() {
          checks = CHECKS_BETWEEN_TRIALS;
        },
      };
    },
  };
}

async function tryKey({ commands }: RedisLink, key: string): Promise<void> {
  const refused = (await commands.eval(TRIAL, { keys: [key] })) as Array<[command: string, why: string]>;
  if (refused.length === 0) return;
  const of = (reason: string) => refused.flatMap(([command, why]) => (why === reason ? [command] : []));
  const reasons = [...new Set(refused.map(([, why]) => why))];
  const lines = reasons.map((why) => `${why} (${[...new Set(of(why))].join(", ")})`);
  throw new Error(lines.join("; "));
}

function distinct(errors: readonly unknown[]): unknown[] {
  return [...new Map(errors.map((error) => [allCauses(error), error])).values()];
}

/** Logged once for every kind, and once when it is over. */
function trialLog(log: Log): (found: Trial["refused"]) => Trial["refused"] {
  let said: string | undefined;
  return (found) => {
    if (found === undefined) {
      if (said !== undefined) log.info("Redis does again all that this server needs");
      said = undefined;
      return found;
    }
    const { reason, says, fix } = found.refusal;
    const sentence = `Redis ${says}. ${fix}`;
    if (said !== sentence) log.error({ reason, cause: allCauses(found.cause) }, sentence);
    said = sentence;
    return found;
  };
}
