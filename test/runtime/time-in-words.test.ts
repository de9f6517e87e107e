/** Times as people say them, in the largest unit of which there are two. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { relativeTime, waitingTime } from "../../src/runtime/time-in-words.ts";

const NOW = 1_764_100_000;

for (const [difference, words] of [
  [0, "just now"],
  [-1, "1 second ago"],
  [-119, "119 seconds ago"],
  [-120, "2 minutes ago"],
  [-7_199, "119 minutes ago"],
  [-7_200, "2 hours ago"],
  [-47 * 3_600, "47 hours ago"],
  [-48 * 3_600, "2 days ago"],
  [59, "in 59 seconds"],
  [179, "in 2 minutes"],
  [90 * 86_400, "in 90 days"],
] as const)
  test(`${difference} seconds from now: ${words}`, () =>
    assert.equal(relativeTime(NOW + difference, NOW), words));

for (const [seconds, words] of [
  [1, "1 second"],
  [119, "119 seconds"],
  [120, "2 minutes"],
  [121, "3 minutes"],
  [7_200, "2 hours"],
  [7_201, "3 hours"],
] as const)
  test(`a wait of ${seconds} seconds: ${words}`, () => assert.equal(waitingTime(seconds), words));
