/** Merging a user's claims from several sources. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { mergeClaims } from "../../src/identity/oidc/user-claims.ts";

describe("merged claims", () => {
  test("later sources win, and add", () => {
    assert.deepEqual(mergeClaims({ a: 1, b: 1 }, { b: 2 }, { c: 3 }), { a: 1, b: 2, c: 3 });
    assert.deepEqual(mergeClaims(), {});
  });

  test("a verified address does not vouch for the address of another source", () => {
    const checked = { email: "alice@example.com", email_verified: true };
    assert.deepEqual(mergeClaims(checked, { email: "boss@example.com" }), { email: "boss@example.com" });
    assert.deepEqual(mergeClaims(checked, { email: "alice@example.com" }), checked);
    assert.deepEqual(mergeClaims(checked, { name: "Alice" }), { ...checked, name: "Alice" });
    assert.equal(mergeClaims(checked, { email_verified: false }).email_verified, false);
  });

  test("a claim called __proto__ is a claim like any other", () => {
    const merged = mergeClaims({}, JSON.parse('{"__proto__":{"roles":["admin"]}}'));
    assert.equal(merged.roles, undefined);
  });
});
