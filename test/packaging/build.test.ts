/** scripts/build.js, in a small project of its own: what it compiles, when it does not, and what stays when it fails. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

describe("scripts/build.js", () => {
  const project = mkdtempSync(join(tmpdir(), "build-"));
  const at = (path: string) => join(project, path);
  const source = (name: string, text: string) => writeFileSync(at(`src/${name}`), text);
  const compilations = () =>
    existsSync(at("seen")) ? readFileSync(at("seen"), "utf8").trim().split("\n") : [];
  const compiler = at("node_modules/typescript/bin/tsc");

  before(() => {
    for (const folder of ["src/cli", "scripts", "node_modules/typescript/bin"])
      mkdirSync(at(folder), { recursive: true });
    cpSync(join(root, "scripts/build.js"), at("scripts/build.js"));
    writeFileSync(at("package.json"), '{ "type": "module" }');
    writeFileSync(
      at("tsconfig.json"),
      '{ "compilerOptions": { "module": "NodeNext", "types": [], "lib": ["ES5"], "skipLibCheck": true, "strict": true } }',
    );
    writeFileSync(
      at("tsconfig.build.json"),
      '{ "extends": "./tsconfig.json", "compilerOptions": { "rootDir": "." }, "include": ["src"] }',
    );
    writeFileSync(at("node_modules/typescript/package.json"), '{ "type": "module" }');
    // The real one, which first notes what a server would find in dist/ at this moment.
    writeFileSync(
      compiler,
      `import { appendFileSync, existsSync, readFileSync } from "node:fs";
       appendFileSync("seen", (existsSync("dist/src/cli/start.js") ? readFileSync("dist/src/cli/start.js", "utf8") : "nothing").trim() + "\\n");
       await import(${JSON.stringify(join(root, "node_modules/typescript/bin/tsc"))});`,
    );
    source("cli/start.ts", "export const version: number = 1;");
    source("other.ts", "export {};");
  });
  after(() => rmSync(project, { recursive: true }));

  async function build(...args: string[]): Promise<{ code: number; output: string }> {
    const child = spawn(process.execPath, ["scripts/build.js", ...args], { cwd: project });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        output += chunk.toString();
      });
    const [code] = await once(child, "close");
    return { code, output };
  }
  const built = () => /version = (\d)/.exec(readFileSync(at("dist/src/cli/start.js"), "utf8"))?.[1];
  const leftovers = () => readdirSync(project).filter((name) => name.startsWith(".dist-"));

  test("makes dist/ where there is none", async () => {
    assert.deepEqual(await build(), { code: 0, output: "" });
    assert.equal(built(), "1");
    assert.deepEqual(compilations(), ["nothing"]);
  });

  test("compiles nothing when nothing has changed, also when every time stamp has", async () => {
    for (const name of ["cli/start.ts", "other.ts"]) utimesSync(at(`src/${name}`), new Date(), new Date());
    assert.equal((await build()).code, 0);
    assert.equal(compilations().length, 1);
    await build("--always");
    assert.equal(compilations().length, 2);
  });

  test("while it compiles, a server finds all of dist/ as it was", async () => {
    source("cli/start.ts", "export const version: number = 2;");
    assert.equal((await build()).code, 0);
    assert.match(compilations().at(-1) ?? "", /version = 1/);
    assert.equal(built(), "2");
    assert.deepEqual(leftovers(), []);
  });

  test("what is no source any more is not in dist/ any more", async () => {
    assert.ok(existsSync(at("dist/src/other.js")));
    rmSync(at("src/other.ts"));
    await build();
    assert.ok(!existsSync(at("dist/src/other.js")));
  });

  test("a build that fails says why, and leaves the old one", async () => {
    source("cli/start.ts", 'export const version: number = "3";');
    const { code, output } = await build();
    assert.notEqual(code, 0);
    assert.match(output, /src\/cli\/start\.ts.*not assignable/);
    assert.equal(built(), "2");
    assert.deepEqual(leftovers(), []);
  });

  test("several at once all succeed, and what one that was killed left is cleared away", async () => {
    source("cli/start.ts", "export const version: number = 4;");
    // No process has this number: Linux' largest is 4194304.
    mkdirSync(at(".dist-99999999"));
    const results = await Promise.all([build(), build(), build("--always")]);
    assert.deepEqual(results, Array(3).fill({ code: 0, output: "" }));
    assert.equal(built(), "4");
    assert.deepEqual(leftovers(), []);
  });

  test("without a compiler, what is built is used; where nothing is, it says what to do", async () => {
    rmSync(compiler);
    source("cli/start.ts", "export const version: number = 5;");
    assert.deepEqual(await build(), { code: 0, output: "" });
    rmSync(at("dist"), { recursive: true });
    const { code, output } = await build();
    assert.equal(code, 1);
    assert.match(output, /npm ci/);
  });
});

test("a server that runs loads nothing more from dist/", () => {
  const modules = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .filter((name) =>
      /\bimport\(\s*"\.|\bimport\((?!\s*")/.test(readFileSync(join(root, "src", name), "utf8")),
    );
  // All of them while they start.
  assert.deepEqual(modules.sort(), [
    "cli/bin.ts",
    "cli/start.ts",
    "server/tools-module.ts",
    "telemetry/load-tracing.ts",
  ]);
});

test("nothing in production loads the demo: its identity provider takes anybody for anybody", () => {
  const importers = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .filter((name) => /["'`](?:\.\.?\/)+dev\//.test(readFileSync(join(root, "src", name), "utf8")));
  assert.deepEqual(importers, ["cli/bin.ts"]);
});

test("every command of package.json that needs dist/ builds it so", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const [name, command] of Object.entries<string>(scripts))
    if (command.startsWith("node dist/")) assert.equal(scripts[`pre${name}`], "node scripts/build.js", name);
});
