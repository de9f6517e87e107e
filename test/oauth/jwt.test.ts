/** When a JWT counts, whoever signed it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CLOCK_TOLERANCE_SECONDS, type TimeRules, timeProblem } from "../../src/oauth/jwt.ts";

const NOW = 1_800_000_000;
const good = { iat: NOW - 10, exp: NOW + 60 };

function problemOf(changes: Record<string, unknown>, rules: Partial<TimeRules> = {}) {
  return timeProblem({ ...good, ...changes }, { now: NOW, ...rules });
}

test("a JWT counts from its nbf to its exp, by a clock that may be half a minute off", () => {
  assert.equal(problemOf({}), undefined);
  assert.equal(problemOf({ exp: undefined }), "without_expiry");
  assert.equal(problemOf({ exp: "soon" }), "without_expiry");
  assert.equal(problemOf({ exp: NOW - CLOCK_TOLERANCE_SECONDS + 1 }), undefined);
  assert.equal(problemOf({ exp: NOW - CLOCK_TOLERANCE_SECONDS }), "expired");
  assert.equal(problemOf({ nbf: NOW + CLOCK_TOLERANCE_SECONDS }), undefined);
  assert.equal(problemOf({ nbf: NOW + CLOCK_TOLERANCE_SECONDS + 1 }), "not_yet_valid");
  assert.equal(problemOf({ iat: NOW + CLOCK_TOLERANCE_SECONDS + 1 }), "issued_in_future");
  assert.equal(problemOf({ iat: Number.NaN }), "issued_in_future");
});

test("a lifetime counts from now, and from iat where that has to be there", () => {
  const short = { maxLifetimeSeconds: 300 };
  assert.equal(problemOf({ exp: NOW + 330 }, short), undefined);
  assert.equal(problemOf({ exp: NOW + 331 }, short), "lifetime_too_long");
  assert.equal(problemOf({ iat: undefined }, short), undefined);
  assert.equal(problemOf({ iat: undefined }, { ...short, sinceIssued: true }), "lifetime_too_long");
  assert.equal(problemOf({ iat: NOW - 290, exp: NOW + 60 }, short), undefined);
  assert.equal(
    problemOf({ iat: NOW - 290, exp: NOW + 60 }, { ...short, sinceIssued: true }),
    "lifetime_too_long",
  );
});
