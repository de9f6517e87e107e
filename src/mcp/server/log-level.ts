/** The log level that a client of the 2025 generation asked for (`logging/setLevel`). */
import type { LoggingLevel } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { Store } from "../../storage/store.ts";

/** RFC 5424's, the least first. */
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"] as const;

export const ChosenLogLevel = z.object({ level: z.enum(LEVELS) });
export type ChosenLogLevel = z.infer<typeof ChosenLogLevel>;

export interface LogLevels {
  choose(sessionKey: string, level: LoggingLevel): Promise<void>;
  /** The level that the client of this session asked for; every level if it chose none, or if the store is out of reach. */
  filter(sessionKey: string): Promise<(level: LoggingLevel) => boolean>;
}

const CHOICE_SECONDS = 86_400;

export function createLogLevels(store: Store<ChosenLogLevel>): LogLevels {
  return {
    choose: (sessionKey, level) => store.put(sessionKey, { level }, CHOICE_SECONDS),
    async filter(sessionKey) {
      const chosen = await store.get(sessionKey).catch(() => undefined);
      const least = chosen === undefined ? 0 : LEVELS.indexOf(chosen.level);
      return (level) => LEVELS.indexOf(level) >= least;
    },
  };
}
