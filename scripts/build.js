/**
 * Compiles src/ and dev/ into dist/ if dist/ was made of other sources; with `--always` in any case. A server may be starting from
 * dist/ meanwhile: the compiler writes into a folder of its own, which takes the place of dist/ when it is complete. What
 * runs already has loaded its modules, so that it needs neither. A build that fails leaves dist/ as it was.
 *
 * JavaScript, and nothing but Node: it also runs where no development dependencies are, and then has nothing to do.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DIST = join(ROOT, "dist");
const COMPILER = join(ROOT, "node_modules/typescript/bin/tsc");
const STAMP = ".sources";
/** Of a process: `.dist-1234` is being filled, `.dist-1234-old` was replaced. */
const WORKING_FOLDER = /^\.dist-(\d+)(-old)?$/;

process.exitCode = main(process.argv.includes("--always"));

/** @returns the exit code */
function main(always) {
  const isBuilt = existsSync(join(DIST, "src"));
  if (!existsSync(COMPILER)) {
    if (isBuilt && !always) return 0;
    process.stderr.write("There is no compiler here to make dist/ with. Install it: npm ci\n");
    return 1;
  }
  const sources = hashOfSources();
  if (isBuilt && !always && stampOfDist() === sources) return 0;
  removeLeftovers();
  const built = join(ROOT, `.dist-${process.pid}`);
  try {
    const compiler = spawnSync(process.execPath, [COMPILER, "-p", "tsconfig.build.json", "--outDir", built], {
      cwd: ROOT,
      stdio: "inherit",
    });
    if (compiler.status !== 0) return compiler.status ?? 1;
    writeFileSync(join(built, STAMP), sources);
    putInPlace(built);
    return 0;
  } finally {
    rmSync(built, { recursive: true, force: true });
  }
}

/** By content: a checkout changes every time stamp, and a removed file changes none. */
function hashOfSources() {
  const files = ["src", "dev"]
    .map((folder) => join(ROOT, folder))
    .filter(existsSync)
    .flatMap((folder) => readdirSync(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const settings = ["tsconfig.json", "tsconfig.build.json", "package.json", "package-lock.json"];
  const hash = createHash("sha256");
  for (const file of [...files, ...settings.map((name) => join(ROOT, name)).filter(existsSync)])
    hash
      .update(`${file.slice(ROOT.length)}\0`)
      .update(readFileSync(file))
      .update("\0");
  return hash.digest("hex");
}

function stampOfDist() {
  const stamp = join(DIST, STAMP);
  return existsSync(stamp) ? readFileSync(stamp, "utf8") : undefined;
}

/** A folder cannot be renamed over one that is there. Two builds at once both succeed, and the later one stays. */
function putInPlace(built) {
  const old = `${built}-old`;
  for (;;) {
    let hadDist = true;
    try {
      renameSync(DIST, old);
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
      hadDist = false;
    }
    try {
      renameSync(built, DIST);
      break;
    } catch (error) {
      if (hadDist && !existsSync(DIST)) renameSync(old, DIST);
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    } finally {
      rmSync(old, { recursive: true, force: true });
    }
  }
}

/** Of builds that were killed. */
function removeLeftovers() {
  for (const name of readdirSync(ROOT)) {
    const [, pid] = WORKING_FOLDER.exec(name) ?? [];
    if (pid !== undefined && !isRunning(Number(pid)))
      rmSync(join(ROOT, name), { recursive: true, force: true });
  }
}

function isRunning(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}
