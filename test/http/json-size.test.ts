/** Measuring JSON before it is parsed: never less than what the parser makes. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { measureJson } from "../../src/http/json-size.ts";
import { fc } from "../support/property.ts";

const measure = (text: string) => measureJson(Buffer.from(text));

/** What JSON.parse made, without recursion in the text's depth. */
function counted(value: unknown): { values: number; depth: number } {
  if (typeof value !== "object" || value === null) return { values: 1, depth: 0 };
  const members = Object.values(value).map(counted);
  return {
    values: members.reduce((sum, { values }) => sum + values, 1),
    depth: 1 + Math.max(0, ...members.map(({ depth }) => depth)),
  };
}

describe("the size of a JSON text", () => {
  for (const [text, values, depth] of [
    ["1", 1, 0],
    ["[]", 2, 1],
    ["[1,2,3]", 4, 1],
    ['{"a":{"b":[1]}}', 4, 3],
    ['"[[[,,,"', 1, 0],
    ['["\\"[,",2]', 3, 1],
    ['["\\\\",[2]]', 4, 2],
    ['{"[,":"],{"}', 2, 1],
    ["[[[[", 5, 4],
    ["]]][", 2, 0],
    ['"unfinished [,', 1, 0],
    ['"unfinished \\', 1, 0],
    ["", 1, 0],
  ] as const)
    test(`of ${text}`, () => assert.deepEqual(measure(text), { values, depth }));

  test("is never below what JSON.parse makes of it, and at most twice that", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), (text) => {
        const [measured, made] = [measure(text), counted(JSON.parse(text))];
        assert.equal(measured.depth, made.depth);
        assert.ok(measured.values >= made.values && measured.values <= 2 * made.values);
      }),
    );
  });

  test("of a million arrays in each other needs no stack", () => {
    assert.equal(measure("[".repeat(1_000_000)).depth, 1_000_000);
  });
});
