/** Keeps something open: checks it, and opens it anew when it is lost, after growing pauses, until it is closed. */
import { setTimeout as delay } from "node:timers/promises";

export interface Openable {
  /** Rejects if it is lost. */
  check(): Promise<void>;
  /** May be called again. */
  destroy(): void;
}

export interface Supervised<T extends Openable> {
  /** `lose` tells at once what a check would find out. */
  open(lose: (cause: unknown) => void): Promise<T>;
  onOpen(opened: T, lose: (cause: unknown) => void): void;
  /** Also for every attempt to open it that failed. */
  onLost(cause: unknown): void;
}

export interface Supervisor {
  /** What is open counts as lost, and what is not is tried at once. */
  restart(): void;
  /** Opens nothing any more; what is open is left to whoever was told of it. */
  close(): void;
}

const CHECK_INTERVAL_MS = 1_000;
const FIRST_RETRY_MS = 50;
const MAX_RETRY_MS = 1_000;

/** Begins in the background. */
export function supervise<T extends Openable>({ open, onOpen, onLost }: Supervised<T>): Supervisor {
  let closed = false;
  /** Aborted with the reason. */
  let loss = new AbortController();
  void keep();

  async function keep(): Promise<void> {
    for (let failures = 0; !closed; failures++) {
      loss = new AbortController();
      const { signal } = loss;
      const lose = loss.abort.bind(loss);
      try {
        const opened = await open(lose);
        if (signal.aborted) opened.destroy();
        else onOpen(opened, lose);
        for (;;) {
          await pause(CHECK_INTERVAL_MS, signal);
          await opened.check();
          failures = 0;
        }
      } catch (error) {
        if (closed) return;
        onLost(signal.reason ?? error);
      }
      loss = new AbortController();
      await pause(retryDelay(failures), loss.signal).catch(() => {});
    }
  }

  return {
    restart: () => loss.abort(),
    close() {
      closed = true;
      loss.abort();
    },
  };
}

/** A timer that does not keep the process alive. */
const pause = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  delay(milliseconds, undefined, { signal, ref: false });

/** Half of it at random: replicas that lost the same server must not come back in step. */
function retryDelay(failures: number): number {
  const longest = Math.min(FIRST_RETRY_MS * 2 ** failures, MAX_RETRY_MS);
  return longest * (1 - Math.random() / 2);
}
