/** Bad input at /register: what a client may not say of itself (RFC 7591 §3.2.2), and that nothing of it is kept. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { authorizeUrl, REDIRECT_URI, register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { assertPage, assertRefused, PERSON, reasonOf, Secrets, sendRequest } from "./support.ts";

describe("bad input at /register", () => {
  const secrets = new Secrets();
  let url: string;
  const kept: string[] = [];
  const testServer = useTestServer();
  before(() => {
    url = `${testServer.baseUrl}/register`;
    const { put } = testServer.records;
    testServer.records.put = (key, ...rest) => {
      kept.push(key);
      return put(key, ...rest);
    };
  });

  const registering = (metadata: unknown) => sendRequest(url, { json: metadata });
  const withUri = (...redirectUris: unknown[]) => registering({ redirect_uris: redirectUris });

  const BAD_URIS: Array<[string, RegExp]> = [
    ["javascript:alert(1)", /scheme .*javascript:/],
    ["JavaScript:alert(1)", /scheme .*javascript:/],
    ["data:text/html,<script>alert(1)</script>", /scheme .*data:/],
    ["vbscript:msgbox(1)", /scheme .*vbscript:/],
    ["file:///etc/passwd", /scheme .*file:/],
    ["blob:https://app.example/x", /scheme .*blob:/],
    ["about:blank", /scheme .*about:/],
    ["view-source:https://app.example/", /scheme .*view-source:/],
    ["smb://files.example/share", /scheme .*smb:.*com\.example\.app:/],
    ["ms-appinstaller:?source=https://evil.example/x.appx", /scheme .*ms-appinstaller:/],
    ["ms-word:ofe|u|https://evil.example/x.docx", /scheme .*ms-word:/],
    ["steam://run/1", /scheme .*steam:/],
    ["x-apple.systempreferences:com.apple.preference", /scheme .*x-apple\.systempreferences:/],
    ["java\nscript:alert(1)", /control/],
    ["http://app.example/callback", /use https/],
    ["http://localhost.evil.example/callback", /use https/],
    ["http://127.0.0.1.evil.example/callback", /use https/],
    ["http://127.0.0.2/callback", /use https/],
    ["http://127.1/callback", /use https/],
    ["http://0.0.0.0/callback", /use https/],
    ["http://[::]/callback", /use https/],
    ["http://2130706433/callback", /use https/],
    ["http://localhost@evil.example/callback", /user name/],
    ["https://good.example@evil.example/callback", /user name/],
    ["https://user:password@app.example/callback", /user name/],
    ["https://app.example/callback#fragment", /fragment/],
    ["https://app.example/callback#", /fragment/],
    ["https://*.app.example/callback", /wildcard/],
    ["https://app.example/a/../b", /dot segments/],
    ["https://app.example/a/%2e%2E/b", /dot segments/],
    ["https://app.example/.", /dot segments/],
    ["https://app.example\\@evil.example/", /backslash/],
    ["https://app.example/call back", /spaces/],
    [" https://app.example/callback", /spaces/],
    ["https://app.example/\u202ecallback", /non-ASCII/],
    ["https://äpp.example/callback", /non-ASCII/],
    ["https:///callback", /host/],
    ["https:/app.example/callback", /host/],
    ["https:app.example", /host/],
    ["https://", /absolute URI/],
    ["//app.example/callback", /absolute URI/],
    ["/callback", /absolute URI/],
    ["", /absolute URI/],
    ["urn", /absolute URI/],
    [`https://app.example/${"x".repeat(512)}`, /longer than 512/],
  ];
  for (const [redirectUri, describes] of BAD_URIS)
    test(`the redirect URI ${JSON.stringify(redirectUri.slice(0, 60))} is refused, alone and beside a good one`, async () => {
      const refusal = {
        status: 400,
        error: "invalid_redirect_uri",
        reason: "invalid_redirect_uri",
        describes,
      };
      await assertRefused(testServer, await withUri(redirectUri), refusal);
      await assertRefused(testServer, await withUri("https://app.example/callback", redirectUri), refusal);
    });

  const GOOD_URIS = [
    "https://app.example/callback",
    "https://app.example:8443/callback?tenant=1",
    "http://localhost/callback",
    "http://localhost:33418/callback",
    "http://127.0.0.1:33418/callback",
    "http://[::1]:33418/callback",
    "cursor://anysphere.cursor-retrieval/oauth/callback",
    "com.example.app:/callback",
    "claude://claude.ai/mcp-auth-callback/sdk",
    "vscode://saoudrizwan.claude-dev/mcp-auth/callback",
    "warp://mcp/oauth2callback",
  ];
  for (const redirectUri of GOOD_URIS)
    test(`the redirect URI ${redirectUri} is accepted and returned as it came`, async () => {
      const { status, json } = await withUri(redirectUri);
      assert.equal(status, 201);
      secrets.keep(json.client_secret);
      assert.deepEqual(json.redirect_uris, [redirectUri]);
    });

  test("an empty user name is a user name as well", async () => {
    for (const redirectUri of ["https://@evil.example/", "https://:@evil.example/"])
      assert.equal((await withUri(redirectUri)).json.error, "invalid_redirect_uri");
  });

  const list = {
    error: "invalid_redirect_uri",
    reason: "invalid_redirect_uri",
    describes: /list of 1 to 20/,
  };
  const REFUSED: Array<[string, unknown, { error: string; reason: string; describes: RegExp }]> = [
    ["no redirect_uris", {}, list],
    ["an empty list of them", { redirect_uris: [] }, { ...list, reason: "no_redirect_uris" }],
    ["21 of them", { redirect_uris: Array.from({ length: 21 }, (_, n) => `https://app.example/${n}`) }, list],
    [
      "a thousand of them",
      { redirect_uris: Array.from({ length: 1_000 }, (_, n) => `https://a.example/${n}`) },
      list,
    ],
    ["a string instead of the list", { redirect_uris: REDIRECT_URI }, list],
    ["an object instead of the list", { redirect_uris: { 0: REDIRECT_URI, length: 1 } }, list],
    ["null instead of the list", { redirect_uris: null }, list],
    ["a list in the list", { redirect_uris: [[REDIRECT_URI]] }, list],
    ["a number in the list", { redirect_uris: [1] }, list],
    [
      "an unknown authentication method",
      { redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: "private_key_jwt" },
      {
        error: "invalid_client_metadata",
        reason: "unknown_auth_method",
        describes: /one of none, client_secret_basic, client_secret_post/,
      },
    ],
    [
      "a list of authentication methods",
      { redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: ["none"] },
      { error: "invalid_client_metadata", reason: "unknown_auth_method", describes: /one of/ },
    ],
    [
      "only the implicit grant",
      { redirect_uris: [REDIRECT_URI], grant_types: ["implicit"], response_types: ["token"] },
      { error: "invalid_client_metadata", reason: "unsupported_grant_type", describes: /authorization_code/ },
    ],
    [
      "refresh without the code grant",
      { redirect_uris: [REDIRECT_URI], grant_types: ["refresh_token"] },
      { error: "invalid_client_metadata", reason: "unsupported_grant_type", describes: /authorization_code/ },
    ],
    [
      "a grant type that is no string",
      { redirect_uris: [REDIRECT_URI], grant_types: [{}] },
      {
        error: "invalid_client_metadata",
        reason: "invalid_field",
        describes: /grant_types must be a list of texts/,
      },
    ],
    [
      "more than 8 KB altogether",
      {
        redirect_uris: Array.from({ length: 20 }, (_, n) => `https://app.example/${n}/${"x".repeat(480)}`),
      },
      {
        error: "invalid_client_metadata",
        reason: "metadata_too_large",
        describes: /take \d+ bytes; at most 8192/,
      },
    ],
    [
      "an application type nobody knows",
      { redirect_uris: [REDIRECT_URI], application_type: "toaster" },
      {
        error: "invalid_client_metadata",
        reason: "invalid_field",
        describes: /application_type must be native or web/,
      },
    ],
    [
      "a list instead of an object",
      [],
      { error: "invalid_client_metadata", reason: "not_an_object", describes: /JSON object/ },
    ],
  ];
  for (const [name, metadata, expected] of REFUSED)
    test(`${name}: refused, and nothing is kept`, async () => {
      const { length } = kept;
      await assertRefused(testServer, await registering(metadata), { status: 400, ...expected });
      assert.equal(kept.length, length);
    });

  const LEFT_OUT: Array<[string, Record<string, unknown>]> = [
    ["an empty client_uri", { client_uri: "" }],
    ["a client_uri that is no text", { client_uri: 1 }],
    ["a client_uri of 600 characters", { client_uri: `https://app.example/${"x".repeat(580)}` }],
    ["a client_uri that runs script", { client_uri: "javascript:alert(1)" }],
    ["a relative logo_uri", { logo_uri: "/logo.png" }],
    ["a logo_uri that is data", { logo_uri: "data:image/svg+xml,<svg/>" }],
    ["contacts as text", { contacts: "admin@app.example" }],
    ["empty tos_uri, policy_uri and jwks_uri", { tos_uri: "", policy_uri: "", jwks_uri: "" }],
    ["jwks as text", { jwks: "none" }],
    ["software_version as a number", { software_version: 3 }],
    ["a name that is a list", { client_name: ["a", "b"] }],
    ["a name of 600 characters", { client_name: "x".repeat(600) }],
    ["an empty application_type", { application_type: "" }],
    ["a scope that is a list", { scope: ["weather:read"] }],
    ["a scope of 5,000 characters", { scope: "x".repeat(5_000) }],
  ];
  for (const [name, odd] of LEFT_OUT)
    test(`${name}: decides nothing, and is left out (RFC 7591 §3.2.1)`, async () => {
      const { status, json, text } = await registering({ redirect_uris: [REDIRECT_URI], ...odd });
      assert.equal(status, 201, text);
      secrets.keep(json.client_secret);
      for (const field of Object.keys(odd)) assert.equal(field in json, false, field);
    });

  test("what is not JSON, or not said to be", async () => {
    const json = JSON.stringify({ redirect_uris: [REDIRECT_URI] });
    for (const type of [
      "text/plain",
      "application/x-www-form-urlencoded",
      "application/jsonp",
      "multipart/form-data",
    ])
      await assertRefused(
        testServer,
        await sendRequest(url, { body: json, headers: { "content-type": type } }),
        {
          status: 400,
          error: "invalid_client_metadata",
          reason: "wrong_content_type",
          describes: /application\/json/,
        },
      );
    await assertRefused(testServer, await sendRequest(url, { method: "POST" }), {
      status: 400,
      error: "invalid_client_metadata",
      reason: "wrong_content_type",
    });
    const headers = { "content-type": "application/json" };
    for (const body of ["{", "null", "1", '"text"', "{'a':1}", '{"redirect_uris":', "\u0000", "<xml/>"])
      await assertRefused(testServer, await sendRequest(url, { body, headers }), {
        status: 400,
        error: "invalid_request",
        reason: "unreadable_body",
        describes: /not what its content type says/,
      });
  });

  test("what could not be read is not quoted in the log", async () => {
    const secret = "mcp_rt_SECRET";
    const reply = await sendRequest(url, { body: secret, headers: { "content-type": "application/json" } });
    await reasonOf(testServer, reply);
    for (const line of testServer.log)
      assert.ok(!JSON.stringify(line).includes("mcp_rt_"), JSON.stringify(line));
  });

  for (const [size, bytes] of [
    ["100 KB", 100_000],
    ["1 MB", 1_000_000],
  ] as const)
    test(`${size} of it: too large, and nothing is kept`, async () => {
      const { length } = kept;
      const reply = await registering({
        redirect_uris: [REDIRECT_URI],
        software_statement: "x".repeat(bytes),
      });
      await assertRefused(testServer, reply, {
        status: 413,
        error: "invalid_request",
        reason: "unreadable_body",
        describes: /too large/,
      });
      assert.equal(kept.length, length);
    });

  test("every method but POST is refused", async () => {
    for (const method of ["GET", "HEAD", "PUT", "DELETE"]) {
      const reply = await sendRequest(url, { method });
      assert.equal(reply.status, 405);
      assert.equal(reply.headers.get("allow"), "POST");
      assert.equal(await reasonOf(testServer, reply), "wrong_method");
    }
  });

  test("__proto__ and constructor in the body reach nobody's prototype", async () => {
    const body = `{"redirect_uris":["${REDIRECT_URI}"],"token_endpoint_auth_method":"none","__proto__":{"polluted":1,"client_secret":"x"},"constructor":{"prototype":{"polluted":1}}}`;
    const { status, json } = await sendRequest(url, {
      body,
      headers: { "content-type": "application/json" },
    });
    assert.equal(status, 201);
    assert.equal(({} as Record<string, unknown>).polluted, undefined);
    assert.equal(json.polluted, undefined);
    assert.equal(json.client_secret, undefined);
  });

  test("a client cannot choose its id, its secret, or their age", async () => {
    const { status, json } = await registering({
      redirect_uris: [REDIRECT_URI],
      client_id: "chosen",
      client_secret: "chosen",
      client_id_issued_at: 1,
      client_secret_expires_at: 1,
      secretHash: "chosen",
      token_endpoint_auth_method: "client_secret_post",
    });
    assert.equal(status, 201);
    assert.notEqual(json.client_id, "chosen");
    assert.notEqual(secrets.keep(json.client_secret), "chosen");
    assert.equal(json.client_secret_expires_at, 0);
    assert.ok(json.client_id_issued_at > 1_700_000_000);
    assert.equal(json.secretHash, undefined);
  });

  test("what it does not offer is left out of the answer, so that the client knows (RFC 7591 §3.2.1)", async () => {
    const { status, json } = await registering({
      redirect_uris: [REDIRECT_URI],
      grant_types: ["authorization_code", "implicit", "password"],
      response_types: ["code", "token"],
    });
    assert.equal(status, 201);
    secrets.keep(json.client_secret);
    assert.deepEqual(json.grant_types, ["authorization_code"]);
    assert.deepEqual(json.response_types, ["code"]);
    assert.equal(json.token_endpoint_auth_method, "client_secret_basic");
  });

  test("a name that is empty or hides its direction does not reach the consent page as such", async () => {
    const blank = await register(testServer.baseUrl, { client_name: "  " });
    const page = await sendRequest(authorizeUrl(testServer.baseUrl, blank), { headers: PERSON });
    assertPage(page);
    assert.match(page.text, /application without a name/);
    const { status, json } = await registering({
      redirect_uris: [REDIRECT_URI],
      client_name: "Good\u202eevil\u0007",
    });
    assert.ok(status === 400 || !/[\p{Cc}\p{Cf}]/u.test(json.client_name));
  });

  test("a web application does not live on localhost, nor behind a scheme of its own (A34)", async () => {
    for (const redirectUri of ["http://127.0.0.1/callback", "com.example.app:/callback"]) {
      const { json } = await registering({ redirect_uris: [redirectUri], application_type: "web" });
      assert.equal(json.error, "invalid_redirect_uri", redirectUri);
    }
  });

  test("after all this, a client registers and signs in", async () => {
    const client = await register(testServer.baseUrl);
    secrets.keepTokens(await signInForTokens(testServer.baseUrl, client));
  });

  test("no client secret is in the log", () => secrets.assertNotLogged(testServer));
});
