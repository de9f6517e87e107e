/** What happens to the deployment during a soak, and when. One event at a time, so that its consequences can be attributed. */
import { setTimeout as delay } from "node:timers/promises";
import type { Deployment } from "./deployment.ts";
import type { Ledger } from "./ledger.ts";

export interface Event {
  name: string;
  /** As a part of the whole duration; later if the one before is not over. */
  at: number;
  run(deployment: Deployment, faultMs: number): Promise<void>;
}

/** The last quarter is quiet: there the memory is looked at. */
export const EVENTS: readonly Event[] = [
  { name: "provider: 500", at: 0.06, run: (on, ms) => on.failProvider("500", ms) },
  { name: "Redis killed, restarted", at: 0.12, run: (on, ms) => on.killRedis(ms / 4) },
  { name: "provider: resets", at: 0.18, run: (on, ms) => on.failProvider("reset", ms) },
  { name: "Redis frozen for 2 s", at: 0.24, run: (on) => on.freezeRedis(2_000) },
  { name: "rolling deploy", at: 0.3, run: (on) => politeDeploy(on) },
  { name: "replica 1 killed, started", at: 0.42, run: (on) => on.killServer(0) },
  { name: "provider: slow (3 s)", at: 0.5, run: (on, ms) => on.failProvider("late", ms) },
  { name: "provider: down", at: 0.58, run: (on, ms) => on.failProvider("down", ms) },
  { name: "Redis killed, restarted", at: 0.68, run: (on, ms) => on.killRedis(ms / 4) },
];

export async function politeDeploy(deployment: Deployment): Promise<void> {
  const codes = await deployment.deploy();
  if (codes.some((code) => code !== 0)) throw new Error(`Servers did not end by themselves: ${codes}`);
}

export interface TimelineOptions {
  /** In their order. */
  events: readonly Event[];
  durationMs: number;
  say(line: string): void;
}

/** Resolves when everything has happened. */
export async function runTimeline(
  deployment: Deployment,
  ledger: Ledger,
  { events, durationMs, say }: TimelineOptions,
): Promise<void> {
  const begun = performance.now();
  const faultMs = Math.min(12_000, Math.max(1_500, durationMs * 0.03));
  for (const { name, at, run } of events) {
    await delay(Math.max(0, begun + durationMs * at - performance.now()));
    const phase = ledger.begin(name);
    say(`${ledger.seconds().toFixed(0)} s: ${name}`);
    await run(deployment, faultMs);
    phase.lastedSeconds = ledger.seconds() - phase.atSeconds;
  }
}
