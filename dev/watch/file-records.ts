/**
 * The memory store, and a journal of what was written, so that a restart of `npm run dev` finds everything again. For one
 * process at a time, which is all that it is for. Counters of rate limits are not kept.
 */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { memoryStore } from "../../src/storage/memory.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { replaceFile } from "./private-files.ts";

/** One line of the journal: a record or an index member as it is from here on. */
type Line =
  | { key: string; record: string; until: number }
  | { key: string; record?: undefined }
  // The score is when it is due; an earlier version wrote seconds, which are over.
  | { index: string; member: string; score: number; until: number }
  | { index: string; member: string; score?: undefined };

/** Reads the journal if there is one, and goes on with it. `until` and `now` are milliseconds since the epoch. */
export async function fileRecords(path: string, now: () => number = Date.now): Promise<KeyValueStore> {
  const memory = memoryStore();
  const kept = replayed(readLines(path), now());
  replaceFile(path, kept.map(toLine).join("")); // what was overwritten or has ended is left out
  for (const line of kept) await putBack(memory, line, now());
  const ends = new Map<string, number>();
  for (const line of kept) if ("key" in line && line.record !== undefined) ends.set(line.key, line.until);

  const file = openSync(path, "a", 0o600);
  const write = (line: Line) => void writeSync(file, toLine(line));
  const isPut = (key: string, record: string, ttlSeconds: number) => {
    const until = now() + ttlSeconds * 1000;
    ends.set(key, until);
    write({ key, record, until });
  };
  const isGone = (key: string) => {
    ends.delete(key);
    write({ key });
  };

  // One change after the other, so that the journal has them in the order in which they were made.
  let last: Promise<unknown> = Promise.resolve();
  function inTurn<Result>(change: () => Promise<Result>, noted: (result: Result) => void): Promise<Result> {
    const turn = last.then(change).then((result) => {
      noted(result);
      return result;
    });
    last = turn.catch(() => {});
    return turn;
  }

  return {
    ...memory,
    put: (key, record, ttlSeconds) =>
      inTurn(
        () => memory.put(key, record, ttlSeconds),
        () => isPut(key, record, ttlSeconds),
      ),
    replace: (key, expected, record, ttlSeconds) =>
      inTurn(
        () => memory.replace(key, expected, record, ttlSeconds),
        (replaced) => replaced && isPut(key, record, ttlSeconds),
      ),
    rewrite: (key, expected, record) =>
      inTurn(
        () => memory.rewrite(key, expected, record),
        (rewritten) => rewritten && write({ key, record, until: ends.get(key) ?? now() }),
      ),
    delete: (key) =>
      inTurn(
        () => memory.delete(key),
        (deleted) => deleted && isGone(key),
      ),
    deleteAll: (keys) =>
      inTurn(
        () => memory.deleteAll(keys),
        () => keys.forEach(isGone),
      ),
    deleteIf: (key, expected) =>
      inTurn(
        () => memory.deleteIf(key, expected),
        (deleted) => deleted && isGone(key),
      ),
    indexes: {
      // What is not written down, that a member is due later or was forgotten, is found out again.
      ...memory.indexes,
      add: (names, member, life) =>
        inTurn(
          () => memory.indexes.add(names, member, life),
          () => {
            const [score, until] = [now() + life.due * 1000, now() + life.latest * 1000];
            for (const index of names) write({ index, member, score, until });
          },
        ),
      remove: (index, members) =>
        inTurn(
          () => memory.indexes.remove(index, members),
          () => {
            for (const member of members) write({ index, member });
          },
        ),
    },
    async close() {
      await last;
      await memory.close();
      closeSync(file);
    },
  };
}

function toLine(line: Line): string {
  return `${JSON.stringify(line)}\n`;
}

/** The last line may be half of one, if the process was killed while it wrote. */
function readLines(path: string): Line[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  const lines: Line[] = [];
  for (const line of text.split("\n"))
    try {
      if (line !== "") lines.push(JSON.parse(line));
    } catch {
      break;
    }
  return lines;
}

/** What is left in the end. */
function replayed(lines: readonly Line[], now: number): Line[] {
  const kept = new Map<string, Line>();
  for (const line of lines) {
    const name = "key" in line ? line.key : `${line.index}\n${line.member}`;
    kept.delete(name);
    if ("until" in line && line.until > now) kept.set(name, line);
  }
  return [...kept.values()];
}

async function putBack(memory: KeyValueStore, line: Line, now: number): Promise<void> {
  if (!("until" in line)) return;
  const latest = (line.until - now) / 1000;
  if ("key" in line) await memory.put(line.key, line.record, latest);
  else await memory.indexes.add([line.index], line.member, { due: (line.score - now) / 1000, latest });
}
