/** Clock, randomness and log, which every module is given, so that nothing happens on import and tests can set the clock. */
import type { Log } from "./log.ts";

export type Fetch = (url: string | URL, options?: RequestInit) => Promise<Response>;

export interface Runtime {
  /** Seconds since the epoch: what tokens and records say. */
  now(): number;
  /**
   * Seconds since some moment: how long something lasts within this process. Nobody can set this clock, so that a step of
   * the other one (NTP, an operator, a virtual machine) neither ends what is kept nor makes it last. Default: `now`.
   */
  monotonicNow?(): number;
  randomBytes(size: number): Buffer;
  /** How identity providers and issuers are asked. Default: Node's. */
  fetch?: Fetch | undefined;
  log: Log;
}

/** Seconds since the start of the process. */
export function monotonicClock(): number {
  return performance.now() / 1000;
}

/** Seconds since the epoch. */
export function systemClock(): number {
  return Math.floor(Date.now() / 1000);
}
