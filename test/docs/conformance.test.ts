/** docs/conformance.md: a line for each requirement, in order, and for each line a test that exists and runs. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { documents } from "../support/documents.ts";
import { isNamed, mentionsInNames, problemWith, proofsIn } from "./proofs.ts";

const textOf = (document: string) => documents.find(({ path }) => path === document)?.text ?? "";
const [, others = "", table = ""] =
  /## Tests of others(.*?)(## The resource server.*)/s.exec(textOf("docs/conformance.md")) ?? [];
const rows = [...table.matchAll(/^\| (?!Id |---)(.+?) \| (.+?) \| (.+) \|$/gm)].map(
  ([, id = "", what = "", proof = ""]) => ({ id, what, proof }),
);

/** How many lines of each kind, in this order, and those that are not used. */
const SECTIONS = [
  ["A", 43, [14, 35, 40]],
  ["T", 8, []],
  ["B", 22, []],
  ["R", 21, []],
  ["C", 30, []],
  ["K", 26, []],
  ["U", 25, []],
  ["N", 12, []],
  ["P", 6, []],
  ["S", 10, []],
  ["M", 15, []],
  ["E", 20, []],
  ["W", 6, []],
  ["F", 13, []],
  ["X", 20, []],
  ["D", 11, []],
  ["Q", 11, []],
  ["G", 27, []],
  ["J", 8, []],
  ["L", 9, []],
  ["H", 15, []],
] as const;

test("every requirement has one line, in order", () => {
  const expected = SECTIONS.flatMap(([letter, count, unused]) =>
    Array.from({ length: count }, (_, i) => i + 1)
      .filter((number) => !unused.some((each) => each === number))
      .map((number) => `${letter}${number}`),
  );
  assert.deepEqual(
    rows.map(({ id }) => id),
    expected,
  );
});

test("every line says what is asked, and names its tests", () => {
  for (const { id, what, proof } of rows) {
    assert.ok(what.length > 3, id);
    assert.ok(proofsIn(proof), `${id}: ${proof}`);
  }
});

test("every test that it names exists, by that name, and runs", () => {
  const problems = rows.flatMap(({ id, proof }) =>
    (proofsIn(proof) ?? []).flatMap((each) => {
      const problem = problemWith(each, "test");
      return problem === undefined ? [] : [`${id}: ${problem}`];
    }),
  );
  assert.deepEqual(problems, []);
});

test("a test whose name mentions a line stands in it", () => {
  const mentions = mentionsInNames();
  assert.ok(mentions.length > 30);
  for (const { id, file, declared, source } of mentions) {
    const proofs = proofsIn(rows.find((row) => row.id === id)?.proof ?? "") ?? [];
    assert.ok(
      proofs.some((proof) => proof.file === file && isNamed(proof.name, declared, source)),
      `${id} does not name "${declared.join("…")}" of ${file}`,
    );
  }
});

test("the programs of others have the versions that were tried", () => {
  const locked = ["", "test/interop/", "test/interop/agents/"].flatMap((folder) =>
    Object.entries(
      (
        JSON.parse(readFileSync(`${folder}package-lock.json`, "utf8")) as {
          packages: Record<string, { version?: string }>;
        }
      ).packages,
    ),
  );
  const versionOf = (name: string) =>
    locked.find(([path]) => path === `node_modules/${name}`)?.[1].version ?? "";
  const programs: Array<[name: string, where: string]> = [
    ["@modelcontextprotocol/conformance", others],
    ["@modelcontextprotocol/conformance-2025", others],
    ["@modelcontextprotocol/server-everything", others],
    ["kubernetes-mcp-server-linux-amd64", others],
    ...[
      "@modelcontextprotocol/inspector",
      "mcp-remote",
      "@anthropic-ai/claude-code",
      "@openai/codex",
      "@modelcontextprotocol/sdk",
      "@modelcontextprotocol/client",
    ].flatMap((name) => [others, textOf("docs/access.md")].map((where): [string, string] => [name, where])),
  ];
  for (const [name, where] of programs) {
    const version = versionOf(name);
    assert.notEqual(version, "", `${name} is in no lockfile`);
    assert.ok(where.includes(version), `${name} ${version}`);
  }
});
