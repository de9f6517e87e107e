/** How lately and how strongly a user has to have signed in: what is declared, and what is enough. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  requiredAuthentication,
  requiredByError,
  shortfallOf,
  strictest,
  userAuthentication,
} from "../../src/oauth/required-authentication.ts";

const NOW = 1_800_000_000;

test("what another server says in an error is asked for, never for less than a minute", () => {
  assert.deepEqual(requiredByError({ max_age: 5, acr_values: 'mfa hardware "' }), {
    maxAge: 60,
    acrValues: ["mfa", "hardware"],
  });
  assert.deepEqual(requiredByError({ max_age: "300" }), { maxAge: 300 });
  for (const nothing of [{}, { max_age: -1 }, { max_age: 1.5 }, { max_age: [] }, { acr_values: "" }])
    assert.equal(requiredByError(nothing), undefined);
});

describe("a requirement", () => {
  test("is checked where it is declared", () => {
    assert.deepEqual(requiredAuthentication({ maxAgeSeconds: 60, acr: "mfa" }, "Tool x"), {
      maxAge: 60,
      acrValues: ["mfa"],
    });
    for (const wrong of [
      {},
      { maxAgeSeconds: 59 }, // over before the client has called again
      { maxAgeSeconds: Number.NaN },
      { maxAgeSeconds: 60.5 },
      { acr: [] },
      { acr: "" },
      { acr: 'a"b' },
      { acr: ["a", "b c"] },
    ])
      assert.throws(() => requiredAuthentication(wrong, "Tool x"), /^Error: Tool x: /, JSON.stringify(wrong));
  });

  test("of several calls, the one sign-in meets all", () => {
    assert.deepEqual(strictest([{ maxAge: 300 }, { maxAge: 60 }, { acrValues: ["mfa"] }]), {
      maxAge: 60,
      acrValues: ["mfa"],
    });
  });
});

describe("an authentication", () => {
  for (const [what, had, required, expected] of [
    ["young enough", { authTime: NOW - 300 }, { maxAge: 300 }, undefined],
    ["too old within what clocks may differ", { authTime: NOW - 330 }, { maxAge: 300 }, undefined],
    ["too old", { authTime: NOW - 331 }, { maxAge: 300 }, "too_old"],
    ["at an unknown time", {}, { maxAge: 300 }, "too_old"],
    ["in the future within what clocks may differ", { authTime: NOW + 30 }, { maxAge: 300 }, undefined],
    ["in milliseconds", { authTime: NOW * 1000 }, { maxAge: 300 }, "too_old"],
    ["in one of several ways", { acr: "b" }, { acrValues: ["a", "b"] }, undefined],
    ["in another way", { acr: "c" }, { acrValues: ["a", "b"] }, "too_weak"],
    ["in an unknown way", {}, { acrValues: ["a"] }, "too_weak"],
    ["old and weak", { authTime: 1, acr: "c" }, { maxAge: 60, acrValues: ["a"] }, "too_old"],
    ["young and weak", { authTime: NOW, acr: "c" }, { maxAge: 60, acrValues: ["a"] }, "too_weak"],
  ] as const)
    test(`${what}: ${expected ?? "enough"}`, () => {
      assert.equal(shortfallOf(had, required, { now: NOW }), expected);
    });

  test("counts from when it was asked for, however long the user takes over it", () => {
    const asked = { now: NOW, at: NOW - 500 };
    assert.equal(shortfallOf({ authTime: NOW - 400 }, { maxAge: 0 }, asked), undefined);
    assert.equal(shortfallOf({ authTime: NOW - 531 }, { maxAge: 0 }, asked), "too_old");
  });

  test("of claims that are of no use is unknown", () => {
    assert.deepEqual(userAuthentication({ auth_time: NOW, acr: "1" }), { authTime: NOW, acr: "1" });
    for (const claims of [{ auth_time: String(NOW) }, { auth_time: -1 }, { acr: 1 }, { acr: "" }, {}])
      assert.deepEqual(userAuthentication(claims), {}, JSON.stringify(claims));
  });
});
