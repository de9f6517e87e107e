/** Stored records: can one be written, published to other replicas, read and removed; and do our keys decrypt what is there? */
import { setTimeout as delay } from "node:timers/promises";
import type { StoreConfig } from "../../config/store.ts";
import { redisStore } from "../../storage/redis/redis.ts";
import { createSealer } from "../../storage/sealer.ts";
import type { KeyValueStore } from "../../storage/store.ts";
import { untilReady } from "../../storage/until-ready.ts";
import type { Deployment } from "./deployment.ts";
import { checkOf, type Finding, type Found } from "./finding.ts";
import { redisTrouble } from "./redis-trouble.ts";

const PATIENCE_MS = 3_000;
const RETRY_MS = 20;
// Should the doctor be killed in between.
const RECORD_SECONDS = 10;
const SAMPLE = 20;
const SAMPLE_MS = 1_500;

export type RedisConfig = Extract<StoreConfig, { kind: "redis" }>;

export async function checkRecords(
  store: RedisConfig,
  { secretKeys, randomBytes, log }: Deployment,
): Promise<Found> {
  const records = redisStore({ ...store, log });
  try {
    const written = await writeAndRemove(records, `grant:doctor-${randomBytes(12).toString("hex")}`);
    if (written.status === "failure" || secretKeys.length === 0) return written;
    return [written, await checkReadable(records, secretKeys)];
  } catch (error) {
    const { says, fix } = redisTrouble(error, store);
    return checkOf("redis.records")`✗ ${says}
      → ${fix}`;
  } finally {
    await records.close();
  }
}

/** @param key of a kind whose changes are published, so that key, script and channel are all tried */
async function writeAndRemove(records: KeyValueStore, key: string): Promise<Finding> {
  const found = checkOf("redis.records");
  let isPublished = false;
  const watch = records.watch("grant", (changed) => {
    isPublished ||= changed === key;
  });
  try {
    await untilReady(records);
    await records.checkReady();
    const isListening = await until(() => watch.epoch !== undefined);
    await records.put(key, "doctor", RECORD_SECONDS);
    const read = await records.get(key);
    await records.delete(key);
    if (read !== "doctor")
      return found`✗ What was written to Redis could not be read again
        → Let REDIS_URL lead to the master itself: something in between reads from elsewhere.`;
    if (isListening && (await until(() => isPublished)))
      return found`✓ A record can be written, published to other replicas, read and removed`;
    return found`! Records can be written, but replicas do not hear of each other's changes: every request then waits for Redis
      → Permit its user the channels under REDIS_KEY_PREFIX (ACL: &PREFIX:* +@pubsub), and let nothing in between drop subscriptions.`;
  } finally {
    watch.close();
  }
}

async function until(holds: () => boolean): Promise<boolean> {
  for (const givenUp = performance.now() + PATIENCE_MS; performance.now() < givenUp; await delay(RETRY_MS))
    if (holds()) return true;
  return false;
}

/** A few of the records that are there; none is changed. */
async function checkReadable(records: KeyValueStore, secretKeys: readonly string[]): Promise<Found> {
  const found = checkOf("redis.readable");
  const sealer = createSealer(secretKeys);
  const givenUp = performance.now() + SAMPLE_MS;
  let [looked, unreadable] = [0, 0];
  for (const kind of ["client", "grant"])
    for await (const key of records.keys(`${kind}:`)) {
      const record = await records.get(key);
      if (record === undefined || key.startsWith("grant:doctor-")) continue;
      looked++;
      if (sealer.open(record, key) === undefined) unreadable++;
      if (looked >= SAMPLE || performance.now() > givenUp) break;
    }
  if (looked === 0) return undefined;
  if (unreadable === 0) return found`✓ SECRET_KEY opens what is stored (${looked} records looked at)`;
  return found`! SECRET_KEY does not open ${unreadable} of ${looked} stored records: these clients and users have to begin anew
    → If SECRET_KEY was replaced, put the old one behind it (NEW,OLD). If another deployment shares this Redis, give each a REDIS_KEY_PREFIX of its own.`;
}
