/** Files of `npm run dev` with secrets in them: nobody else on this computer reads them. */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";

export function makeFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

/** All of it or nothing: who is killed in the middle leaves the file as it was. */
export function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
