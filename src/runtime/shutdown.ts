/** Whether the process is about to end, and what it has to finish before. */
import { setTimeout as delay } from "node:timers/promises";

export interface Shutdown {
  /** From here on nothing new should be sent here: not ready, and every answer closes its connection. */
  readonly isStopping: boolean;
  /** Work that nobody waits for and that must not be cut: its outcome is the caller's to handle. */
  waitUntil(work: Promise<unknown>): void;
  stop(): void;
  /** Resolves when everything that was tracked is over. */
  finished(): Promise<void>;
  /** Last work, for when no request comes any more; the store is open still. It has a moment, and must not throw. */
  onShutdown(work: () => Promise<void>): void;
  /** Does the last work. */
  end(): Promise<void>;
}

// Whoever kills a process that does not stop in time has counted on SHUTDOWN_SECONDS alone.
const END_MS = 1_000;

export function createShutdown(): Shutdown {
  const unfinished = new Set<Promise<unknown>>();
  const lastWork: Array<() => Promise<void>> = [];
  let stopping = false;
  return {
    get isStopping() {
      return stopping;
    },
    waitUntil(work) {
      unfinished.add(work);
      const over = () => void unfinished.delete(work);
      work.then(over, over);
    },
    stop() {
      stopping = true;
    },
    async finished() {
      while (unfinished.size > 0) await Promise.allSettled(unfinished);
    },
    onShutdown: (work) => void lastWork.push(work),
    async end() {
      const moment = new AbortController();
      const over = delay(END_MS, undefined, { signal: moment.signal }).catch(() => {});
      await Promise.race([Promise.all(lastWork.map((work) => work())), over]);
      moment.abort();
    },
  };
}
