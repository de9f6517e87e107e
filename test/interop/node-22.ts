/** A Node.js that the programs of others run on: they need a newer one than this project does. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** What the MCP Inspector asks for, the most demanding of them. */
const [MAJOR, MINOR] = [22, 19] as const;

/** The path of its executable: the Node.js that runs the tests, if it is new enough, otherwise one installed here. */
export const node22: string = findNode22();
export const node22Version: string = execFileSync(node22, ["--version"], { encoding: "utf8" }).trim();

function findNode22(): string {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > MAJOR || (major === MAJOR && minor >= MINOR)) return process.execPath;
  const installed = new URL(
    `./node_modules/node-${process.platform}-${process.arch}/bin/node`,
    import.meta.url,
  );
  if (existsSync(installed)) return fileURLToPath(installed);
  throw new Error(
    `The programs of others need Node.js ${MAJOR}.${MINOR} or newer, and this is ${process.versions.node}. On Linux (x64, arm64) "npm ci --prefix test/interop" installs one beside them; elsewhere run the tests with a newer Node.js.`,
  );
}
