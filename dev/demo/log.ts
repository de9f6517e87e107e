/** The log of the demo and of `npm run dev`, for a person who watches. */
import { type Logger, pino } from "pino";
import { requestFields } from "../../src/runtime/current-request.ts";
import { hopLog } from "./request-trace.ts";

/** One line for each request; with `LOG_LEVEL=debug` or `trace` every line, as the server writes it in production. */
export function demoLog(level: string): Logger {
  const print = (text: string) => void process.stdout.write(`${text}\n`);
  const lines = ["debug", "trace"].includes(level)
    ? { write: (line: string) => print(line.trimEnd()) }
    : hopLog(print, hasColour());
  return pino({ level, base: null, mixin: requestFields }, lines);
}

export function hasColour(): boolean {
  return process.stdout.isTTY === true && !process.env.NO_COLOR;
}
