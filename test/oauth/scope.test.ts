/** Scope strings (RFC 6749 §3.3). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  intersect,
  isScopeToken,
  missingScopes,
  parseRequestedScope,
  parseScope,
  union,
} from "../../src/oauth/scope.ts";

describe("a scope string", () => {
  const cases: Array<[string, string[] | undefined]> = [
    ["", []],
    [" ", []],
    ["a", ["a"]],
    ["a b", ["a", "b"]],
    ["b a", ["b", "a"]],
    ["  a   b ", ["a", "b"]],
    ["a b a", ["a", "b"]],
    ["A a", ["A", "a"]],
    [
      "weather:read https://api.example/x !#$%&'()*+,-./[]^_`{|}~",
      ["weather:read", "https://api.example/x", "!#$%&'()*+,-./[]^_`{|}~"],
    ],
    ["__proto__ constructor", ["__proto__", "constructor"]],
    ['a "b"', undefined],
    ["a\\b", undefined],
    ["a\tb", undefined],
    ["a\nb", undefined],
    ["a\u00a0b", undefined],
    ["ä", undefined],
    ["a\u007f", undefined],
    ["a\u0000", undefined],
  ];
  for (const [text, scopes] of cases)
    test(JSON.stringify(text), () => assert.deepEqual(parseScope(text), scopes));

  test("one scope token", () => {
    for (const token of ["a", "!", "weather:read"]) assert.ok(isScopeToken(token));
    for (const token of ["", " ", "a b", '"', "\\", "é", "a\n"]) assert.ok(!isScopeToken(token), token);
  });

  test("what clients add by habit is not asked for; what is illegal stays illegal", () => {
    assert.deepEqual(parseRequestedScope("openid profile email offline_access weather:read"), [
      "weather:read",
    ]);
    assert.deepEqual(parseRequestedScope("offline_access"), []);
    assert.deepEqual(parseRequestedScope("OpenID"), ["OpenID"]);
    assert.equal(parseRequestedScope('openid "'), undefined);
  });
});

describe("sets of scopes", () => {
  test("what is wanted and available, in the order wanted", () => {
    assert.deepEqual(intersect(["c", "a", "x"], ["a", "b", "c"]), ["c", "a"]);
    assert.deepEqual(intersect([], ["a"]), []);
    assert.deepEqual(intersect(["a"], []), []);
  });

  test("what is required and lacking; case and prefixes make no exception", () => {
    assert.deepEqual(missingScopes(["a", "b"], ["b"]), ["a"]);
    assert.deepEqual(missingScopes([], []), []);
    assert.deepEqual(missingScopes(["weather:read"], ["Weather:read", "weather", "weather:", "weather:*"]), [
      "weather:read",
    ]);
  });

  test("a union names each once, first come first", () => {
    assert.deepEqual(union(["b", "a"], ["a", "c"], []), ["b", "a", "c"]);
    assert.deepEqual(union(), []);
  });
});
