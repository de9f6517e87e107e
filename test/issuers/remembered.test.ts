/** What is remembered of tokens: within a bound, for their time, and never the token itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { rememberTokens } from "../../src/issuers/remembered.ts";

test("beyond the limit what was used longest ago is forgotten, and nothing else", () => {
  const remembered = rememberTokens<number>(3, () => 0);
  for (const [index, token] of ["a", "b", "c"].entries()) remembered.put(token, index, 60);
  remembered.get("a");
  remembered.put("d", 3, 60);
  assert.deepEqual(
    ["a", "b", "c", "d"].map((token) => remembered.get(token)),
    [0, undefined, 2, 3],
  );
});

test("a flood of tokens leaves as many as fit", () => {
  const remembered = rememberTokens<number>(100, () => 0);
  for (let index = 0; index < 10_000; index++) remembered.put(`token-${index}`, index, 60);
  const left = Array.from({ length: 10_000 }, (_, index) => remembered.get(`token-${index}`));
  assert.equal(left.filter((each) => each !== undefined).length, 100);
});

test("a token counts until its time is over, and not at all without any", () => {
  let now = 0;
  const remembered = rememberTokens<string>(3, () => now);
  remembered.put("a", "a", 10);
  remembered.put("b", "b", 0);
  remembered.put("c", "c", -5);
  now = 9;
  assert.deepEqual(
    [remembered.get("a"), remembered.get("b"), remembered.get("c")],
    ["a", undefined, undefined],
  );
  now = 10;
  assert.equal(remembered.get("a"), undefined);
});
