/** What the log and the audit log have of a grant. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { notGiven } from "../../src/grants/grant.ts";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";

const catalogue = scopeCatalogue(
  { orders: { description: "All", includes: ["orders:*"] }, "orders:read": "See", "orders:write": "Cancel" },
  [],
);

const TABLE: Array<[what: string, allowed: string[] | undefined, scopes: string[], lacking: string[]]> = [
  ["everything given", ["orders:read"], ["orders:read"], []],
  ["nothing given", ["orders:read", "orders:write"], [], ["orders:read", "orders:write"]],
  ["a part of what was approved", ["orders"], ["orders:read"], ["orders"]],
  ["given as a part of a whole", ["orders:read"], ["orders"], []],
  ["a scope that is not declared any more", ["orders:old", "orders:read"], [], ["orders:read"]],
  ["a grant of an earlier version", undefined, ["orders:read"], []],
];
for (const [what, allowed, scopes, lacking] of TABLE)
  test(`approved and not given: ${what}`, () =>
    assert.deepEqual(notGiven(allowed === undefined ? { scopes } : { allowed, scopes }, catalogue), lacking));
