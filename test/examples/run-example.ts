/** Runs one of examples/ beside its own identity provider, as `npm run example` does; compiled, which starts twice as fast. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { EXAMPLES, startExample } from "../../dev/start-example.ts";
import { builtProgram } from "../support/built-program.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";

export interface RunningExample {
  baseUrl: string;
  /** The MCP endpoint. */
  url: string;
  /** The environment that runs it, for what else a reader would start beside it. */
  port: number;
  /** Everything that it printed so far. */
  output(): string;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
}

/** Resolves when it listens. */
export async function runExample(name: string): Promise<RunningExample> {
  const port = await freePort();
  const { processes, kill, ended } = await startExample(
    EXAMPLES[name] ?? [],
    port,
    ["ignore", "pipe", "pipe"],
    (command) => command.map(compiled),
  );
  return listening(name, port, processes, async () => {
    kill("SIGTERM");
    return ended;
  });
}

let folder: string | undefined;

/** What was compiled of a path of examples/ or src/; everything else is left as it is. */
export function compiled(path: string): string {
  if (path.startsWith("src/")) return builtProgram(path.replace(/\.ts$/, ""));
  if (!path.endsWith(".mts")) return path;
  folder ??= compileExamples();
  return join(folder, path.replace(/^examples\//, "").replace(/\.mts$/, ".mjs"));
}

/** In this package, so that `mcp-oidc-proxy` is dist/, as it is for its readers. */
function compileExamples(): string {
  const outDir = mkdtempSync(fileURLToPath(new URL("./.compiled-", import.meta.url)));
  process.once("exit", () => rmSync(outDir, { recursive: true }));
  const settings = join(outDir, "tsconfig.json");
  writeFileSync(
    settings,
    JSON.stringify({
      extends: "../../../tsconfig.json",
      // `npm run types` checks them.
      compilerOptions: { noCheck: true, noEmit: false, outDir: ".", rootDir: "../../../examples", paths: {} },
      include: ["../../../examples"],
    }),
  );
  builtProgram("src/index"); // which they import
  const { status, stdout } = spawnSync(
    process.execPath,
    [fileURLToPath(new URL("../../node_modules/typescript/bin/tsc", import.meta.url)), "-p", settings],
    { encoding: "utf8" },
  );
  assert.equal(status, 0, stdout);
  return outDir;
}

/** The command itself. */
export async function runExampleCommand(name: string): Promise<RunningExample> {
  const port = await freePort();
  const child = spawn(process.execPath, ["--import", "tsx", "dev/example.ts", name], {
    env: { PATH: process.env.PATH, PORT: String(port) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = once(child, "exit");
  return listening(name, port, [child], async () => {
    child.kill("SIGTERM");
    const [code] = await exited;
    return code;
  });
}

async function listening(
  name: string,
  port: number,
  processes: readonly ChildProcess[],
  stop: RunningExample["stop"],
): Promise<RunningExample> {
  let output = "";
  for (const { stdout, stderr } of processes)
    for (const stream of [stdout, stderr])
      stream?.on("data", (chunk: Buffer) => {
        output += chunk.toString();
      });
  await eventually(
    `the example ${name} listens`,
    () => {
      if (processes.some(({ exitCode }) => exitCode !== null))
        throw new Error(`It did not start:\n${output}`);
      return output.includes("Listening");
    },
    120,
  );
  const baseUrl = `http://localhost:${port}`;
  return { baseUrl, url: `${baseUrl}/mcp`, port, output: () => output, stop };
}
