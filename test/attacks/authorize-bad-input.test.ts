/** Bad input at /authorize: on a page until the redirect URI is known to be the client's, after that back to it. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { before, describe, test } from "node:test";
import {
  authorize,
  authorizeUrl,
  callTool,
  newBrowser,
  REDIRECT_URI,
  type Registered,
  redeem,
  register,
  signInForTokens,
  VERIFIER,
} from "../support/oauth-client.ts";
import { writesDuring } from "../support/recorded-writes.ts";
import { useTestServer } from "../support/test-server.ts";
import {
  assertPage,
  assertRefused,
  assertRefusedPage,
  assertRefusedRedirect,
  PERSON,
  PROGRAM,
  reasonOf,
  Secrets,
  sendRequest,
} from "./support.ts";

type Parameters = Record<string, string | undefined>;

describe("bad input at /authorize", () => {
  const secrets = new Secrets();
  let client: Registered;
  const testServer = useTestServer();
  before(async () => {
    client = await register(testServer.baseUrl);
  });

  const urlWith = (parameters: Parameters) => authorizeUrl(testServer.baseUrl, client, parameters);
  /** The same request as a POST: parameters in the body. */
  const posted = (url: string) =>
    sendRequest(`${testServer.baseUrl}/authorize`, { form: [...new URL(url).searchParams], headers: PERSON });

  const NOT_REDIRECTED: Array<[string, Parameters, { error: string; reason: string; describes: RegExp }]> = [
    [
      "no client_id",
      { client_id: undefined },
      { error: "invalid_request", reason: "no_client_id", describes: /client_id is missing/ },
    ],
    [
      "an empty client_id counts as none",
      { client_id: "" },
      { error: "invalid_request", reason: "no_client_id", describes: /client_id is missing/ },
    ],
    [
      "an unknown client",
      { client_id: "somebody-else" },
      { error: "invalid_client", reason: "unknown_client", describes: /add it again/ },
    ],
    [
      "a client named like JavaScript's innards",
      { client_id: "__proto__" },
      { error: "invalid_client", reason: "unknown_client", describes: /add it again/ },
    ],
    [
      "an unknown client with a bad request beside it",
      { client_id: "x", response_type: "token", code_challenge: undefined },
      { error: "invalid_client", reason: "unknown_client", describes: /add it again/ },
    ],
    [
      "an oversized client_id",
      { client_id: "x".repeat(5000) },
      { error: "invalid_request", reason: "invalid_parameter", describes: /client_id is longer than 4096/ },
    ],
  ];
  for (const [name, parameters, expected] of NOT_REDIRECTED)
    test(`${name}: a page for a person, JSON for a program`, async () => {
      const url = urlWith(parameters);
      const refusal = { status: 400, ...expected };
      await assertRefusedPage(testServer, await sendRequest(url, { headers: PERSON }), refusal);
      await assertRefusedPage(testServer, await posted(url), refusal);
      await assertRefused(testServer, await sendRequest(url, { headers: PROGRAM }), refusal);
    });

  const LOOK_ALIKES = [
    "http://127.0.0.1:33418/callback/",
    "http://127.0.0.1:33418/callback/../evil",
    "http://127.0.0.1:33418/callback%2f",
    "http://127.0.0.1:33418/Callback",
    "http://127.0.0.1:33418/callback?next=evil",
    "http://127.0.0.1:33418/callback#fragment",
    "http://127.0.0.1:33418@evil.example/callback",
    "http://127.0.0.1.evil.example/callback",
    "http://localhost:33418/callback",
    "http://127.0.0.1:99999/callback",
    "https://127.0.0.1:33418/callback",
    "http://127.0.0.1:33418\\@evil.example/callback",
    "HTTP://127.0.0.1:33418/callback",
    "https://evil.example/callback",
    "//evil.example/callback",
    "javascript:alert(1)",
    "/callback",
  ];
  for (const redirectUri of LOOK_ALIKES)
    test(`nothing is sent to ${redirectUri}, which was never registered`, async () => {
      const refusal = {
        status: 400,
        error: "invalid_request",
        reason: "unregistered_redirect_uri",
        describes: /redirect_uri is not one that this application registered/,
      };
      const url = urlWith({ redirect_uri: redirectUri });
      await assertRefusedPage(testServer, await sendRequest(url, { headers: PERSON }), refusal);
      // Not for an error either: that is the open redirector.
      const broken = urlWith({ redirect_uri: redirectUri, response_type: "token" });
      await assertRefusedPage(testServer, await sendRequest(broken, { headers: PERSON }), refusal);
    });

  test("A22 on loopback a client comes back on any port, in IPv6 too, and its code is for that port (RFC 8252 §7.3)", async () => {
    for (const host of ["127.0.0.1", "[::1]", "localhost"]) {
      const native = await register(testServer.baseUrl, { redirect_uris: [`http://${host}/callback`] });
      const [chosen, other] = [`http://${host}:49152/callback`, `http://${host}:49153/callback`];
      const response = await authorize(testServer.baseUrl, native, {
        browser: newBrowser(chosen),
        parameters: { redirect_uri: chosen },
      });
      const code = secrets.keep(response.get("code"));
      const elsewhere = await redeem(testServer.baseUrl, native, code, { redirect_uri: other });
      assert.equal(elsewhere.body.error, "invalid_grant");
      const tokens = await redeem(testServer.baseUrl, native, code, { redirect_uri: chosen });
      assert.equal(tokens.status, 200);
      secrets.keepTokens(tokens.body);
    }
  });

  test("a port is part of every other redirect URI", async () => {
    const web = await register(testServer.baseUrl, { redirect_uris: ["https://app.example/callback"] });
    for (const redirect_uri of ["https://app.example:8443/callback", "https://app.example:443/callback"]) {
      const reply = await sendRequest(authorizeUrl(testServer.baseUrl, web, { redirect_uri }));
      assert.equal(reply.location, undefined);
      assert.equal(await reasonOf(testServer, reply), "unregistered_redirect_uri");
    }
  });

  test("another client's redirect URI is as foreign as any", async () => {
    await register(testServer.baseUrl, { redirect_uris: ["https://other.example/callback"] });
    const reply = await sendRequest(urlWith({ redirect_uri: "https://other.example/callback" }));
    assert.equal(reply.location, undefined);
    assert.equal(await reasonOf(testServer, reply), "unregistered_redirect_uri");
  });

  test("redirect_uri may be omitted with one registered, not with several", async () => {
    const only = await register(testServer.baseUrl, { redirect_uris: ["https://one.example/cb"] });
    const one = await sendRequest(authorizeUrl(testServer.baseUrl, only, { redirect_uri: undefined }));
    assert.equal(one.status, 200);
    assert.match(one.text, /https:\/\/one\.example/);
    assert.doesNotMatch(one.text, /your own computer/, "that warning is for those whose address it is");
    const several = await register(testServer.baseUrl, {
      redirect_uris: ["https://a.example/", "https://b.example/"],
    });
    const url = authorizeUrl(testServer.baseUrl, several, { redirect_uri: undefined });
    await assertRefusedPage(testServer, await sendRequest(url, { headers: PERSON }), {
      status: 400,
      error: "invalid_request",
      reason: "no_redirect_uri",
      describes: /redirect_uri is missing/,
    });
  });

  const foreign = "https://elsewhere.example/mcp";
  const REDIRECTED: Array<[string, Parameters, { error: string; reason: string; describes: RegExp }]> = [
    [
      "no response_type",
      { response_type: undefined },
      { error: "invalid_request", reason: "missing_response_type", describes: /use code/ },
    ],
    [
      "response_type=token",
      { response_type: "token" },
      {
        error: "unsupported_response_type",
        reason: "unsupported_response_type",
        describes: /response_type=code/,
      },
    ],
    [
      "response_type=code token",
      { response_type: "code token" },
      {
        error: "unsupported_response_type",
        reason: "unsupported_response_type",
        describes: /response_type=code/,
      },
    ],
    [
      "response_mode=fragment",
      { response_mode: "fragment" },
      { error: "invalid_request", reason: "unsupported_response_mode", describes: /response_mode=query/ },
    ],
    [
      "response_mode=form_post",
      { response_mode: "form_post" },
      { error: "invalid_request", reason: "unsupported_response_mode", describes: /response_mode=query/ },
    ],
    [
      "no PKCE at all",
      { code_challenge: undefined, code_challenge_method: undefined },
      { error: "invalid_request", reason: "missing_pkce", describes: /code_challenge_method=S256/ },
    ],
    [
      "a method without a challenge",
      { code_challenge: undefined },
      { error: "invalid_request", reason: "missing_pkce", describes: /send code_challenge/ },
    ],
    [
      "PKCE plain",
      { code_challenge: VERIFIER, code_challenge_method: "plain" },
      { error: "invalid_request", reason: "unsupported_pkce", describes: /S256/ },
    ],
    [
      "a challenge without a method, which would mean plain",
      { code_challenge_method: undefined },
      { error: "invalid_request", reason: "unsupported_pkce", describes: /S256/ },
    ],
    [
      "s256 in lower case",
      { code_challenge_method: "s256" },
      { error: "invalid_request", reason: "unsupported_pkce", describes: /S256/ },
    ],
    [
      "a challenge that is no SHA-256",
      { code_challenge: "tooshort" },
      { error: "invalid_request", reason: "unsupported_pkce", describes: /SHA-256/ },
    ],
    [
      "a request object",
      { request: "eyJhbGciOiJub25lIn0.e30." },
      { error: "request_not_supported", reason: "request_object", describes: /not supported/ },
    ],
    [
      "a request_uri, which nobody fetches",
      { request_uri: "https://169.254.169.254/latest" },
      { error: "request_uri_not_supported", reason: "request_object", describes: /not supported/ },
    ],
    [
      "a foreign resource",
      { resource: foreign },
      {
        error: "invalid_target",
        reason: "foreign_resource",
        describes: /protects the resource .*\/mcp only/,
      },
    ],
    [
      "a resource that is no URI",
      { resource: "mcp" },
      { error: "invalid_target", reason: "foreign_resource", describes: /protects the resource/ },
    ],
    [
      "a scope with a quote in it",
      { scope: 'weather:read "' },
      { error: "invalid_scope", reason: "malformed_scope", describes: /illegal characters/ },
    ],
  ];
  for (const [name, parameters, expected] of REDIRECTED)
    test(`${name}: back to the client with state and iss`, async () => {
      const url = urlWith(parameters);
      const refusal = { to: `${REDIRECT_URI}?`, ...expected };
      await assertRefusedRedirect(testServer, await sendRequest(url, { headers: PERSON }), {
        status: 302,
        ...refusal,
      });
      await assertRefusedRedirect(testServer, await posted(url), { status: 303, ...refusal });
    });

  test("of two resources both must be ours", async () => {
    const reply = await sendRequest(`${urlWith({})}&${new URLSearchParams({ resource: foreign })}`);
    assert.equal(reply.location?.searchParams.get("error"), "invalid_target");
    assert.equal(
      (await sendRequest(`${urlWith({})}&${new URLSearchParams({ resource: testServer.url })}`)).status,
      200,
    );
  });

  test("A13 a resource in upper case or with a slash at its end is ours, and the token is for our spelling", async () => {
    const upperCase = testServer.url.replace("http://localhost", "HTTP://LOCALHOST");
    for (const resource of [upperCase, `${testServer.url}/`]) {
      const tokens = await signInForTokens(testServer.baseUrl, client, { parameters: { resource } });
      secrets.keepTokens(tokens);
      assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
      assert.equal((await testServer.grantOf(tokens.access_token))?.resource, testServer.url);
    }
  });

  test("no state sent, none returned; iss comes all the same", async () => {
    const reply = await sendRequest(urlWith({ state: undefined, response_type: "token" }));
    await assertRefusedRedirect(testServer, reply, {
      status: 302,
      to: `${REDIRECT_URI}?`,
      error: "unsupported_response_type",
      reason: "unsupported_response_type",
      state: null,
    });
  });

  test("state comes back byte for byte, whatever is in it", async () => {
    for (const state of ["a&b=c#d", "ä €\t\r\n", '"><script>alert(1)</script>', "%00%2e", "x".repeat(4096)]) {
      const reply = await sendRequest(urlWith({ state, response_type: "token" }));
      assert.equal(reply.location?.searchParams.get("state"), state);
      assert.ok(!reply.headers.get("location")?.includes("\n"));
    }
  });

  test("a redirect URI keeps the query it was registered with, and gets ours added", async () => {
    const redirectUri = "http://127.0.0.1:33418/cb?tenant=7";
    const other = await register(testServer.baseUrl, { redirect_uris: [redirectUri] });
    const url = authorizeUrl(testServer.baseUrl, other, {
      redirect_uri: redirectUri,
      response_type: "token",
    });
    await assertRefusedRedirect(testServer, await sendRequest(url), {
      status: 302,
      to: `${redirectUri}&`,
      error: "unsupported_response_type",
      reason: "unsupported_response_type",
    });
  });

  test("a parameter sent twice is refused by name (RFC 6749 §3.1)", async () => {
    const all =
      "client_id redirect_uri response_type state scope code_challenge code_challenge_method request";
    for (const name of all.split(" ")) {
      const url = `${urlWith({ scope: "weather:read" })}&${name}=x&${name}=y`;
      const reply = await sendRequest(url, { headers: PROGRAM });
      assert.ok(reply.status === 400 || reply.location?.href.startsWith(REDIRECT_URI), name);
      const description =
        reply.json?.error_description ?? reply.location?.searchParams.get("error_description");
      assert.match(description, new RegExp(`${name}.* is sent more than once`));
      assert.equal(await reasonOf(testServer, reply), "repeated_parameter");
    }
  });

  test("a repeated or oversized parameter beside a good redirect URI goes back to the client as well", async () => {
    for (const more of ["&scope=a&scope=b", "&code_challenge=x", `&scope=${"x".repeat(9000)}`]) {
      const reply = await sendRequest(urlWith({}) + more);
      assert.equal(reply.location?.searchParams.get("error"), "invalid_request");
      assert.equal(reply.location?.searchParams.get("state"), "the-state");
      assert.equal(reply.location?.searchParams.get("iss"), testServer.baseUrl);
    }
  });

  test("every other method is refused with the ones that work", async () => {
    for (const method of ["PUT", "DELETE", "PATCH", "OPTIONS"]) {
      const reply = await sendRequest(urlWith({}), { method, headers: PERSON });
      await assertRefusedPage(testServer, reply, {
        status: 405,
        error: "invalid_request",
        reason: "wrong_method",
        describes: /use GET or POST/,
      });
      assert.equal(reply.headers.get("allow"), "GET, POST");
    }
  });

  test("a POST of JSON is not an authorization request", async () => {
    const json = Object.fromEntries(new URL(urlWith({})).searchParams);
    const reply = await sendRequest(`${testServer.baseUrl}/authorize`, { json, headers: PERSON });
    assert.ok(reply.status === 400 || reply.status === 415);
    assertPage(reply);
    assert.ok(await reasonOf(testServer, reply));
  });

  test("a body of 100 KB and a URL of 20 KB are refused without a crash", async () => {
    const body = await sendRequest(`${testServer.baseUrl}/authorize`, {
      form: { state: "x".repeat(100_000) },
      headers: PERSON,
    });
    assert.equal(body.status, 413);
    assertPage(body);
    assert.equal(await reasonOf(testServer, body), "unreadable_body");
    // Node itself refuses such a header block, before any of our code.
    assert.equal((await sendRequest(urlWith({ state: "x".repeat(20_000) }))).status, 431);
  });

  test("nothing of the request is reflected as markup", async () => {
    const markup = "<img src=x onerror=alert(1)>";
    const attempts = [
      urlWith({ client_id: markup }),
      urlWith({ redirect_uri: markup }),
      `${testServer.baseUrl}/authorize?${new URLSearchParams([
        [markup, "1"],
        [markup, "2"],
      ])}`,
    ];
    for (const url of attempts) {
      const reply = await sendRequest(url, { headers: PERSON });
      assertPage(reply);
      assert.doesNotMatch(reply.text, /<img/);
    }
  });

  test("markup in what a client says of itself stays text on the consent page", async () => {
    const other = await register(testServer.baseUrl, { client_name: '</strong><script>alert("x")</script>' });
    const page = await sendRequest(authorizeUrl(testServer.baseUrl, other), { headers: PERSON });
    assert.equal(page.status, 200);
    assertPage(page);
    assert.match(page.text, /&lt;script&gt;/);
    const uri = "https://app.example/?\"><script>alert('uri')</script>";
    const linked = await register(testServer.baseUrl, { client_uri: uri, logo_uri: uri });
    const unlinked = await sendRequest(authorizeUrl(testServer.baseUrl, linked), { headers: PERSON });
    assertPage(unlinked);
    assert.doesNotMatch(
      unlinked.text,
      /app\.example|alert/,
      "nobody verified them: they are not shown at all",
    );
  });

  test("asking writes nothing and issues nothing: a link opened many times leaves no trace", async () => {
    const writes = await writesDuring(testServer.records, async () => {
      for (let time = 0; time < 5; time++) {
        await sendRequest(urlWith({}));
        await sendRequest(urlWith({ response_type: "token" }));
        await sendRequest(urlWith({}), { method: "HEAD" });
      }
    });
    assert.deepEqual(writes, []);
  });

  test("a cross-site POST, which carries no Lax cookie, does not take away the identity of this browser's other flow", async () => {
    const url = urlWith({});
    const first = await sendRequest(url, { headers: PERSON });
    assert.ok(first.headers.get("set-cookie"));
    assert.equal((await posted(url)).headers.get("set-cookie"), null);
  });

  test("a state as long as allowed does not end at the consent form", async () => {
    const state = '"'.repeat(2048);
    const page = await newBrowser().get(urlWith({ state }));
    assert.equal(page.status, 200);
    const form = /name="request" value="([^"]+)"/.exec(page.body)?.[1] ?? "";
    const cookie = page.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    const reply = await sendRequest(`${testServer.baseUrl}/consent`, {
      form: { request: form, decision: "approve" },
      headers: { cookie },
    });
    assert.equal(reply.status, 303);
  });

  test("a state that is too long, or has control characters, is not kept; the client is told which", async () => {
    for (const state of ["x".repeat(2049), "ü".repeat(1025), "a\u0001"]) {
      const reply = await sendRequest(urlWith({ state }));
      assert.equal(reply.location?.searchParams.get("error"), "invalid_request");
      assert.match(reply.location?.searchParams.get("error_description") ?? "", /state is longer than 2048/);
      assert.equal(reply.location?.searchParams.get("state"), state);
    }
  });

  test("after all this, the same client signs in", async () => {
    const code = secrets.keep((await authorize(testServer.baseUrl, client)).get("code"));
    assert.ok(code);
    const tokens = secrets.keepTokens(await signInForTokens(testServer.baseUrl, client));
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
  });

  test("no secret is in the log", () => {
    secrets.keep(VERIFIER);
    secrets.keep(createHash("sha256").update(VERIFIER).digest("base64url"));
    secrets.assertNotLogged(testServer);
  });
});
