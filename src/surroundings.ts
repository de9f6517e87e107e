/** What every room is given from outside, so that nothing happens on import and tests can set the clock. */
import type { Logger } from "pino";

export interface Surroundings {
  /** Seconds since the epoch. */
  now(): number;
  randomBytes(size: number): Buffer;
  log: Logger;
}

/** Seconds since the epoch. */
export function systemClock(): number {
  return Math.floor(Date.now() / 1000);
}
