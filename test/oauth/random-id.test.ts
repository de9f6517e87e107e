/** Ids are random, and can be pasted behind a command. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { randomId } from "../../src/oauth/random-id.ts";

test("an id that would begin like an option is drawn again", () => {
  const drawn = [Buffer.alloc(16, 0xfb), Buffer.alloc(16, 0x00)];
  assert.ok(drawn[0]?.toString("base64url").startsWith("-"));
  assert.equal(
    randomId(() => drawn.shift() as Buffer),
    "A".repeat(22),
  );
});
