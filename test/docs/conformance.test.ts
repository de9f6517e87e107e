/** docs/conformance.md: a line for each requirement, in order, and for each line a test that exists and runs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { documents } from "../support/documents.ts";
import { isNamed, mentionsInNames, problemWith, proofsIn } from "./proofs.ts";

const table = documents.find(({ path }) => path === "docs/conformance.md")?.text ?? "";
const rows = [...table.matchAll(/^\| (?!Id |---)(.+?) \| (.+?) \| (.+) \|$/gm)].map(
  ([, id = "", what = "", proof = ""]) => ({ id, what, proof }),
);

/** How many lines of each kind, in this order, and those that are not used. */
const SECTIONS = [
  ["A", 42, [14, 35, 40]],
  ["T", 8, []],
  ["B", 22, []],
  ["R", 21, []],
  ["C", 30, []],
  ["K", 26, []],
  ["U", 24, []],
  ["S", 10, []],
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
