/** A SECRET_KEY that others could know is distinguished from a random one. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { secretStrength } from "../../src/cli/doctor/settings.ts";

const statusOf = (key: string) => secretStrength([key]).map(({ status }) => status);

describe("doctor: the strength of SECRET_KEY", () => {
  const weak: Array<[why: string, key: string]> = [
    ["a placeholder", "change-me-please-change-me-please-xx"],
    ["what an example shows", "your-secret-key-with-at-least-32-bytes!"],
    ["the command that makes one", "openssl rand -base64 48 openssl rand"],
    ["one that this repository tests with", "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL"],
    ["a short text, repeated", "abc123".repeat(8)],
  ];
  for (const [why, key] of weak)
    test(`${why} is not good enough`, () => assert.deepEqual(statusOf(key), ["failure"]));

  const makers: Array<[how: string, make: () => string]> = [
    ["openssl rand -base64 48", () => randomBytes(48).toString("base64")],
    ["openssl rand -base64 32", () => randomBytes(32).toString("base64")],
    ["openssl rand -hex 32", () => randomBytes(32).toString("hex")],
    ["16 bytes in hex", () => randomBytes(16).toString("hex")],
    ["base64url", () => randomBytes(32).toString("base64url")],
  ];
  for (const [how, make] of makers)
    test(`500 keys made by ${how} are fine`, () => {
      for (let round = 0; round < 500; round++) {
        const key = make();
        assert.deepEqual(statusOf(key), ["ok"], key);
      }
    });

  test("findings name the position of each weak key, and never the key", () => {
    const keys = [
      randomBytes(48).toString("base64"),
      "abc123".repeat(8),
      "change-me-please-change-me-please-xx",
    ];
    const findings = secretStrength(keys);
    assert.deepEqual(
      findings.map(({ says }) => says.slice(0, 17)),
      ["SECRET_KEY: key 2", "SECRET_KEY: key 3"],
    );
    for (const key of keys) assert.ok(!JSON.stringify(findings).includes(key));
  });
});
