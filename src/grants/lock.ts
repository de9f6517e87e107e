/** Locks over all replicas, kept in the store: of all processes one at a time does what has to be done once. */
import type { Runtime } from "../runtime/runtime.ts";
import type { Shutdown } from "../runtime/shutdown.ts";
import type { KeyValueStore } from "../storage/store.ts";

export interface Lock {
  /** Whether it was acquired so recently that it cannot have expired. */
  isHeldByTime(): boolean;
  /** Keeps the lock until the work has ended. Giving it back is not waited for. */
  during<Result>(work: () => Promise<Result>): Promise<Result>;
}

interface Dependencies extends Pick<Runtime, "randomBytes"> {
  records: Pick<KeyValueStore, "replace" | "deleteIf">;
  /** Waits for what nobody else waits for. */
  shutdown: Pick<Shutdown, "waitUntil">;
  monotonicNow: () => number;
  /** How long it outlasts a holder that died. */
  lockSeconds: number;
}

const PROLONGED_PER_LOCK = 6;

/** What is locked by a name has the record `lock:NAME`. */
export function createLocks({ records, shutdown, monotonicNow, randomBytes, lockSeconds }: Dependencies): {
  /** The lock, if nobody has it. */
  acquire(name: string): Promise<Lock | undefined>;
} {
  return {
    async acquire(name) {
      const key = `lock:${name}`;
      const holder = randomBytes(16).toString("base64url");
      const askedAt = monotonicNow();
      if (!(await records.replace(key, undefined, holder, lockSeconds))) return undefined;
      let isReleased = false;

      // One that ended because nobody prolonged it in time is taken again, if nobody else has it.
      async function prolong(): Promise<void> {
        if (await records.replace(key, holder, holder, lockSeconds)) return;
        if (!isReleased) await records.replace(key, undefined, holder, lockSeconds);
        if (isReleased) await records.deleteIf(key, holder);
      }

      return {
        isHeldByTime: () => monotonicNow() < askedAt + lockSeconds / 2,
        async during(work) {
          const prolonging = setInterval(
            () => void prolong().catch(() => {}), // tried again before it ends
            (lockSeconds * 1000) / PROLONGED_PER_LOCK,
          ).unref();
          try {
            return await work();
          } finally {
            clearInterval(prolonging);
            isReleased = true;
            shutdown.waitUntil(records.deleteIf(key, holder).catch(() => {})); // it ends by itself
          }
        },
      };
    },
  };
}
