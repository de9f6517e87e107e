/** Which scopes a user has: what counts is what the operator believes, and nothing odd counts as a scope. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { scopesAtRenewal, scopesAtSignIn } from "../../src/identity/granted-scopes.ts";
import {
  parseScopeClaimMap,
  type ScopeClaim,
  type ScopeSources,
  TOKEN_SOURCES,
  type TokenSource,
} from "../../src/identity/scope-sources.ts";

const believing = (tokens: readonly TokenSource[], claim?: ScopeClaim): ScopeSources => ({
  kind: "provider",
  tokens,
  ...(claim && { claim }),
});
const USUAL = believing(TOKEN_SOURCES);
const CONSENT: ScopeSources = { kind: "consent" };

function atSignIn(sources: ScopeSources, evidence: Partial<Parameters<typeof scopesAtSignIn>[1]>): string[] {
  const nothing = { responseScope: undefined, accessClaims: undefined, claims: {} };
  return scopesAtSignIn(sources, { ...nothing, wanted: ["a"], asked: ["openid", "a"], ...evidence });
}

function atRenewal(sources: ScopeSources, evidence: Partial<Parameters<typeof scopesAtRenewal>[1]>) {
  const nothing = { responseScope: undefined, accessClaims: undefined, claims: undefined, renewable: [] };
  return scopesAtRenewal(sources, { ...nothing, ...evidence });
}

describe("scopes at sign-in", () => {
  const table: Array<[string, ScopeSources, Parameters<typeof atSignIn>[1], string[]]> = [
    ["the response names them", USUAL, { responseScope: "a b" }, ["a", "b"]],
    [
      "all that is named is joined",
      USUAL,
      { responseScope: "a", accessClaims: { scope: "b", scp: ["c"], permissions: ["a", "d"] } },
      ["a", "b", "c", "d"],
    ],
    ["nobody names anything: as asked", USUAL, {}, ["openid", "a"]],
    ["an empty list is not silence", USUAL, { accessClaims: { permissions: [] } }, []],
    ["an empty text is not silence", USUAL, { responseScope: "" }, []],
    ["null is silence", USUAL, { accessClaims: { permissions: null } }, ["openid", "a"]],
    ["a number names nothing", USUAL, { accessClaims: { scp: 7 } }, []],
    ["an object names nothing", USUAL, { accessClaims: { scope: { a: true } } }, []],
    [
      "a source that is not believed",
      believing(["scp"]),
      { responseScope: "a", accessClaims: { scope: "b" } },
      [],
    ],
    ["only the response's silence means as asked", believing(["permissions"]), {}, []],
    [
      "the response alone, silent",
      believing(["response"]),
      { accessClaims: { scope: "b" } },
      ["openid", "a"],
    ],
    ["consent: what was wanted", CONSENT, { responseScope: "openid email" }, ["a"]],
  ];
  for (const [name, sources, evidence, expected] of table)
    test(name, () => assert.deepEqual(atSignIn(sources, evidence), expected));
});

describe("scopes from a claim", () => {
  const map = parseScopeClaimMap(
    '{"reader":["a"],"chief editor":["a","b"],"chief":["c"],"1":["d"],"[object Object]":["d"]}',
  );
  const table: Array<[string, unknown, { mapped: string[]; unmapped: string[] }]> = [
    ["a text", "reader", { mapped: ["a"], unmapped: ["reader"] }],
    ["a text with a space", "chief editor", { mapped: ["a", "b"], unmapped: ["chief", "editor"] }],
    [
      "a list",
      ["reader", "chief", "unknown"],
      { mapped: ["a", "c"], unmapped: ["reader", "chief", "unknown"] },
    ],
    ["an empty list", [], { mapped: [], unmapped: [] }],
    ["an empty text", "", { mapped: [], unmapped: [] }],
    ["a number", 1, { mapped: [], unmapped: [] }],
    ["true", true, { mapped: [], unmapped: [] }],
    ["null", null, { mapped: [], unmapped: [] }],
    ["an object", { reader: true }, { mapped: [], unmapped: [] }],
    ["lists within a list", [["reader"], { name: "reader" }, 1, null], { mapped: [], unmapped: [] }],
    [
      "what every object has",
      ["constructor", "__proto__", "toString"],
      { mapped: [], unmapped: ["constructor", "__proto__", "toString"] },
    ],
  ];
  for (const [name, value, { mapped, unmapped }] of table)
    test(`${name} grants ${JSON.stringify(mapped)} with a map, ${JSON.stringify(unmapped)} without`, () => {
      for (const claims of [{ roles: value }, JSON.parse(JSON.stringify({ roles: value }))]) {
        assert.deepEqual(atSignIn(believing([], { path: "roles", map }), { claims }), mapped);
        assert.deepEqual(atSignIn(believing([], { path: "roles" }), { claims }), unmapped);
      }
    });

  test("a missing claim is not silence: a user without roles has no scopes", () => {
    assert.deepEqual(atSignIn(believing([], { path: "roles", map }), {}), []);
    assert.deepEqual(atSignIn(believing(TOKEN_SOURCES, { path: "roles", map }), {}), []);
  });

  test("it joins what other sources name", () => {
    const sources = believing(["response"], { path: "roles", map });
    assert.deepEqual(atSignIn(sources, { responseScope: "x", claims: { roles: "reader" } }), ["x", "a"]);
  });

  test("an exact name comes before a path", () => {
    const claims = { "https://example.com/roles": "a", "x.y": "b", x: { y: "c" }, realm: { roles: ["d"] } };
    const grants = (path: string) => atSignIn(believing([], { path }), { claims });
    assert.deepEqual(grants("https://example.com/roles"), ["a"]);
    assert.deepEqual(grants("x.y"), ["b"]);
    assert.deepEqual(grants("realm.roles"), ["d"]);
    assert.deepEqual(grants("realm.roles.length"), []);
    assert.deepEqual(grants("realm.nothing.at.all"), []);
    assert.deepEqual(grants("constructor.name"), [], "not what every object has");
  });
});

describe("scopes at renewal", () => {
  const role: ScopeClaim = { path: "roles" };
  const table: Array<[string, ScopeSources, Parameters<typeof atRenewal>[1], string[] | undefined]> = [
    ["named anew", USUAL, { responseScope: "a" }, ["a"]],
    ["silence is not known", USUAL, { accessClaims: {} }, undefined],
    ["consent: nothing changes", CONSENT, { responseScope: "openid email" }, undefined],
    ["a believed claim is gone", believing(["permissions"]), { accessClaims: { sub: "x" } }, []],
    ["a believed claim cannot be read", believing(["permissions"]), {}, undefined],
    ["the user's claim", believing([], role), { claims: { roles: ["a"] } }, ["a"]],
    ["the user's claim, empty", believing([], role), { claims: { roles: [] } }, []],
    ["the user's claim, null", believing([], role), { claims: { roles: null } }, []],
    [
      "the user's claim is not there: it may be in the ID token",
      believing([], role),
      { claims: {} },
      undefined,
    ],
    ["the user's claims are not known", believing([], role), {}, undefined],
    [
      "a claim that is not known keeps what it may have granted, whatever others name",
      believing(["response"], role),
      { responseScope: "x" },
      undefined,
    ],
    [
      "the claim and the response",
      believing(["response"], role),
      { responseScope: "x", claims: { roles: "a" } },
      ["x", "a"],
    ],
  ];
  for (const [name, sources, evidence, expected] of table)
    test(name, () => assert.deepEqual(atRenewal(sources, evidence), expected));
});
