/** A supervisor of a connection: checks it, and opens it anew when it is lost, after growing pauses, until it is closed. */
import { setTimeout as delay } from "node:timers/promises";

export interface Openable {
  /** Rejects if it is lost. */
  check(): Promise<void>;
  /** May be called again. */
  destroy(): void;
}

export interface Supervised<T extends Openable> {
  /** `lose` reports the loss immediately, before the next check would find it. */
  open(lose: (cause: unknown) => void): Promise<T>;
  onOpen(opened: T, lose: (cause: unknown) => void): void;
  /** Also for every attempt to open it that failed. */
  onLost(cause: unknown): void;
}

export interface Supervisor {
  /** Counts an open connection as lost, and tries immediately to open a new one. */
  restart(): void;
  /** Opens nothing any more; closing an open connection is up to its user. */
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

/** Half of the pause is random: replicas that lost the same server must not all reconnect at once. */
function retryDelay(failures: number): number {
  const longest = Math.min(FIRST_RETRY_MS * 2 ** failures, MAX_RETRY_MS);
  return longest * (1 - Math.random() / 2);
}
