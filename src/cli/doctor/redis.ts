/** Redis as the server uses it: the same link, every server behind it, and what can be done with records there. */
import type { RedisClientType } from "@keyv/redis";
import type { StoreConfig } from "../../config/store.ts";
import { withTimeLimit } from "../../storage/redis/link.ts";
import { openLink } from "../../storage/redis/topology.ts";
import { clockFinding } from "./clock.ts";
import { checkOf, type Finding } from "./finding.ts";
import {
  judgeEviction,
  judgeLatency,
  judgeMemory,
  judgePersistence,
  judgeVersion,
  parseInfo,
} from "./redis-info.ts";
import { checkRecords } from "./redis-records.ts";
import { placeOf, redisTrouble } from "./redis-trouble.ts";

export interface RedisOptions {
  store: StoreConfig;
  secretKeys: readonly string[];
  /** Milliseconds since the epoch. */
  nowMs(): number;
  randomBytes(size: number): Buffer;
}

const PINGS = 9;

export async function checkRedis({ store, ...options }: RedisOptions): Promise<Finding[]> {
  const { ok, warning, failure } = checkOf("redis.reachable");
  if (store.kind === "memory")
    return [
      warning(
        "STORE=memory: a restart of the server signs everybody out, and only one process can serve",
        "Set REDIS_URL (and remove STORE) before people rely on it.",
      ),
    ];
  try {
    const judge = (server: RedisClientType) => examine(server, store.commandTimeoutMs, options.nowMs);
    const servers = await judgeServers(store, judge);
    const records = await checkRecords(store, options.secretKeys, options.randomBytes);
    return [ok(`Redis answers (${placeOf(store).place})`), ...servers, ...records];
  } catch (error) {
    const { says, fix } = redisTrouble(error, store);
    return [failure(says, fix)];
  }
}

/** How long Redis takes to answer. Nothing if it cannot be asked at all, which is said elsewhere. */
export async function checkLatency(store: StoreConfig | undefined): Promise<Finding[]> {
  if (store === undefined || store.kind === "memory") return [];
  const { commandTimeoutMs: timeoutMs } = store;
  const judge = async (server: RedisClientType) => [
    judgeLatency(await timePings(server, timeoutMs), timeoutMs),
  ];
  return judgeServers(store, judge).catch(() => []);
}

type RedisConfig = Extract<StoreConfig, { kind: "redis" }>;

/** Of several masters of a cluster, the one that needs attention speaks for all. */
async function judgeServers(
  store: RedisConfig,
  judge: (server: RedisClientType) => Promise<Finding[]>,
): Promise<Finding[]> {
  const link = await openLink(store, { ...store, probeKey: `${store.keyPrefix}:ping`, lose: () => {} });
  try {
    const worst = new Map<string, Finding>();
    for (const finding of (await Promise.all(link.servers().map(judge))).flat()) {
      const known = worst.get(finding.check);
      if (known === undefined || BADNESS[finding.status] > BADNESS[known.status])
        worst.set(finding.check, finding);
    }
    return [...worst.values()];
  } finally {
    link.destroy();
  }
}

const BADNESS = { ok: 0, unknown: 1, warning: 2, failure: 3 } as const;

async function examine(server: RedisClientType, timeoutMs: number, nowMs: () => number): Promise<Finding[]> {
  /** Managed services forbid some commands; what is then unknown is said so. */
  const permitted = async <T>(command: Promise<T>): Promise<T | undefined> =>
    withTimeLimit(command, timeoutMs).catch(() => undefined);
  const info = parseInfo((await permitted(server.info())) ?? "");
  const [, saveRules] = (await permitted(server.sendCommand<string[]>(["CONFIG", "GET", "save"]))) ?? [];
  const time = await permitted(server.sendCommand<[string, string]>(["TIME"]));
  const theirMs = time && Number(time[0]) * 1000 + Number(time[1]) / 1000;
  return [
    judgeVersion(info),
    judgeEviction(info),
    ...judgeMemory(info),
    judgePersistence(info, saveRules),
    ...(theirMs === undefined ? [] : [clockFinding("redis.clock", "Redis'", (nowMs() - theirMs) / 1000)]),
  ];
}

async function timePings(server: RedisClientType, timeoutMs: number): Promise<number[]> {
  const milliseconds: number[] = [];
  for (let ping = 0; ping < PINGS; ping++) {
    const before = performance.now();
    await withTimeLimit(server.ping(), timeoutMs);
    milliseconds.push(performance.now() - before);
  }
  return milliseconds;
}
