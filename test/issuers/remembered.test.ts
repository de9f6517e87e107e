/** What is remembered of tokens is bounded in number and in bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { rememberTokens } from "../../src/issuers/remembered.ts";

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
