/** Redis as the server uses it: the same link, every server behind it, and what can be done with records there. */
import type { RedisClientType } from "@keyv/redis";
import { withTimeLimit } from "../../storage/redis/link.ts";
import { openLink } from "../../storage/redis/topology.ts";
import { clockFinding } from "./clock.ts";
import type { Deployment } from "./deployment.ts";
import { checkOf, type Finding, type Found, findingsIn, notChecked } from "./finding.ts";
import { within } from "./limit.ts";
import * as info from "./redis-info.ts";
import { checkRecords, type RedisConfig } from "./redis-records.ts";
import { placeOf, redisTrouble } from "./redis-trouble.ts";

export async function checkRedis(deployment: Deployment): Promise<Found> {
  const { store, patience, now } = deployment;
  const found = checkOf("redis.reachable");
  if (store === undefined) return notChecked("redis", "the settings of Redis");
  if (store.kind === "memory")
    return found`! STORE=memory: a restart of the server signs everybody out, and only one process can serve
      → Set REDIS_URL (and remove STORE) before people rely on it.`;
  return within(patience.checkMs, "redis", async () => {
    try {
      const servers = await judgeServers(store, (server) => judgeServer(server, store, now));
      const records = await checkRecords(store, deployment);
      return [found`✓ Redis answers (${placeOf(store)})`, servers, records];
    } catch (error) {
      const { says, fix } = redisTrouble(error, store);
      return found`✗ ${says}
        → ${fix}`;
    }
  });
}

const PINGS = 9;

/** How long Redis takes to answer. Nothing if it cannot be asked at all, which is said elsewhere. */
export async function checkLatency({ store }: Pick<Deployment, "store">): Promise<Found> {
  if (store?.kind !== "redis") return undefined;
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
  return judgeServers(store, judge).catch(() => undefined);
}

const BADNESS: ReadonlyArray<Finding["status"]> = ["failure", "warning", "unknown", "ok"];

/** Of several masters of a cluster, the one that needs attention speaks for all. */
async function judgeServers(
  store: RedisConfig,
  judge: (server: RedisClientType) => Promise<Found>,
): Promise<Found> {
  const link = await openLink(store, { ...store, probeKey: `${store.keyPrefix}:ping`, lose: () => {} });
  try {
    const all = findingsIn(await Promise.all(link.servers().map(judge)));
    const badness = ({ status }: Finding) => BADNESS.indexOf(status);
    const worstFirst = all.toSorted((one, other) => badness(one) - badness(other));
    return all.filter((finding) => finding === worstFirst.find(({ check }) => check === finding.check));
  } finally {
    link.destroy();
  }
}

async function judgeServer(
  server: RedisClientType,
  { commandTimeoutMs }: RedisConfig,
  now: () => number,
): Promise<Found> {
  /** Managed services forbid some commands; what is then unknown is said so. */
  const permitted = async <T>(command: Promise<T>): Promise<T | undefined> =>
    withTimeLimit(command, commandTimeoutMs).catch(() => undefined);
  const says = info.parseInfo((await permitted(server.info())) ?? "");
  const [, saveRules] = (await permitted(server.sendCommand<string[]>(["CONFIG", "GET", "save"]))) ?? [];
  const [theirs] = (await permitted(server.sendCommand<string[]>(["TIME"]))) ?? [];
  return [
    info.judgeVersion(says),
    info.judgeEviction(says),
    info.judgeMemory(says),
    info.judgePersistence(says, saveRules),
    theirs === undefined ? undefined : clockFinding("redis.clock", "Redis'", now() - Number(theirs)),
  ];
}
