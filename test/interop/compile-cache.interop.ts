/** `npm start` and the image on a Node.js that can keep compiled modules (22 and later). */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { builtProgram } from "../support/built-program.ts";
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
  builtProgram("src/cli/start");
  const app = mkdtempSync(join(tmpdir(), "image-"));
  t.after(() => rmSync(app, { recursive: true }));
  const left = (path: string) => !/\/dist\/(dev|\.compile-cache)(\/|$)/.test(path);
  cpSync(join(root, "dist"), join(app, "dist"), { recursive: true, filter: left });
  cpSync(join(root, "package.json"), join(app, "package.json"));
  symlinkSync(join(root, "node_modules"), join(app, "node_modules"));
  const made = /^RUN (mkdir .*compile-cache(?:.*\\\n)*.*)$/m.exec(
    readFileSync(join(root, "Dockerfile"), "utf8"),
  )?.[1];
  assert.ok(made);
  // Here it is made and read by the user of the test, whoever that is.
  const command = made.replace(/setpriv( --\S+)+/, "").replace(/chown -R \S+ \S+ && /, "");
  const env = { PATH: [dirname(node22), process.env.PATH].join(delimiter) };
  const built = spawnSync("sh", ["-ec", command], { cwd: app, env, encoding: "utf8", timeout: 60_000 });
  assert.deepEqual([built.status, built.stderr], [0, ""]);
  const start = spawnSync(node22, ["dist/src/cli/start.js"], {
    cwd: app,
    env: { ...env, NODE_DEBUG_NATIVE: "COMPILE_CACHE" },
    encoding: "utf8",
    timeout: 60_000,
    maxBuffer: 100_000_000,
  });
  assert.equal(start.status, 1, "it has no settings");
  const read = start.stderr.match(/\bcache for .* was accepted/g) ?? [];
  t.diagnostic(`${read.length} modules read`);
  assert.ok(read.length > 500, `${read.length}`);
  assert.doesNotMatch(start.stderr, /was rejected/);
});
