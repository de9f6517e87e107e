/** This package itself: where it is, and which version it is. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of its package.json: the sources lie below it, and so does what they are compiled to, one folder deeper. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json")) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

/** What its package.json says of it. */
export function packageManifest(): {
  version: string;
  engines: { node: string };
  peerDependencies: Record<string, string>;
} {
  return JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8"));
}
