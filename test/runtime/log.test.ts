/** The log on stdout: nothing is lost at the end, and nobody who stops reading stops the server. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { builtProgram } from "../support/built-program.ts";

const programOf = (script: string) =>
  `import { createLog } from ${JSON.stringify(builtProgram("src/runtime/log"))}; const log = createLog("info"); ${script}`;

function run(script: string) {
  return spawn(process.execPath, ["--input-type=module", "-e", programOf(script)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

test("lines logged in the last turn are written, however the process ends", async () => {
  for (const end of ["process.exit(0)", "process.exitCode = 0"]) {
    const child = run(`for (let i = 0; i < 1_000; i++) log.info({ i }, "line"); ${end};`);
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
    });
    await once(child, "close");
    assert.equal(text.trim().split("\n").length, 1_000, end);
  }
});

test("a reader that goes away neither blocks nor ends the process", async () => {
  const child = run(`
    const talking = setInterval(() => log.info("still here"), 10);
    setTimeout(() => { clearInterval(talking); process.exit(7); }, 1_500);`);
  await once(child.stdout, "data");
  child.stdout.destroy();
  const [code] = await once(child, "exit");
  assert.equal(code, 7, "it ran until it wanted to end");
});

test("a disk that is full neither ends the process nor fills its memory", {
  skip: process.platform !== "linux" && "needs /dev/full",
}, async () => {
  const full = openSync("/dev/full", "w");
  const script = `
    const before = process.memoryUsage().rss;
    const talking = setInterval(() => { for (let i = 0; i < 100; i++) log.info("x".repeat(10_000)); }, 5);
    setTimeout(() => {
      clearInterval(talking);
      process.exit(process.memoryUsage().rss - before < 100_000_000 ? 7 : 8);
    }, 2_000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", programOf(script)], {
    stdio: ["ignore", full, "inherit"],
  });
  closeSync(full);
  const [code] = await once(child, "exit");
  assert.equal(code, 7);
});

test("lines of several processes that share a pipe stay whole, however slowly it is read", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "log-"));
  t.after(() => rm(folder, { recursive: true }));
  const pipe = join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  const script = `
    let rounds = 0;
    const talking = setInterval(() => {
      for (let i = 0; i < 100; i++) log.info({ i, pad: "x".repeat(250) }, "line");
      if (++rounds === 10) clearInterval(talking);
    }, 1);`;
  const program = [process.execPath, "--input-type=module", "-e", programOf(script)];
  spawn("sh", ["-c", 'for i in 1 2 3 4; do "$@" & done > "$0"', pipe, ...program]);
  const reader = await open(pipe);
  t.after(() => reader.close());
  let text = "";
  for (;;) {
    const { bytesRead, buffer } = await reader.read(Buffer.alloc(4_096));
    if (bytesRead === 0) break;
    text += buffer.toString("utf8", 0, bytesRead);
    await delay(1);
  }
  const lines = text.trim().split("\n");
  assert.equal(lines.length, 4_000);
  for (const line of lines) JSON.parse(line);
});
