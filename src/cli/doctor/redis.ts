/** Redis as the server uses it: the same link, every server behind it, and what can be done with records there. */
import type { RedisClientType } from "@keyv/redis";
import type { StoreConfig } from "../../config/store.ts";
import { withTimeLimit } from "../../storage/redis/link.ts";
import { openLink } from "../../storage/redis/topology.ts";
import { clockFinding } from "./clock.ts";
import { checkOf, type Finding, type Found, findingsIn } from "./finding.ts";
import * as info from "./redis-info.ts";
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

export async function checkRedis({ store, ...options }: RedisOptions): Promise<Found> {
  const found = checkOf("redis.reachable");
  if (store.kind === "memory")
    return found`! STORE=memory: a restart of the server signs everybody out, and only one process can serve
      → Set REDIS_URL (and remove STORE) before people rely on it.`;
  try {
    const servers = await judgeServers(store, (server) =>
      judgeServer(server, store.commandTimeoutMs, options.nowMs),
    );
    const records = await checkRecords(store, options.secretKeys, options.randomBytes);
    return [found`✓ Redis answers (${placeOf(store)})`, servers, records];
  } catch (error) {
    const { says, fix } = redisTrouble(error, store);
    return found`✗ ${says}
      → ${fix}`;
  }
}

/** How long Redis takes to answer. Nothing if it cannot be asked at all, which is said elsewhere. */
export async function checkLatency(store: StoreConfig | undefined): Promise<Found> {
  if (store === undefined || store.kind === "memory") return [];
  const { commandTimeoutMs: timeoutMs } = store;
  const judge = async (server: RedisClientType) => {
    const milliseconds: number[] = [];
    while (milliseconds.length < PINGS) {
      const before = performance.now();
      await withTimeLimit(server.ping(), timeoutMs);
      milliseconds.push(performance.now() - before);
    }
    return info.judgeLatency(milliseconds, timeoutMs);
  };
  return judgeServers(store, judge).catch(() => []);
}

const BADNESS: ReadonlyArray<Finding["status"]> = ["failure", "warning", "unknown", "ok"];

/** Of several masters of a cluster, the one that needs attention speaks for all. */
async function judgeServers(
  store: Extract<StoreConfig, { kind: "redis" }>,
  judge: (server: RedisClientType) => Promise<Found>,
): Promise<Finding[]> {
  const link = await openLink(store, { ...store, probeKey: `${store.keyPrefix}:ping`, lose: () => {} });
  try {
    const all = findingsIn(await Promise.all(link.servers().map(judge)));
    const badness = ({ status }: Finding) => BADNESS.indexOf(status);
    const worst = (name: string) =>
      all.filter(({ check }) => check === name).sort((one, other) => badness(one) - badness(other))[0];
    return all.filter((finding) => finding === worst(finding.check));
  } finally {
    link.destroy();
  }
}

async function judgeServer(server: RedisClientType, timeoutMs: number, nowMs: () => number): Promise<Found> {
  /** Managed services forbid some commands; what is then unknown is said so. */
  const permitted = async <T>(command: Promise<T>): Promise<T | undefined> =>
    withTimeLimit(command, timeoutMs).catch(() => undefined);
  const says = info.parseInfo((await permitted(server.info())) ?? "");
  const [, saveRules] = (await permitted(server.sendCommand<string[]>(["CONFIG", "GET", "save"]))) ?? [];
  const time = await permitted(server.sendCommand<[string, string]>(["TIME"]));
  const theirMs = time && Number(time[0]) * 1000 + Number(time[1]) / 1000;
  return [
    info.judgeVersion(says),
    info.judgeEviction(says),
    info.judgeMemory(says),
    info.judgePersistence(says, saveRules),
    theirMs === undefined ? undefined : clockFinding("redis.clock", "Redis'", (nowMs() - theirMs) / 1000),
  ];
}
