/** Files of `npm run dev` with secrets: readable only by their owner. */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";

export function makeFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

/** Written atomically: a process that is killed meanwhile leaves the file as it was. */
export function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
