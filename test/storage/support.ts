/** What tests of the stores share. */
import { setTimeout as delay } from "node:timers/promises";
import { type Logger, pino } from "pino";
import type { KeyValueStore } from "../../src/storage/store.ts";

export const silent = pino({ level: "silent" });

/** Connections are made in the background. @returns the milliseconds that it took */
export async function ready(records: KeyValueStore): Promise<number> {
  const start = performance.now();
  for (;;) {
    try {
      await records.ping();
      return Math.round(performance.now() - start);
    } catch (error) {
      if (performance.now() - start > 30_000) throw error;
      await delay(20);
    }
  }
}

/** A log whose lines can be looked at. */
export function keptLog(): { log: Logger; lines: LogLine[] } {
  const lines: LogLine[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  return { log, lines };
}

export interface LogLine {
  msg: string;
  reason?: string;
  cause?: string;
  [name: string]: unknown;
}

/** Waits until a line has this reason. */
export async function logged(lines: readonly LogLine[], reason: string, cause = /./): Promise<LogLine> {
  for (const start = performance.now(); performance.now() - start < 30_000; await delay(10)) {
    const line = lines.find((each) => each.reason === reason && cause.test(each.cause ?? "-"));
    if (line !== undefined) return line;
  }
  throw new Error(`no ${reason} (${cause}) in the log: ${JSON.stringify(lines)}`);
}
