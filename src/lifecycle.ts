/** Whether the process is about to end, and what it has to finish before. */

export interface Lifecycle {
  /** From here on nothing new should be sent here: not ready, and every answer closes its connection. */
  readonly isStopping: boolean;
  /** Work that nobody waits for and that must not be cut: its outcome is the caller's to handle. */
  track(work: Promise<unknown>): void;
  stop(): void;
  /** Resolves when everything that was tracked is over. */
  finished(): Promise<void>;
}

export function createLifecycle(): Lifecycle {
  const unfinished = new Set<Promise<unknown>>();
  let stopping = false;
  return {
    get isStopping() {
      return stopping;
    },
    track(work) {
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
  };
}
