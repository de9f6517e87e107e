/** Where the command line speaks: answers on standard output, everything else on standard error. */
import { createInterface } from "node:readline/promises";
import { harmless } from "../../runtime/terminal-text.ts";
import type { Streams } from "../streams.ts";

export interface Terminal {
  /** The answer, for people and for programs. */
  print(text: string): void;
  /** What people should know beside it. */
  say(text: string): void;
  /** Whether nobody reads the answer any more: `admin grants list | head`. What is being ended is ended all the same. */
  isUnread(): boolean;
  /** How far it is: in place where somebody looks, otherwise now and then. */
  progress(text: string): void;
  /** Of standard output; undefined if that goes somewhere else. */
  columns: number | undefined;
  /** Undefined where nobody could answer. Only `y` and `yes` mean yes. */
  confirm: ((question: string) => Promise<boolean>) | undefined;
}

const PROGRESS_MS = { seen: 200, logged: 5_000 };
/** Of a terminal that does not say. */
const COLUMNS = 80;

export function terminalOf({ stdin, stdout, stderr }: Streams): Terminal {
  let shown = performance.now();
  let isOnALine = false;
  let isUnread = false;
  // Without a listener it would end the process, wherever it is.
  stdout.on("error", () => {
    isUnread = true;
  });
  stderr.on("error", () => {});
  // No text that is printed here contains control sequences.
  const lines = (text: string) => text.split("\n").map(harmless).join("\n");
  const say = (text: string) => {
    stderr.write(`${isOnALine ? "\r\x1b[K" : ""}${lines(text)}\n`);
    isOnALine = false;
  };
  return {
    print: (text) => void stdout.write(`${lines(text)}\n`),
    say,
    isUnread: () => isUnread,
    progress(text) {
      if (performance.now() - shown < (stderr.isTTY ? PROGRESS_MS.seen : PROGRESS_MS.logged)) return;
      shown = performance.now();
      if (!stderr.isTTY) return say(text);
      stderr.write(`\r\x1b[K${lines(text)}`);
      isOnALine = true;
    },
    columns: stdout.isTTY ? stdout.columns || COLUMNS : undefined,
    confirm:
      stdin.isTTY && stderr.isTTY
        ? async (question) => {
            const reader = createInterface({ input: stdin, output: stderr });
            try {
              // Ctrl+D counts as no.
              const ended = new Promise<string>((resolve) => reader.once("close", () => resolve("")));
              return /^y(es)?$/i.test((await Promise.race([reader.question(question), ended])).trim());
            } finally {
              reader.close();
            }
          }
        : undefined,
  };
}
