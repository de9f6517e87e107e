/**
 * A program that speaks MCP on stdin and stdout, one message a line (MCP, transports, stdio). It runs in a process group of its own,
 * so that what it starts ends with it; of our environment it gets the search path alone.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { StringDecoder } from "node:string_decoder";
import type { Log } from "../../runtime/log.ts";
import { BackendError } from "./backend.ts";
import type { StdioReach } from "./backend-settings.ts";
import { MessageScan } from "./json-scan.ts";

export interface BackendProcessOptions
  extends Pick<StdioReach, "command" | "environment" | "maxAnswerBytes"> {
  /** Where programs are looked for. */
  searchPath: string;
  /** Of the backend, in the log. */
  name: string;
  log: Log;
  /** Seconds. */
  now(): number;
  /** Gets each line of stdout that is not empty … */
  onLine(line: string): void;
  /** … or, of one that is too long to be kept, the id in it. */
  onLongLine(id: string | undefined): void;
  /** Called once, when it has ended and all its output was read. */
  onEnd(how: string): void;
}

/** Line breaks of Unicode, as JSON can write them. */
const ESCAPED: Readonly<Record<string, string>> = { "\u2028": "\\u2028", "\u2029": "\\u2029" };
/** What it has not read of its stdin is in our memory. */
const MAX_UNREAD_BYTES = 8 * 1_024 * 1_024;
const MAX_STDERR_CHARACTERS = 1_000;
const STDERR_LINES_PER_SECOND = 20;
/** How long it has to end by itself once its stdin is closed, and then after SIGTERM (MCP, stdio, shutdown): less than a second. */
const END_MS = 300;
const TERM_MS = 500;
/** What left its group may hold its output open for ever. */
const LAST_OUTPUT_MS = 1_000;

export class BackendProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #isOver = false;

  /** @throws BackendError if it cannot even be tried, as with more arguments than the system takes */
  constructor({
    command,
    environment,
    searchPath,
    maxAnswerBytes,
    onLine,
    onLongLine,
    onEnd,
    ...options
  }: BackendProcessOptions) {
    const [program, ...args] = command;
    const child = started(program, args, { PATH: searchPath, ...environment });
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      const ended = (how: string) => {
        this.#isOver = true;
        onEnd(how);
        resolve();
      };
      child.once("error", (error) => {
        if (child.pid === undefined) ended(startProblem(program, error));
      });
      child.once("close", (code, signal) => {
        if (child.pid !== undefined)
          ended(signal === null ? `It ended with code ${code}.` : `${signal} ended it.`);
      });
    });
    // Without one it could not be started, and may have no pipes.
    if (child.pid === undefined) return;
    child.stdin.on("error", () => {}); // it has closed it, or ended
    child.once("exit", () => {
      this.#isOver = true;
      this.kill(); // what it started and left behind
      const cut = () => {
        child.stdout.destroy();
        child.stderr.destroy();
      };
      setTimeout(cut, LAST_OUTPUT_MS).unref();
    });
    let skimmed = new MessageScan();
    inLines(child.stdout, maxAnswerBytes, {
      onLine,
      onRest: (part) => skimmed.push(Buffer.from(part)),
      onTooLong() {
        onLongLine(skimmed.messages[0]?.id);
        skimmed = new MessageScan();
      },
    });
    const tell = toldNowAndThen(options);
    inLines(child.stderr, MAX_STDERR_CHARACTERS, { onLine: tell, onTooLong: tell });
  }

  /** @throws BackendError if it does not read what it is sent */
  send(message: string): void {
    const { stdin } = this.#child;
    if (this.#isOver || stdin?.writable !== true)
      throw new BackendError("backend_unreachable", "It has closed its stdin.");
    if (stdin.writableLength > MAX_UNREAD_BYTES)
      throw new BackendError("backend_too_slow", "It does not read its stdin.");
    // A line break in JSON is white space between two values; others are in texts, and some programs take them for the end of a line.
    const line = message
      .replace(/[\r\n]/g, " ")
      .replace(/[\u2028\u2029]/g, (each) => ESCAPED[each] as string);
    stdin.write(`${line}\n`);
  }

  /** Resolves when it has ended. */
  async stop(): Promise<void> {
    this.#child.stdin?.end();
    const terminate = setTimeout(() => this.#signal("SIGTERM"), END_MS);
    const kill = setTimeout(() => this.kill(), END_MS + TERM_MS);
    await this.#ended;
    clearTimeout(terminate);
    clearTimeout(kill);
  }

  /** Ends it and what it started, at once. */
  kill(): void {
    this.#signal("SIGKILL");
  }

  #signal(signal: "SIGTERM" | "SIGKILL"): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // The whole group has ended.
    }
  }
}

function started(program: string, args: readonly string[], env: NodeJS.ProcessEnv) {
  try {
    return spawn(program, args, { env, stdio: "pipe", detached: true });
  } catch (cause) {
    const how = startProblem(program, cause as NodeJS.ErrnoException);
    throw new BackendError("backend_unreachable", how, { cause });
  }
}

function startProblem(program: string, { message, code }: NodeJS.ErrnoException): string {
  if (code === "ENOENT") return `There is no program ${program} on the search path.`;
  if (code === "EACCES") return `The program ${program} may not be executed.`;
  return `It could not be started: ${message}.`;
}

interface LineReader {
  /** Gets each line that is not empty. */
  onLine(line: string): void;
  /** Gets all parts of a line that is longer than allowed, as they come … */
  onRest?(part: string): void;
  /** … and its beginning, when it is over. */
  onTooLong(beginning: string): void;
}

function inLines(
  stream: NodeJS.ReadableStream,
  maxLength: number,
  { onLine, onRest, onTooLong }: LineReader,
): void {
  const decoder = new StringDecoder("utf8");
  let kept: string[] = [];
  let length = 0;
  const add = (part: string) => {
    const fitted = length <= maxLength;
    length += part.length;
    if (fitted) kept.push(part);
    if (length > maxLength) for (const each of fitted ? kept : [part]) onRest?.(each);
  };
  const endLine = () => {
    const line = kept.join("").trim();
    if (length > maxLength) onTooLong(line.slice(0, maxLength));
    else if (line !== "") onLine(line);
    kept = [];
    length = 0;
  };
  stream.on("data", (chunk: Buffer) => {
    const [first = "", ...others] = decoder.write(chunk).split("\n");
    add(first);
    for (const part of others) {
      endLine();
      add(part);
    }
  });
  stream.on("end", endLine);
}

/** A program that writes without end must not fill our log. */
function toldNowAndThen({
  name: backend,
  log,
  now,
}: Pick<BackendProcessOptions, "name" | "log" | "now">): (line: string) => void {
  let second = 0;
  let lines = 0;
  return (line) => {
    const current = Math.floor(now());
    if (current !== second) {
      const leftOut = lines - STDERR_LINES_PER_SECOND;
      if (leftOut > 0) log.info({ backend, lines: leftOut }, "A backend wrote more to stderr than is logged");
      second = current;
      lines = 0;
    }
    lines++;
    if (lines <= STDERR_LINES_PER_SECOND) log.info({ backend, line }, "A backend wrote to stderr");
  };
}
