/** The check of types beside `npm run dev`: one that is dropped leaves no compiler behind, which would take memory for minutes. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { typeCheck } from "../../dev/watch/type-check.ts";
import { eventually } from "../support/eventually.ts";

const isRunning = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test("a check that is dropped ends with the program that it has started", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "type-check-"));
  t.after(() => rmSync(root, { recursive: true }));
  const noted = join(root, "noted");
  const tsc = join(root, "node_modules/.bin/tsc");
  mkdirSync(join(root, "node_modules/.bin"), { recursive: true });
  // As tsc does it where a process cannot become another program.
  writeFileSync(tsc, `#!/bin/sh\nsleep 600 &\necho $! >> ${noted}\nwait\n`);
  chmodSync(tsc, 0o755);
  const compilers = () =>
    existsSync(noted) ? readFileSync(noted, "utf8").split("\n").filter(Boolean).map(Number) : [];

  const check = typeCheck(root, () => {});
  t.after(() => check.stop());
  check.restart();
  await eventually("it compiles", () => compilers().length === 1);
  check.restart();
  await eventually("it compiles anew", () => compilers().length === 2);
  const [first = 0, second = 0] = compilers();
  await eventually("the first compiler has ended", () => !isRunning(first));
  assert.ok(isRunning(second));
  check.stop();
  await eventually("so has the second", () => !isRunning(second));
});
