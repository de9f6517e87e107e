/** Declared scopes: what includes what, what is left when a part is taken away, and mistakes found at the start. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import {
  anyOf,
  describeRequirement,
  requiredScopes,
  unmetScopes,
} from "../../src/oauth/scope-requirement.ts";

const catalogue = scopeCatalogue(
  {
    "weather:read": "Read",
    "weather:write": "Write",
    weather: { description: "All of the weather", includes: ["weather:*"] },
    "admin:users": { description: "Users", whenNeeded: true },
    "admin:*": { description: "Everything", includes: ["admin:*", "weather"], whenNeeded: true },
  },
  [],
);

describe("scopes that include others (A9)", () => {
  test("a whole brings its parts, and their parts", () => {
    assert.deepEqual(catalogue.expand(["weather"]), ["weather", "weather:read", "weather:write"]);
    assert.deepEqual(new Set(catalogue.expand(["admin:*"])), new Set(catalogue.names));
    assert.deepEqual(catalogue.expand(["weather:read"]), ["weather:read"]);
  });

  test("a name alone includes nothing: neither a prefix nor a star is a declaration", () => {
    const plain = scopeCatalogue({ admin: "a", "admin:*": "b", "admin:users": "c" }, []);
    assert.deepEqual(plain.expand(["admin", "admin:*"]), ["admin", "admin:*"]);
  });

  const narrowed: Array<[wanted: string[], held: string[], expected: string[]]> = [
    [["weather:read"], ["weather"], ["weather:read"]],
    [["weather"], ["weather:read"], ["weather:read"]],
    [["weather"], ["weather"], ["weather"]],
    [["weather", "weather:read"], ["weather"], ["weather", "weather:read"]],
    [["weather", "weather:read"], ["weather:write"], ["weather:write"]],
    [["weather"], [], []],
    [["weather"], ["unknown"], []],
    [["admin:*"], ["weather:read", "admin:users"], ["admin:users", "weather:read"]],
    [["weather:read"], ["weather:write"], []],
  ];
  for (const [wanted, held, expected] of narrowed)
    test(`who wants "${wanted.join(" ")}" and holds "${held.join(" ")}" gets "${expected.join(" ")}"`, () =>
      assert.deepEqual(catalogue.limitTo(wanted, held).sort(), expected.sort()));

  test("excluding a part excludes the whole that includes it, and no other part", () => {
    assert.deepEqual(catalogue.exclude(["weather"], ["weather:write"]), ["weather:read"]);
    assert.deepEqual(catalogue.exclude(["admin:*"], ["weather:write"]).sort(), [
      "admin:users",
      "weather:read",
    ]);
    assert.deepEqual(catalogue.exclude(["weather"], ["weather"]).sort(), ["weather:read", "weather:write"]);
    assert.deepEqual(catalogue.exclude(["weather:read"], []), ["weather:read"]);
  });

  test("what is only asked for when needed is no default scope", () =>
    assert.deepEqual(catalogue.defaultScopes, ["weather:read", "weather:write", "weather"]));
});

describe("mistakes in the declaration are told at the start, with their place", () => {
  const mistakes: Array<[name: string, attempt: () => unknown, message: RegExp]> = [
    ["an illegal name", () => scopeCatalogue({ 'we"ather': "x" }, []), /scope "we"ather" has illegal/],
    [
      "a part that is not declared",
      () => scopeCatalogue({ all: { description: "x", includes: ["some"] } }, []),
      /"all" includes "some"/,
    ],
    [
      "a pattern that fits nothing",
      () => scopeCatalogue({ all: { description: "x", includes: ["some:*"] } }, []),
      /"all" includes "some:\*"/,
    ],
    [
      "two that include each other",
      () =>
        scopeCatalogue(
          { a: { description: "x", includes: ["b"] }, b: { description: "y", includes: ["a"] } },
          [],
        ),
      /"a" includes itself/,
    ],
    [
      "a tool whose alternative is not declared",
      () => scopeCatalogue({ a: "x" }, [{ name: "tool orders", scopes: [["a", "b"]] }]),
      /tool orders names the scope "b", .*: describe it in scopes, beside the list of tools\.$/,
    ],
  ];
  for (const [name, attempt, message] of mistakes) test(name, () => assert.throws(attempt, message));
});

describe("alternatives", () => {
  const required = requiredScopes(["a", anyOf("b", "c")], "Tool");
  test("one is enough", () => {
    assert.deepEqual(unmetScopes(required, ["a", "c"]), []);
    assert.deepEqual(unmetScopes(required, ["a"]), [["b", "c"]]);
    assert.deepEqual(unmetScopes(required, []), [["a"], ["b", "c"]]);
    assert.equal(describeRequirement(required), "a, b or c");
  });
  test("an illegal one is refused with its owner", () =>
    assert.throws(() => requiredScopes([anyOf("a", "b c")], 'Tool "x"'), /Tool "x": the scope "b c"/));
});
