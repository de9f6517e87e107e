/** The log on stdout: nothing is lost at the end, and nobody who stops reading stops the server. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { builtProgram } from "../support/built-program.ts";

function run(script: string) {
  const program = `import { createLog } from ${JSON.stringify(builtProgram("src/runtime/log"))}; const log = createLog("info"); ${script}`;
  return spawn(process.execPath, ["--input-type=module", "-e", program], {
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
