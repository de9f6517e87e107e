/** Bounding claims of any size and shape: those that decide are kept as far as possible, and a truncated claim is unknown. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { claimAt, groupsAnswer } from "../../src/access/claims.ts";
import { keptClaims, MAX_CLAIMS_BYTES } from "../../src/identity/kept-claims.ts";

const KB = 1_024;
const text = (kilobytes: number) => "x".repeat(kilobytes * KB);
const list = (kilobytes: number) => Array.from({ length: kilobytes * 32 }, (_, i) => `group ${i}`.padEnd(29));
const bytes = (value: unknown) => Buffer.byteLength(JSON.stringify(value));

test("what is of a usual size is kept as it is", () => {
  const claims = { sub: "s", groups: list(20), anything: { at: ["all"] } };
  assert.deepEqual(keptClaims(claims, ["groups"]), { claims, dropped: [] });
});

test("300 KB become 32: what decides and who it is first, the largest of the others goes", () => {
  const claims = {
    huge: text(200),
    sid: "sid",
    large: text(60),
    small: 1,
    sub: "s",
    name: "N",
    groups: list(25),
  };
  const { claims: kept, dropped } = keptClaims(claims, ["groups"]);
  assert.ok(bytes(kept) <= MAX_CLAIMS_BYTES);
  assert.deepEqual(Object.keys(kept).toSorted(), ["groups", "name", "sid", "small", "sub"]);
  assert.deepEqual(dropped.toSorted(), ["huge", "large"]);
});

test("a thousand small others do not push out what decides", () => {
  const others = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`claim${i}`, text(1)]));
  const { claims: kept } = keptClaims({ ...others, roles: list(30) }, ["roles"]);
  assert.ok(bytes(kept) <= MAX_CLAIMS_BYTES);
  assert.ok(Array.isArray(kept.roles));
});

test("of a large claim only what lies at the paths is kept, where claimAt finds it", () => {
  const claims = {
    resource_access: { "my.app": { roles: ["a"] }, other: { roles: ["b"], more: text(9) }, huge: text(100) },
  };
  const paths = [
    "resource_access.my.app.roles",
    "resource_access.other.roles",
    "resource_access.absent.roles",
  ];
  const { claims: kept, dropped } = keptClaims(claims, paths);
  assert.deepEqual(kept, { resource_access: { "my.app": { roles: ["a"] }, other: { roles: ["b"] } } });
  assert.deepEqual(
    paths.map((path) => claimAt(kept, path)),
    [["a"], ["b"], undefined],
  );
  assert.deepEqual(dropped, ["resource_access"]);
});

test("groups that are too many to keep are unknown, not none", () => {
  const { claims: kept } = keptClaims({ sub: "s", groups: list(100) }, ["groups"]);
  assert.deepEqual(groupsAnswer(kept, "groups"), { names: [], unknown: "groups" });
});

for (const mark of ["_claim_names", "hasgroups"])
  test(`${mark} of any size still says that the groups are not all there`, () => {
    const { claims: kept } = keptClaims({ groups: ["a"], [mark]: { groups: text(300) } }, ["groups"]);
    assert.equal(groupsAnswer(kept, "groups").unknown, "groups");
    assert.ok(bytes(kept) <= MAX_CLAIMS_BYTES);
  });

test("what is nested a hundred thousand deep is left out, and breaks nothing", () => {
  const deep: unknown = JSON.parse(`${"[".repeat(100_000)}${"]".repeat(100_000)}`);
  assert.deepEqual(keptClaims({ sub: "s", deep }, ["deep"]), { claims: { sub: "s" }, dropped: ["deep"] });
});

test("a claim by the name __proto__ is one like any other", () => {
  const claims = JSON.parse(`{"__proto__":{"groups":["a"]},"x":"${text(40)}"}`);
  const { claims: kept } = keptClaims(claims, ["__proto__.groups"]);
  assert.deepEqual(claimAt(kept, "__proto__.groups"), ["a"]);
});
