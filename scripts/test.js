/**
 * `npm test`: runs every file of test/ whose name ends in `.test.ts`. To load the product takes a process longer than most
 * files' tests take, so files of a folder share one: each is a suite there, and its hooks are that suite's. One file alone:
 * `node --import tsx --test FILE`.
 *
 * What is said on the command line goes to `node --test`, such as `--test-reporter=dot`.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Few enough that two cores have something to do until the end. */
const FILES_OF_A_PROCESS = 8;
/** Some tests wait, for a time-out or another process. */
const PROCESSES_AT_ONCE = 3;
/** What looks at its process: which modules it has loaded, what its environment said at the start. */
const ALONE = ["test/telemetry/tracing.test.ts"];

const entries = mkdtempSync(join(tmpdir(), "test-entries-"));
try {
  process.exitCode = run(parcels(testFiles()).map(entryOf));
} finally {
  rmSync(entries, { recursive: true });
}

function testFiles() {
  return readdirSync(join(ROOT, "test"), { recursive: true })
    .map((path) => join("test", path))
    .filter((path) => path.endsWith(".test.ts") && !path.includes("node_modules"))
    .sort();
}

/** The files of each process: of one folder, in equal parts. */
function parcels(files) {
  const shared = new Map();
  for (const file of files.filter((each) => !ALONE.includes(each)))
    shared.set(dirname(file), [...(shared.get(dirname(file)) ?? []), file]);
  const parts = [...shared.values()].flatMap((all) => {
    const count = Math.ceil(all.length / FILES_OF_A_PROCESS);
    return Array.from({ length: count }, (_, part) => all.filter((_, index) => index % count === part));
  });
  return [...parts, ...ALONE.map((file) => [file])];
}

/** A module of one suite a file. */
function entryOf(files, index) {
  const suites = files.map(
    (file) =>
      `describe(${JSON.stringify(file)}, async () => void (await import(${JSON.stringify(pathToFileURL(join(ROOT, file)).href)})));`,
  );
  const entry = join(entries, `${basename(dirname(files[0]))}-${index}.mjs`);
  writeFileSync(entry, ['import { describe } from "node:test";', ...suites].join("\n"));
  return entry;
}

/** @returns the exit code */
function run(files) {
  const options = ["--import", "tsx", "--test", `--test-concurrency=${PROCESSES_AT_ONCE}`];
  const { status } = spawnSync(process.execPath, [...options, ...process.argv.slice(2), ...files], {
    cwd: ROOT,
    stdio: "inherit",
  });
  return status ?? 1;
}
