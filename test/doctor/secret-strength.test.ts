/** A SECRET_KEY that somebody could guess is told from one that was made by chance. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { secretStrength } from "../../src/doctor/secret-strength.ts";

const statusOf = (key: string) => secretStrength([key]).map(({ status }) => status);

describe("the strength of SECRET_KEY", () => {
  const weak: Array<[why: string, key: string, status: "failure" | "warning"]> = [
    ["a placeholder", "change-me-please-change-me-please-xx", "failure"],
    ["what an example shows", "your-secret-key-with-at-least-32-bytes!", "failure"],
    ["the command that makes one", "openssl rand -base64 48 openssl rand", "failure"],
    ["one that this repository tests with", "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL", "failure"],
    ["a short text, repeated", "abc123".repeat(8), "failure"],
    ["one half twice", "kV7n2QyW9sLpX4tRkV7n2QyW9sLpX4tR", "warning"],
    ["words", "thisisaverylongkeythatnobodywillguess", "warning"],
    ["words with spaces", "correct horse battery staple correct horse", "warning"],
    ["the alphabet", "abcdefghijklmnopqrstuvwxyz0123456789", "warning"],
    ["the keyboard's rows", "qwertyuiopasdfghjklzxcvbnm1234567890", "warning"],
    ["a name in base64", Buffer.from("hello world hello world hello").toString("base64"), "warning"],
    ["a sentence in hex", Buffer.from("my very own server").toString("hex"), "warning"],
  ];
  for (const [why, key, status] of weak)
    test(`${why} is not good enough`, () => assert.deepEqual(statusOf(key), [status]));

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

  test("no finding repeats the key, and each weak one of a list is named", () => {
    const keys = [
      randomBytes(48).toString("base64"),
      "abc123".repeat(8),
      "thisisaverylongkeythatnobodywillguess",
    ];
    const findings = secretStrength(keys);
    assert.deepEqual(
      findings.map(({ says }) => says.slice(0, 17)),
      ["SECRET_KEY: key 2", "SECRET_KEY: key 3"],
    );
    for (const key of keys) assert.ok(!JSON.stringify(findings).includes(key));
  });
});
