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

/** Asks again after every {@link UnavailableError}, for half a minute. @throws the last of them */
export async function untilAnswered<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof UnavailableError) || attempt === ATTEMPTS) throw error;
      await delay(EVERY_MS);
    }
  }
}

/**
 * What comes of `work`, for whoever cannot wait for ever. It goes on in any case, and `late` is told of a result that
 * nobody waited for.
 * @throws UnavailableError if there is none within three seconds
 */
export async function inTime<T>(
  work: Promise<T>,
  late: (result: T) => Promise<unknown> = async () => {},
): Promise<T> {
  const patience = new AbortController();
  const tooLate = delay(PATIENCE_MS, undefined, { signal: patience.signal, ref: false }).then(() => {
    work.then(late).catch(() => {});
    throw new UnavailableError("storage", { reason: "store_slow" });
  });
  try {
    return await Promise.race([work, tooLate]);
  } finally {
    patience.abort();
  }
}
