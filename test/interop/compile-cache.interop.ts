/** `npm start` and the image on a Node.js that can keep compiled modules (22 and later). */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { builtProgram } from "../support/built-program.ts";
import { makeImageTree } from "../support/image-tree.ts";
import { node22, node22Version } from "./node-22.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

test("the server keeps its compiled modules beside the code", (t) => {
  t.diagnostic(`Node.js ${node22Version}`);
  const program = builtProgram("src/cli/start");
  const folder = fileURLToPath(new URL("../../.compile-cache", pathToFileURL(program)));
  rmSync(folder, { recursive: true, force: true });
  const { status } = spawnSync(node22, [program], { env: {}, timeout: 60_000 });
  assert.equal(status, 1, "it has no settings");
  assert.ok(readdirSync(folder, { recursive: true }).length > 100);
});

test("the image has them, and a start of it compiles nothing", (t) => {
  const { folder: cwd, command: start, remove } = makeImageTree();
  t.after(remove);
  const made = /^RUN (mkdir .*compile-cache(?:.*\\\n)*.*)$/m.exec(
    readFileSync(join(root, "Dockerfile"), "utf8"),
  )?.[1];
  assert.ok(made);
  // Here it is made and read by the user of the test, whoever that is.
  const command = made.replace(/setpriv( --\S+)+/, "").replace(/chown -R \S+ \S+ && /, "");
  const env = { PATH: [dirname(node22), process.env.PATH].join(delimiter) };
  const built = spawnSync("sh", ["-ec", command], { cwd, env, encoding: "utf8", timeout: 60_000 });
  assert.deepEqual([built.status, built.stderr], [0, ""]);
  const started = spawnSync(node22, start.slice(1), {
    cwd,
    env: { ...env, NODE_DEBUG_NATIVE: "COMPILE_CACHE" },
    encoding: "utf8",
    timeout: 60_000,
    maxBuffer: 100_000_000,
  });
  assert.equal(started.status, 1, "it has no settings");
  const read = started.stderr.match(/\bcache for .* was accepted/g) ?? [];
  t.diagnostic(`${read.length} modules read`);
  assert.ok(read.length > 100, `${read.length}`);
  assert.doesNotMatch(started.stderr, /was rejected/);
});
