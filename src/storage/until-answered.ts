/**
 * A store that does not answer may have executed the command. Operations that have to know ask until it answers again; their
 * caller gets an UnavailableError sooner.
 */
import { setTimeout as delay } from "node:timers/promises";
import { UnavailableError } from "../oauth/errors.ts";

const EVERY_MS = 250;
// A failover takes seconds; what is away longer has perhaps lost the record, too.
const ATTEMPTS = 120;
const PATIENCE_MS = 3_000;

export interface Asking<T> {
  /** Called with a result that came too late for the caller. */
  late?(result: T): Promise<unknown>;
  /** Gets the work that goes on after that, see {@link ../runtime/shutdown.ts Shutdown.waitUntil}. */
  waitUntil?(work: Promise<unknown>): void;
}

/**
 * Asks again after every {@link UnavailableError}, for half a minute, and longer than whoever waits for it.
 * @throws UnavailableError if there is no answer within three seconds
 */
export async function inTime<T>(
  ask: () => Promise<T>,
  { late = async () => {}, waitUntil = () => {} }: Asking<T> = {},
): Promise<T> {
  let isLate = false;
  const answer = untilAnswered(ask, () => isLate);
  const patience = new AbortController();
  const tooLate = delay(PATIENCE_MS, undefined, { signal: patience.signal, ref: false }).then(() => {
    isLate = true;
    waitUntil(answer.then(late).catch(() => {}));
    throw new UnavailableError("storage", { reason: "store_slow" });
  });
  try {
    return await Promise.race([answer, tooLate]);
  } finally {
    patience.abort();
  }
}

/** Work whose caller has its answer does not keep the process alive beyond the shutdown. */
async function untilAnswered<T>(ask: () => Promise<T>, isLate: () => boolean): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof UnavailableError) || attempt === ATTEMPTS) throw error;
      await delay(EVERY_MS, undefined, { ref: !isLate() });
    }
  }
}
