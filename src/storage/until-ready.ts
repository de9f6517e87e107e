/** The connection to Redis is made in the background; a command that looks at it from outside waits for it. */
import { setTimeout as delay } from "node:timers/promises";
import type { KeyValueStore } from "./store.ts";

const PATIENCE_MS = 3_000;
const RETRY_MS = 20;

/** @throws UnavailableError if it cannot be reached */
export async function untilReady(records: KeyValueStore): Promise<void> {
  for (const givenUp = performance.now() + PATIENCE_MS; ; await delay(RETRY_MS)) {
    try {
      return await records.ping();
    } catch (error) {
      if (performance.now() > givenUp) throw error;
    }
  }
}
