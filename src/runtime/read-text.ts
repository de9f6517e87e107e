/** The text of an operator's file, within bounds. */
import { readFileSync, statSync } from "node:fs";
import { InvalidValue } from "./setting-problem.ts";

// Longer than anything that a person can answer for.
const MAX_BYTES = 256 * 1024;

/**
 * @param maxBytes of a file that a program writes
 * @throws InvalidValue, of the path
 */
export function readText(path: string, maxBytes = MAX_BYTES): string {
  try {
    const file = statSync(path);
    // Reading a pipe would block.
    if (!file.isFile()) throw invalid(path, ["is no file", "name the file itself"]);
    if (file.size > maxBytes)
      throw invalid(path, [
        `is larger than ${Math.round(maxBytes / 1024)} KB`,
        "make sure that this is the right file",
      ]);
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    if (error instanceof InvalidValue) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    throw invalid(path, REASONS[code] ?? [`cannot be read (${code})`, "see that it is on a disk that works"]);
  }
}

const REASONS: Record<string, [problem: string, remedy: string]> = {
  ENOENT: ["does not exist", "create it, or correct the path"],
  EACCES: ["may not be read by this process", "change its permissions"],
  // A name in another encoding would never match, so a rule for it would deny nothing.
  ERR_ENCODING_INVALID_ENCODED_DATA: ["is not UTF-8", "save it as UTF-8"],
};

function invalid(path: string, [problem, remedy]: [problem: string, remedy: string]): InvalidValue {
  return new InvalidValue(`names ${path}, which ${problem}`, remedy);
}
