/** `npm start` on a Node.js that can keep compiled modules (22 and later). */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { builtProgram } from "../support/built-program.ts";
import { node22, node22Version } from "./node-22.ts";

test("the server keeps its compiled modules beside the code", (t) => {
  t.diagnostic(`Node.js ${node22Version}`);
  const program = builtProgram("src/cli/start");
  const folder = fileURLToPath(new URL("../../.compile-cache", pathToFileURL(program)));
  rmSync(folder, { recursive: true, force: true });
  const { status } = spawnSync(node22, [program], { env: {}, timeout: 60_000 });
  assert.equal(status, 1, "it has no settings");
  assert.ok(readdirSync(folder, { recursive: true }).length > 100);
});
