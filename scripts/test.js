/**
 * `npm test`: runs every file of test/ whose name ends in `.test.ts`. To load the product takes a process longer than most
 * files' tests take, so a few processes share them all: whichever is free takes the next file, which is a suite there, and
 * its hooks are that suite's. One file alone: `node --import tsx --test FILE`.
 *
 * What is said on the command line goes to `node --test`, such as `--test-reporter=dot`.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Two more than two cores: some tests wait, for a time-out or another process. */
const PROCESSES = 4;
/** Taken first, so that no process is at work long after the others. */
const LONGEST = [
  "test/storage/redis-outage.test.ts",
  "test/dev/demo.test.ts",
  "test/examples/examples.test.ts",
  "test/admin/admin.test.ts",
  "test/providers/provider-profiles.test.ts",
  "test/flows/refresh.test.ts",
  "test/flows/upstream.test.ts",
  "test/flows/redis-outage.test.ts",
  "test/providers/glewlwyd.test.ts",
  "test/telemetry/secrets.test.ts",
  "test/storage/conformance.test.ts",
  "test/doctor/command.test.ts",
  "test/flows/replicas.test.ts",
];
/** What looks at its process: which modules it has loaded, what its environment said at the start. */
const ALONE = ["test/telemetry/tracing.test.ts"];

const work = mkdtempSync(join(tmpdir(), "test-run-"));
try {
  process.exitCode = run([...ALONE, ...sharing(inOrder(testFiles()))]);
} finally {
  rmSync(work, { recursive: true });
}

function testFiles() {
  return readdirSync(join(ROOT, "test"), { recursive: true })
    .map((path) => join("test", path))
    .filter((path) => path.endsWith(".test.ts") && !path.includes("node_modules"))
    .sort();
}

function inOrder(files) {
  const gone = [...LONGEST, ...ALONE].filter((file) => !files.includes(file));
  if (gone.length > 0) throw new Error(`scripts/test.js names what is no test: ${gone.join(", ")}`);
  return [...LONGEST, ...files.filter((file) => !LONGEST.includes(file) && !ALONE.includes(file))];
}

/** @returns a module for each process. Each takes the files that no other has taken: who makes a file's folder runs it. */
function sharing(files) {
  const taken = join(work, "taken");
  mkdirSync(taken);
  const source = `
    import assert from "node:assert/strict";
    import { mkdirSync } from "node:fs";
    import { Server } from "node:net";
    import { describe, test } from "node:test";
    import { setTimeout as delay } from "node:timers/promises";

    const isFree = (index) => mkdirSync(${JSON.stringify(join(taken, "/"))} + index, { recursive: true }) !== undefined;
    const files = ${JSON.stringify(files.map((file) => [file, pathToFileURL(join(ROOT, file)).href]))};
    for (const [index, [file, url]] of files.entries())
      if (isFree(index)) {
        await describe(file, async () => void (await import(url)));
        await refuseOpenServers(file);
      }

    /** A server that is left open keeps the process from ending, and nobody would see which file it was. */
    async function refuseOpenServers(file) {
      const open = () => process._getActiveHandles().filter((each) => each instanceof Server && each.listening);
      for (let tries = 0; open().length > 0 && tries < 50; tries++) await delay(20);
      const left = open();
      if (left.length === 0) return;
      await test(file + " closes its servers", () => assert.fail(left.length + " are still open"));
      for (const server of left) server.close();
    }`;
  return Array.from({ length: PROCESSES }, (_, index) => {
    const path = join(work, `tests-${index + 1}.mjs`);
    writeFileSync(path, source);
    return path;
  });
}

/** @returns the exit code */
function run(modules) {
  const context = join(ROOT, "scripts/test-context.cjs");
  const options = ["--require", context, "--import", "tsx", "--test", `--test-concurrency=${PROCESSES}`];
  const { status } = spawnSync(process.execPath, [...options, ...process.argv.slice(2), ...modules], {
    cwd: ROOT,
    stdio: "inherit",
  });
  return status ?? 1;
}
