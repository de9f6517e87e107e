/** A Node.js that runs the programs of others: this one, if it is new enough, or the one that is installed beside them. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

/** @throws Error saying what to do, if there is none */
export function node22(): string {
  if (major > 22 || (major === 22 && minor >= 19)) return process.execPath;
  const name = `node-${process.platform}-${process.arch}`;
  const installed = fileURLToPath(new URL(`node_modules/${name}/bin/node`, import.meta.url));
  if (existsSync(installed)) return installed;
  throw new Error(
    `These tests need Node.js 22.19 or newer, and there is no package of it for ${process.platform} on ${process.arch}: run them with such a Node.js.`,
  );
}
