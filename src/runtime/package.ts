/** This package itself: where it is, and which version it is. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of its package.json: the sources lie below it, and so does what they are compiled to, one folder deeper. */
export function packageRoot(): string {
  return nearest(dirname(fileURLToPath(import.meta.url))).folder;
}

/** As its package.json says. */
export function packageVersion(): string {
  return nearest(dirname(fileURLToPath(import.meta.url))).version;
}

function nearest(folder: string): { folder: string; version: string } {
  try {
    const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string };
    return { folder, version };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(folder) === folder) throw error;
    return nearest(dirname(folder));
  }
}
