/**
 * The programs as they are built. A process of dist/ starts three times as fast as one that compiles src/ on its way, and
 * is what people run.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

let isBuilt = false;

/** @returns the path of the program, such as `src/cli/admin` or `dev/demo/demo`; dist/ is made anew if its sources have changed */
export function builtProgram(name: string): string {
  buildOnce();
  const path = fileURLToPath(new URL(`../../dist/${name}.js`, import.meta.url));
  if (!existsSync(path)) throw new Error(`There is no program ${path}`);
  return path;
}

export function buildOnce(): void {
  if (isBuilt) return;
  const script = fileURLToPath(new URL("../../scripts/build.js", import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: "utf8" });
  if (status !== 0) throw new Error(`The sources do not compile:\n${stdout}${stderr}`);
  isBuilt = true;
}
