/** SECURITY.md names, for each defence, a test that proves it: each is there, by that name. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { documents } from "../support/documents.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const security = documents.find(({ path }) => path === "SECURITY.md")?.text ?? "";
const rows = [...security.matchAll(/^\| (?!Threat|---|Asset)(.+) \| (.*) \| (.+) \|$/gm)];

test("every line of a table of defences names a test", () => {
  assert.ok(rows.length > 30);
  for (const [row, , , proof] of rows) assert.match(proof ?? "", /^`test\/[^`]+` › `[^`]+`$/, row);
});

test("every test that it names exists", () => {
  for (const [, , , proof = ""] of rows) {
    const [, file = "", name = ""] = /^`([^`]+)` › `([^`]+)`$/.exec(proof) ?? [];
    assert.ok(existsSync(`${root}${file}`), `${file} does not exist`);
    assert.ok(namesOf(readFileSync(`${root}${file}`, "utf8")).includes(name), `${file} has no "${name}"`);
  }
});

/** Of all tests and groups of tests in a file. */
function namesOf(source: string): string[] {
  return [...source.matchAll(/\b(?:test|describe|suite|it)\(\s*"((?:[^"\\]|\\.)*)"/g)].map(([, literal]) =>
    JSON.parse(`"${literal}"`),
  );
}
