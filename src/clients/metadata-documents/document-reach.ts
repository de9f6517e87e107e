/**
 * Whether clients' metadata documents can be fetched from here. Where they cannot (no internet, a company's forward proxy, an
 * address that a web site takes for a robot's), clients that use documents fail, and clients that see no support for them
 * register: so the server's metadata offer documents only while one that is known to be there can be fetched.
 */

import { causes } from "../../oauth/errors.ts";
import type { Log } from "../../runtime/log.ts";
import { type SafeFetch, SafeFetchError } from "./safe-fetch.ts";

export interface DocumentReach {
  /** The last trial succeeded. */
  works(): boolean;
  /** The same fetch; when it fails to reach somebody, the trial is made again. */
  watching(fetch: SafeFetch): SafeFetch;
}

export interface LiveDocumentReach extends DocumentReach {
  /** Tries now, and until it works. */
  start(): void;
  close(): void;
}

/** For who always offers documents, or never. */
export const ASSUMED_REACH: DocumentReach = { works: () => true, watching: (fetch) => fetch };

/** After a failure. Clients keep for 300 s what the metadata said: nothing is gained by more haste. */
const RETRY_SECONDS = 60;
/** Strangers choose whom we fail to reach: what they bring about is one trial in this time. */
const LEAST_SECONDS_BETWEEN = 30;

/** Whether a fetch failed on the way, and not for what the document's host answered. */
export function isOnTheWay({ reason }: SafeFetchError): boolean {
  return ["unreachable", "address_refused", "timed_out"].includes(reason);
}

export function createDocumentReach({
  probe,
  fetch,
  monotonicNow,
  log,
  retrySeconds = RETRY_SECONDS,
  leastSecondsBetween = LEAST_SECONDS_BETWEEN,
}: {
  /** A metadata document that is there. */
  probe: string;
  fetch: SafeFetch;
  monotonicNow: () => number;
  log: Log;
  retrySeconds?: number;
  leastSecondsBetween?: number;
}): LiveDocumentReach {
  let works: boolean | undefined;
  let trying = false;
  let triedAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  async function attempt(): Promise<void> {
    clearTimeout(timer);
    trying = true;
    triedAt = monotonicNow();
    const problem = await fetch(new URL(probe)).then(
      () => undefined,
      (error: unknown) => error,
    );
    trying = false;
    if (closed) return;
    tell(problem);
    works = problem === undefined;
    if (!works) timer = setTimeout(attempt, retrySeconds * 1000).unref();
  }

  /** Said when it changes. */
  function tell(problem: unknown): void {
    if ((problem === undefined) === works) return;
    if (problem === undefined)
      log.info({ probe }, "Clients' metadata documents can be fetched: the server's metadata offer them");
    else
      log.warn(
        { reason: "documents_not_reachable", probe, cause: causes(problem) },
        "Clients' metadata documents cannot be fetched from here: the server's metadata do not offer them, and applications register instead. CLIENT_ID_METADATA=on or off decides it for good",
      );
  }

  function suspect(): void {
    if (!trying && !closed && monotonicNow() >= triedAt + leastSecondsBetween) void attempt();
  }

  return {
    works: () => works === true,
    watching: (each) => async (url, headers) => {
      try {
        return await each(url, headers);
      } catch (error) {
        if (error instanceof SafeFetchError && isOnTheWay(error)) suspect();
        throw error;
      }
    },
    start: () => void attempt(),
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
