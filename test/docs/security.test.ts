/** SECURITY.md names, for each defence, a test that proves it: each is there, by that name. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { documents } from "../support/documents.ts";
import { problemWith, proofsIn } from "./proofs.ts";

const security = documents.find(({ path }) => path === "SECURITY.md")?.text ?? "";
const rows = [...security.matchAll(/^\| (?!Threat|---|Asset)(.+) \| (.*) \| (.+) \|$/gm)];

test("every line of a table of defences names a test", () => {
  assert.ok(rows.length > 30);
  for (const [row, , , proof = ""] of rows) assert.equal(proofsIn(proof)?.length, 1, row);
});

test("every test that it names exists, and runs", () => {
  const proofs = rows.flatMap(([, , , proof = ""]) => proofsIn(proof) ?? []);
  assert.deepEqual(proofs.map((proof) => problemWith(proof, "group")).filter(Boolean), []);
});
