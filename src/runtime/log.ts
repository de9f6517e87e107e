/** The server's log: JSON lines on stdout, each saying which request it is about. */
import { type Logger, pino } from "pino";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import { requestFields } from "./current-request.ts";

/** What this server does with a log: a pino logger is one. */
export type Log = Record<"debug" | "info" | "warn" | "error", Write>;

interface Write {
  (fields: LogFields, message: string): void;
  (message: string): void;
}

/** Never a token, a code or a secret. */
export interface LogFields {
  reason?: ReasonCode | undefined;
  [field: string]: unknown;
}

/** What a pipe takes as a whole (POSIX PIPE_BUF): lines of several processes that share it (WORKERS) stay whole, too. */
const MOST_BYTES_AT_ONCE = 4 * 1024;
/** What cannot be written, on a full disk, waits for room; what is more is dropped. */
const MOST_BYTES_WAITING = 1024 * 1024;

/**
 * What is said in one turn of the event loop is written together at its end: with many requests at once, a system call
 * for each line is a large part of what they cost. Also written when the process ends by itself, by a signal that it
 * handles, or by an error; a process that is killed loses the lines of that turn.
 * @param base fields of every line
 */
export function createLog(level: string, base: { worker: number } | null = null): Logger {
  // Not the destination's own buffer: when the reader is gone or the disk is full, it would retry for ever and block.
  const stdout = pino.destination({ dest: 1, sync: true, maxLength: MOST_BYTES_WAITING });
  stdout.on("error", () => {}); // without a listener, a full disk would end the process
  let waiting = "";
  let bytes = 0;
  const flushSync = () => {
    const text = waiting;
    waiting = "";
    bytes = 0;
    if (text !== "") stdout.write(text);
  };
  process.on("exit", flushSync);
  const lines = {
    write(line: string) {
      if (waiting === "") setImmediate(flushSync);
      const more = Buffer.byteLength(line);
      if (bytes + more > MOST_BYTES_AT_ONCE) flushSync();
      waiting += line;
      bytes += more;
    },
    flushSync,
  };
  return pino({ level, base, mixin: requestFields, mixinMergeStrategy: withRequestFields }, lines);
}

/** As pino does it; but a line that says itself which request it is about, as those of every request do, is not copied for that. */
function withRequestFields(
  fields: object,
  { requestId, trace_id }: ReturnType<typeof requestFields>,
): object {
  const isRequestSaid = requestId === undefined || "requestId" in fields;
  const isTraceSaid = trace_id === undefined || "trace_id" in fields;
  if (isRequestSaid && isTraceSaid) return fields;
  return {
    ...(requestId !== undefined && { requestId }),
    ...(trace_id !== undefined && { trace_id }),
    ...fields,
  };
}
