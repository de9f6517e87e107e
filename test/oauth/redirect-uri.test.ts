/** Which redirect URIs may be registered, and which registered one a request means (OAuth 2.1 §2.3.1, RFC 8252 §7). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  isLoopbackHost,
  matchRedirectUri,
  redirectUriPolicy,
  redirectUriProblem,
} from "../../src/oauth/redirect-uri.ts";

const policy = redirectUriPolicy([]);

describe("a redirect URI that may be registered", () => {
  const good = [
    "https://app.example/callback",
    "https://app.example",
    "https://app.example:8443/a/b?tenant=1&x=%20",
    "https://app.example/a..b/.well-known/...",
    "https://app.example/callback?next=../x",
    "https://xn--pp-uia.example/callback",
    "https://localhost:3000/callback",
    "https://127.0.0.1/callback",
    "http://localhost",
    "http://localhost/",
    "http://localhost:33418/callback",
    "http://127.0.0.1:33418/callback?x=1",
    "http://[::1]:33418/callback",
    "http://localhost?x=1",
    "cursor://anysphere.cursor-retrieval/oauth/user-abc/callback",
    "vscode://vscode.github-authentication/did-authenticate",
    "com.example.app:/callback",
    "com.example.app://callback",
  ];
  for (const uri of good) test(uri, () => assert.equal(redirectUriProblem(uri), undefined));
});

describe("a redirect URI that may not be registered", () => {
  const bad: Array<[string, RegExp]> = [
    // Schemes that a browser acts on itself.
    ...[
      "javascript:alert(1)",
      "JAVASCRIPT:alert(1)",
      "javascript://app.example/%0aalert(1)",
      "data:text/html,x",
      "file:///etc/passwd",
      "vbscript:x",
      "blob:https://app.example/id",
      "about:blank",
      "view-source:https://app.example",
      "filesystem:https://app.example/x",
      "ws://localhost/x",
      "wss://app.example/x",
      "ftp://app.example/x",
      "mailto:a@b.example",
      "intent://x#Intent;end",
    ].map((uri): [string, RegExp] => [uri, /uses the scheme|fragment/]),
    // http elsewhere than on this computer.
    ...[
      "http://app.example/",
      "http://localhost.evil.example/",
      "http://localhost./",
      "http://notlocalhost/",
      "http://127.0.0.1.evil.example/",
      "http://127.0.0.2/",
      "http://127.1/",
      "http://0x7f000001/",
      "http://2130706433/",
      "http://0.0.0.0/",
      "http://[::]/",
      "http://[::ffff:127.0.0.1]/",
      "http://[0:0:0:0:0:0:0:1]/",
      "http://192.168.0.1/",
      "HTTP://localhost/",
      "http://LOCALHOST/",
      "http:/localhost/",
      "http:localhost",
      "http:////localhost/",
      "http://localhost:/callback",
    ].map((uri): [string, RegExp] => [uri, /use https/]),
    // Where the eye and the parser disagree.
    ["http://localhost@evil.example/", /user name/],
    ["http://localhost:80@evil.example/", /user name/],
    ["https://good.example@evil.example/", /user name/],
    ["https://good.example%2f@evil.example/", /user name/],
    ["https://:secret@evil.example/", /user name/],
    ["myapp://user@host/", /user name/],
    ["https://good.example\\@evil.example/", /backslash/],
    ["https:\\\\evil.example/", /backslash/],
    ["https://good.example/\t", /control/],
    ["https://good.example/\u0000", /control/],
    ["https://good.example/\r\nLocation: https://evil.example", /control/],
    ["https://good.example/ ", /spaces/],
    ["https://göod.example/", /non-ASCII/],
    ["https://good.example/\u202e", /non-ASCII/],
    ["https://good\u3002example/", /non-ASCII/],
    // Parts that a redirect URI may not have.
    ["https://app.example/#", /fragment/],
    ["https://app.example/#a", /fragment/],
    ["http://localhost/#a", /fragment/],
    ["https://*.example/", /wildcard/],
    ["https://a*.example/", /wildcard/],
    ["https://app.example/..", /dot segments/],
    ["https://app.example/../x", /dot segments/],
    ["https://app.example/./x", /dot segments/],
    ["https://app.example/x/%2e%2e/y", /dot segments/],
    ["https://app.example/x/.%2E", /dot segments/],
    ["https://app.example/x/%2e", /dot segments/],
    // No absolute URI, or none with a host.
    ["", /absolute/],
    ["callback", /absolute/],
    ["/callback", /absolute/],
    ["//app.example/", /absolute/],
    ["https://", /absolute/],
    ["https://app.example:99999/", /absolute/],
    ["http://localhost:99999/", /absolute/],
    ["https:app.example", /no host/],
    ["https:/app.example", /no host/],
    ["https:///app.example", /no host/],
    [`https://app.example/${"x".repeat(2029)}`, /longer than 2048/],
  ];
  for (const [uri, problem] of bad)
    test(JSON.stringify(uri.slice(0, 70)), () => assert.match(redirectUriProblem(uri) ?? "", problem));

  test("2048 characters are not too many", () => {
    const uri = `https://app.example/${"x".repeat(2028)}`;
    assert.equal(uri.length, 2048);
    assert.equal(redirectUriProblem(uri), undefined);
  });

  test("an empty user name hides a host as well as any", () => {
    for (const uri of ["https://@evil.example/", "https://:@evil.example/", "http://@localhost/"])
      assert.ok(redirectUriProblem(uri), uri);
  });
});

describe("the scheme of a native application", () => {
  const [SHARE, APP] = ["smb://files.example/share", "acme-desk:/cb"];

  test("is a reversed domain name, or one of a few that are known", () => {
    for (const uri of [
      "com.example.app:/cb",
      "xn--p1ai.xn--e1afmkfd:/cb",
      "cursor://anysphere.cursor-mcp/oauth/callback",
    ])
      assert.equal(policy(uri), undefined, uri);
    for (const uri of [SHARE, APP, "ms-excel:x", "z39.50r:x", "com.:/x", "com..example:/x", "SMB://x/y"])
      assert.match(policy(uri) ?? "", /uses the scheme/, uri);
  });

  test("may be any that the operator lists, or gives to a client of the configuration", () => {
    const listing = redirectUriPolicy([(uri) => uri === APP]);
    assert.equal(listing(APP), undefined);
    assert.match(listing(SHARE) ?? "", /not among those/);
    assert.equal(policy(APP, "operator"), undefined);
    assert.match(policy("javascript:alert(1)", "operator") ?? "", /uses the scheme/);
  });

  test("is judged again when a registration of an earlier version is used", () =>
    assert.equal(matchRedirectUri([SHARE], SHARE, policy), undefined));
});

describe("the registered redirect URI that a request means", () => {
  const matches: Array<[string, string]> = [
    ["https://app.example/callback", "https://app.example/callback"],
    ["cursor://host/callback", "cursor://host/callback"],
    // The port of a loopback URI is chosen by the client when it starts (RFC 8252 §7.3).
    ["http://127.0.0.1/callback", "http://127.0.0.1:33418/callback"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1/callback"],
    ["http://localhost:1/callback?x=1", "http://localhost:2/callback?x=1"],
    ["http://[::1]:1/", "http://[::1]:2/"],
    ["http://localhost", "http://localhost:2"],
  ];
  for (const [registered, requested] of matches)
    test(`${requested} is ${registered}`, () =>
      assert.equal(matchRedirectUri(["https://other.example/", registered], requested, policy), requested));

  const mismatches: Array<[string, string]> = [
    ["https://app.example/callback", "https://app.example/callback/"],
    ["https://app.example/callback", "https://app.example/callback2"],
    ["https://app.example/callback", "https://app.example/call"],
    ["https://app.example/callback", "https://app.example/Callback"],
    ["https://app.example/callback", "https://APP.example/callback"],
    ["https://app.example/callback", "https://app.example:443/callback"],
    ["https://app.example/callback", "https://app.example/callback?x"],
    ["https://app.example/callback", "https://app.example/callback#x"],
    ["https://app.example/callback", "https://app.example.evil.example/callback"],
    ["https://app.example/callback", "https://evil.example/https://app.example/callback"],
    ["https://app.example/callback", "https://app.example/%63allback"],
    ["https://app.example/callback", "http://app.example/callback"],
    ["https://app.example/a?x=1&y=2", "https://app.example/a?y=2&x=1"],
    // A port elsewhere than on loopback http is part of the address.
    ["https://app.example/callback", "https://app.example:8443/callback"],
    ["https://localhost:1/callback", "https://localhost:2/callback"],
    ["https://127.0.0.1:1/callback", "https://127.0.0.1:2/callback"],
    ["cursor://localhost:1/callback", "cursor://localhost:2/callback"],
    // On loopback only the port is free.
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:2/other"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:2/callback?x"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:2/callback/../other"],
    ["http://127.0.0.1:1/callback", "http://localhost:1/callback"],
    ["http://127.0.0.1:1/callback", "http://[::1]:1/callback"],
    ["http://127.0.0.1:1/callback", "https://127.0.0.1:1/callback"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:2@evil.example/callback"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1.evil.example/callback"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:99999/callback"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:x/callback"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:/callback"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:-1/callback"],
    ["http://127.0.0.1:1/callback", "http://127.0.0.1:2/callback#x"],
    ["http://127.0.0.1:1", "http://127.0.0.1:2evil.example"],
    ["http://127.0.0.1:1/callback", ""],
  ];
  for (const [registered, requested] of mismatches)
    test(`${JSON.stringify(requested)} is not ${registered}`, () =>
      assert.equal(matchRedirectUri([registered], requested, policy), undefined));

  test("none requested means the only one registered, never one of several", () => {
    assert.equal(matchRedirectUri(["https://a.example/"], undefined, policy), "https://a.example/");
    assert.equal(
      matchRedirectUri(["https://a.example/", "https://b.example/"], undefined, policy),
      undefined,
    );
    assert.equal(matchRedirectUri([], undefined, policy), undefined);
  });

  test("one that was registered before the policy changed is judged by today's", () => {
    for (const old of ["http://app.example/", "javascript:alert(1)", "https://app.example/#x"]) {
      assert.equal(matchRedirectUri([old], old, policy), undefined);
      assert.equal(matchRedirectUri([old], undefined, policy), undefined);
    }
  });
});

test("this computer has three names", () => {
  for (const host of ["localhost", "127.0.0.1", "[::1]"]) assert.ok(isLoopbackHost(host));
  for (const host of [
    "127.0.0.2",
    "::1",
    "localhost.",
    "LOCALHOST",
    "localhost.evil.example",
    "0.0.0.0",
    "",
    "a\nlocalhost",
  ])
    assert.ok(!isLoopbackHost(host), host);
});
