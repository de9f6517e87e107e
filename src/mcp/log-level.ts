/** From which level on a client of the 2025 generation wants to be told what happens (`logging/setLevel`). */
import type { LoggingLevel } from "@modelcontextprotocol/server";
import { z } from "zod";
import type { Store } from "../storage/store.ts";

/** RFC 5424's, the least first. */
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"] as const;

export const ChosenLogLevel = z.object({ level: z.enum(LEVELS) });
export type ChosenLogLevel = z.infer<typeof ChosenLogLevel>;

export interface LogLevels {
  choose(grantId: string, level: LoggingLevel): Promise<void>;
  /** Everything, unless the client chose otherwise. */
  wants(grantId: string, level: LoggingLevel): Promise<boolean>;
}

const CHOICE_SECONDS = 86_400;

export function createLogLevels(store: Store<ChosenLogLevel>): LogLevels {
  return {
    choose: (grantId, level) => store.put(grantId, { level }, CHOICE_SECONDS),
    async wants(grantId, level) {
      const chosen = await store.get(grantId);
      return chosen === undefined || LEVELS.indexOf(level) >= LEVELS.indexOf(chosen.level);
    },
  };
}
