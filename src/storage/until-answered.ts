/**
 * A store that does not answer may have done what it was told. Whoever has to know asks until it answers again; whoever
 * waits for them is told sooner that it is out of reach.
 */
import { setTimeout as delay } from "node:timers/promises";
import { UnavailableError } from "../oauth/errors.ts";

const EVERY_MS = 250;
// A failover takes seconds; what is away longer has perhaps lost the record, too.
const ATTEMPTS = 120;
const PATIENCE_MS = 3_000;

export interface Asking<T> {
  /** Is told of a result that nobody waited for. */
  late?(result: T): Promise<unknown>;
  /** Gets what goes on after that, see {@link ../lifecycle.ts Lifecycle.track}. */
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

/** A process waits for what is late only as long as its lifecycle does. */
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
