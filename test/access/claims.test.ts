/** Reading claims of any shape, without reaching anything that is not a claim. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { claimAt, groupsAnswer, namesAt, shapeProblem, strings } from "../../src/access/claims.ts";

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

const ZITADEL = "urn:zitadel:iam:org:project:roles";
const OF_ONE_PROJECT = "urn:zitadel:iam:org:project:172183957231273473:roles";
const roles = { admin: { "1698": "acme.zitadel.cloud" }, reader: { "1698": "a.b", "1700": "c.d" } };

for (const path of [ZITADEL, OF_ONE_PROJECT])
  test(`Zitadel's roles are the keys of ${path}, and all of them are known`, () => {
    const claims = { [path]: roles };
    assert.deepEqual(namesAt(claims, path), ["admin", "reader"]);
    assert.deepEqual(groupsAnswer(claims, path), { names: ["admin", "reader"] });
    assert.deepEqual(groupsAnswer({ [path]: {} }, path), { names: [] });
    assert.equal(shapeProblem(claims, path), undefined);
  });

const odd: Array<[string, unknown, string[]]> = [
  ["roles", roles, []],
  [`${ZITADEL}2`, roles, []],
  ["urn:zitadel:iam:org:project:x:roles", roles, []],
  [ZITADEL, { admin: true }, []],
  [ZITADEL, { admin: { "1698": 7 } }, []],
  [ZITADEL, { admin: ["1698"] }, []],
  [ZITADEL, { "": { "1698": "a.b" } }, []],
  [ZITADEL, { admin: { "1698": "a.b" }, reader: null }, []],
  ["roles", ["a", { name: "b" }], ["a"]],
  ["roles", [{ name: "b" }], []],
  ["roles", "[a, b]", ["[a, b]"]],
  ["roles", '["a","b"]', ['["a","b"]']],
  ["roles", '{"a":1}', ['{"a":1}']],
  ["roles", "a, b", ["a, b"]],
  ["roles", "a,b", ["a,b"]],
];
for (const [path, value, names] of odd)
  test(`${path}: ${JSON.stringify(value)} gives no names but as it stands, leaves open whether there are others, and is told`, () => {
    const claims = { [path]: value };
    assert.deepEqual(namesAt(claims, path), names);
    assert.equal(groupsAnswer(claims, path).unknown, path);
    assert.ok(shapeProblem(claims, path));
  });

for (const value of [[], ["a", "b"], "a", "Acme & Sons Ltd", "a b", true, 7, null, undefined])
  test(`${JSON.stringify(value)} is nothing to tell of`, () =>
    assert.equal(shapeProblem({ roles: value }, "roles"), undefined));
