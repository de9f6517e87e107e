/** What the log says of a backend in trouble: each reason once a minute at most, however many calls it costs. */
import type { Log } from "../../runtime/log.ts";
import type { BackendError } from "./backend.ts";

export interface TroubleLog {
  failed(error: BackendError): void;
  answered(): void;
}

const AGAIN_SECONDS = 60;

/** The line of each request has its reason, too. */
export function createTroubleLog({
  backend,
  log,
  now,
}: {
  /** Its name. */
  backend: string;
  log: Log;
  /** Seconds, by a clock that nobody sets. */
  now(): number;
}): TroubleLog {
  /** By their reasons: when it was said, and how often it came since. */
  const said = new Map<string, { at: number; since: number }>();
  /** Since it last answered. */
  let failures = 0;
  let isSaid = false;
  return {
    failed({ reason, message }) {
      failures++;
      const before = said.get(reason);
      if (before !== undefined && now() - before.at < AGAIN_SECONDS) {
        before.since++;
        return;
      }
      said.set(reason, { at: now(), since: 0 });
      isSaid = true;
      const more = before !== undefined && before.since > 0 && { unsaid: before.since };
      log.warn({ reason, backend, cause: message.slice(0, 500), ...more }, "A backend gave no usable answer");
    },
    answered() {
      if (isSaid) log.info({ backend, failures }, "A backend answers again");
      isSaid = false;
      failures = 0;
    },
  };
}
