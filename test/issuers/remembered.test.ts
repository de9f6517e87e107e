/** What is remembered of tokens: within bounds of number and bytes, for their time, and never the token itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { rememberTokens } from "../../src/issuers/remembered.ts";

const entries = (count: number) => ({ entries: count, bytes: 1_000_000_000, bytesOf: () => 0 });

test("beyond the limit what was used longest ago is forgotten, and nothing else", () => {
  const remembered = rememberTokens<number>(entries(3), () => 0);
  for (const [index, token] of ["a", "b", "c"].entries()) remembered.put(token, index, 60);
  remembered.get("a");
  remembered.put("d", 3, 60);
  assert.deepEqual(
    ["a", "b", "c", "d"].map((token) => remembered.get(token)),
    [0, undefined, 2, 3],
  );
});

test("a flood of tokens leaves as many as fit", () => {
  const remembered = rememberTokens<number>(entries(100), () => 0);
  for (let index = 0; index < 10_000; index++) remembered.put(`token-${index}`, index, 60);
  const left = Array.from({ length: 10_000 }, (_, index) => remembered.get(`token-${index}`));
  assert.equal(left.filter((each) => each !== undefined).length, 100);
});

test("a token counts until its time is over, and not at all without any", () => {
  let now = 0;
  const remembered = rememberTokens<string>(entries(3), () => now);
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

test("beyond so many or so many bytes, what was used longest ago is forgotten", () => {
  let now = 0;
  const bytesOf = (value: string) => value.length;
  const few = rememberTokens<string>({ entries: 2, bytes: 1_000_000, bytesOf }, () => now);
  for (const key of ["a", "b"]) few.put(key, key, 10);
  few.get("a");
  few.put("c", "c", 10);
  assert.deepEqual([few.get("a"), few.get("b"), few.get("c")], ["a", undefined, "c"]);

  const small = rememberTokens<string>({ entries: 1_000, bytes: 100_000, bytesOf }, () => now);
  const large = "x".repeat(30_000);
  for (const key of ["a", "b", "c", "d"]) small.put(key, large, 10);
  assert.deepEqual(
    ["a", "b", "c", "d"].map((key) => small.get(key)?.length),
    [undefined, 30_000, 30_000, 30_000],
  );
  // Its bytes are given back when it is replaced, forgotten, or over.
  for (let round = 0; round < 10; round++) small.put("d", large, 10);
  small.forget("b");
  small.put("e", large, 10);
  assert.equal(small.get("c"), large);
  now = 10;
  assert.equal(small.get("c"), undefined);
});
