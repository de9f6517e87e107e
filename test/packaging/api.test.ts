/** docs/api.md is what the code exports, and everything in it can be imported. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { parseModule } from "../../dev/reference/declarations.ts";
import * as library from "../../src/index.ts";

describe("docs/api.md", () => {
  test("says what src/index.ts exports, and no type in it is out of reach (npm run api)", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      "--import",
      "tsx",
      "dev/reference/api-reference.ts",
      "--check",
    ]);
    assert.match(stdout, /says what/);
  });

  test("has every function and class, with its signature", () => {
    const sections = readFileSync("docs/api.md", "utf8").split(/^### /m);
    const names = Object.keys(library);
    assert.ok(names.length > 10);
    for (const name of names)
      assert.ok(
        sections.some(
          (section) =>
            section.startsWith(`${name}\n`) &&
            new RegExp(`\`\`\`ts\n(function|class) ${name}\\b`).test(section),
        ),
        name,
      );
  });
});

describe("what the compiler emits is read", () => {
  const module = parseModule(`import type { Config, Other as Mine } from "./config.ts";
import { z } from "zod";
export type { Passed } from "./passed.ts";
/** What this file owns. */
import "./x.js";
/** Either of two. */
export type Either = 
/** One. */
{
    kind: "one";
}
/** Two; } in words. */
 | {
    kind: "two";
    mine: Mine;
};
/**
 * First line,
 * second {@link Either}.
 * @throws Error
 */
export declare function both(one: Either): Config;
export declare function both(one: Either, two: Config): Config;
declare const hidden = "}";
export declare class Problem extends Error {
    readonly name = "Problem";
    constructor();
}
export {};
`);
  const named = (name: string) => module.declarations.filter((each) => each.name === name);

  test("declarations, whole, with their words", () => {
    assert.deepEqual(
      module.declarations.map(({ name }) => name),
      ["Either", "both", "both", "hidden", "Problem"],
    );
    assert.match(named("Either")[0]?.code ?? "", /^type Either = [\s\S]*mine: Mine;\n\};$/);
    assert.equal(named("both")[0]?.doc, "First line,\nsecond {@link Either}.\n@throws Error");
    assert.equal(named("both")[1]?.code, "function both(one: Either, two: Config): Config;");
    assert.match(named("Problem")[0]?.code ?? "", /^class Problem [\s\S]*\}$/);
    assert.equal(named("hidden")[0]?.doc, "");
  });

  test("what they speak of, and where that comes from", () => {
    assert.ok(named("Either")[0]?.mentions.has("Mine"));
    assert.ok(!named("Either")[0]?.mentions.has("words"), "comments do not count");
    assert.deepEqual(Object.fromEntries(module.imports), {
      Config: { name: "Config", from: "./config.d.ts" },
      Mine: { name: "Other", from: "./config.d.ts" },
      Passed: { name: "Passed", from: "./passed.d.ts" },
    });
  });
});
