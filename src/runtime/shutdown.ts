/** Whether the process is about to end, and what it has to finish before. */
import { setTimeout as delay } from "node:timers/promises";

export interface Shutdown {
  /** From here on the process is not ready, and every response closes its connection. */
  readonly isStopping: boolean;
  /** Work without a waiting caller that must not be cut off; the caller handles its outcome. */
  waitUntil(work: Promise<unknown>): void;
  stop(): void;
  /** Resolves when everything that was tracked is over. */
  finished(): Promise<void>;
  /** Work to do after the last request, while the store is still open. It has one second, and must not throw. */
  onShutdown(work: () => Promise<void>): void;
  /** Does the last work. */
  end(): Promise<void>;
}

// Short, because orchestrators kill the process after SHUTDOWN_SECONDS and a little more.
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
