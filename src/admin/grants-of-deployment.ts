/** The grants of the deployment that the environment describes, for commands that look at them from outside. */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import type { Config } from "../config.ts";
import { encryptedStore } from "../storage/encrypted.ts";
import { redisRecords } from "../storage/redis.ts";
import { createSealer } from "../storage/sealer.ts";
import type { Records } from "../storage/store.ts";
import { systemClock } from "../surroundings.ts";
import { Grant } from "../tokens/grant.ts";
import { createGrants, type Grants } from "../tokens/grants.ts";
import { createLastUse } from "../tokens/last-use.ts";

const PATIENCE_MS = 3_000;
const RETRY_MS = 50;

/** The connection is made in the background. */
async function untilReady(records: Records): Promise<void> {
  for (const givenUp = performance.now() + PATIENCE_MS; ; await delay(RETRY_MS)) {
    try {
      return await records.ping();
    } catch (error) {
      if (performance.now() > givenUp) throw error;
    }
  }
}

/**
 * Runs `work` with the grants in Redis.
 * @throws UnavailableError if Redis cannot be reached; Error if the deployment keeps its grants in memory, where only its own process sees them
 */
export async function withGrants<Result>(
  { store: where, secretKeys, lifetimes, grantLimits }: Config,
  work: (grants: Grants) => Promise<Result>,
): Promise<Result> {
  if (where.kind === "memory")
    throw new Error(
      "With STORE=memory the sessions are in the server's own process: nothing else can see them.",
    );
  const log = pino({ level: "silent" });
  const records = redisRecords({ ...where, log });
  try {
    await untilReady(records);
    const sealer = createSealer(secretKeys);
    const store = encryptedStore({ records, sealer, log, kind: "grant", schema: Grant });
    const grants = createGrants({
      store,
      indexes: records.indexes,
      lastUse: createLastUse({ records, grants: store, now: systemClock, log }),
      lifetimes,
      limits: grantLimits,
      audit: () => {},
      now: systemClock,
      randomBytes,
      log,
    });
    return await work(grants);
  } finally {
    await records.close();
  }
}
