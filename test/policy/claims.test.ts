/** Claims come from outside: any shape, and no way to reach what is not a claim. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { claimAt, strings } from "../../src/policy/claims.ts";

const found: Array<[unknown, string, unknown]> = [
  [{ groups: ["a"] }, "groups", ["a"]],
  [{ realm_access: { roles: ["a"] } }, "realm_access.roles", ["a"]],
  [{ "https://example.com/groups": ["a"] }, "https://example.com/groups", ["a"]],
  [{ "a.b": "exact", a: { b: "path" } }, "a.b", "exact"],
  [{ "a.b": null, a: { b: "path" } }, "a.b", null],
  [{ resource_access: { "my.client": { roles: ["a"] } } }, "resource_access.my.client.roles", ["a"]],
  [{ "a.b": { c: 1 } }, "a.b.c", 1],
  [{ a: {}, "a.b": { c: 1 } }, "a.b.c", 1],
  [JSON.parse('{"__proto__":{"groups":"own"}}'), "__proto__.groups", "own"],
  [{ "": { "": 1 } }, ".", 1],
];
for (const [claims, path, value] of found)
  test(`"${path}" in ${JSON.stringify(claims)}`, () => assert.deepEqual(claimAt(claims, path), value));

const missing: Array<[unknown, string]> = [
  [{}, "groups"],
  [{}, "__proto__"],
  [{}, "constructor.name"],
  [{}, "toString"],
  [{ a: {} }, "a.__proto__.constructor"],
  [{ a: "text" }, "a.length"],
  [{ a: ["x"] }, "a.0"],
  [{ a: ["x"] }, "a.length"],
  [{ a: null }, "a.b"],
  [{ a: 1 }, "a.b"],
  [{ groups: "a" }, ""],
  [null, "a"],
  [undefined, "a"],
  ["text", "length"],
  [["a"], "0"],
];
for (const [claims, path] of missing)
  test(`no "${path}" in ${JSON.stringify(claims)}`, () => assert.equal(claimAt(claims, path), undefined));

const texts: Array<[unknown, string[]]> = [
  ["admins", ["admins"]],
  ["a b", ["a b"]],
  [
    ["a", 1, null, ["b"], { c: "d" }, "", "e"],
    ["a", "e"],
  ],
  ["", []],
  [[], []],
  [{ 0: "a", length: 1 }, []],
  [7, []],
  [true, []],
  [null, []],
  [undefined, []],
];
for (const [value, expected] of texts)
  test(`texts of ${JSON.stringify(value)}`, () => assert.deepEqual(strings(value), expected));
