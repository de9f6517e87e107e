/** What an identity provider may answer, and the result: a real one, with its answers changed by a proxy. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  newBrowser,
  postForm,
  type Registered,
  redeem,
  refresh,
  register,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { signIn } from "../support/sign-in.ts";
import { ALICE, startTestServer, useTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

describe("what the identity provider answers", () => {
  let upstream: FaultyProxy;
  let client: Registered;
  const testServer = useTestServer(async () => {
    upstream = await startFaultyProxy();
    return {
      throughProxy: upstream,
      behaviour: { accessTokenSeconds: 300, refreshTokens: "static" },
    };
  });
  before(async () => {
    client = await register(testServer.baseUrl);
  });
  afterEach(() => {
    Object.assign(upstream, { fault: undefined, answer: undefined, rewrite: undefined });
  });
  after(() => upstream.close());

  /** Of the last test that it outlived, or a new one. */
  async function session(): Promise<Tokens> {
    const kept = lasting ?? (await signInForTokens(testServer.baseUrl, client));
    lasting = undefined;
    return kept;
  }
  let lasting: Tokens | undefined;

  const notDefinite: Array<[string, { status: number; type?: string; challenge?: string; body: string }]> = [
    ["429 of a throttled tenant", { status: 429, body: '{"error":"too_many_requests"}' }],
    ["429 that says invalid_grant", { status: 429, body: '{"error":"invalid_grant"}' }],
    ["400 of a throttled tenant", { status: 400, body: '{"error":"rate_limit_exceeded"}' }],
    ["400 slow_down", { status: 400, body: '{"error":"slow_down"}' }],
    ["400 temporarily_unavailable", { status: 400, body: '{"error":"temporarily_unavailable"}' }],
    ["403 server_error", { status: 403, body: '{"error":"server_error"}' }],
    [
      "400 unknown_error: a hiccup of Salesforce",
      { status: 400, body: '{"error":"unknown_error","error_description":"retry your request"}' },
    ],
    ["403 of a provider that is being maintained", { status: 403, body: '{"error":"maintenance_mode"}' }],
    ["400 of a limit that is used up", { status: 400, body: '{"error":"request_limit_exceeded"}' }],
    ["400 of a gateway that reaches nobody", { status: 400, body: '{"error":"upstream_failure"}' }],
    ["403 of a gateway", { status: 403, body: '{"error":"Forbidden"}' }],
    ["403 of a gateway, written as a code", { status: 403, body: '{"error":"forbidden"}' }],
    ["403 of a gateway that has a message", { status: 403, body: '{"message":"Forbidden"}' }],
    ["403 of a gateway's error object", { status: 403, body: '{"error":{"code":403,"status":"DENIED"}}' }],
    ["403 of a firewall's page", { status: 403, type: "text/html", body: "<h1>mfa_required</h1>" }],
    ["400 of an application server", { status: 400, body: '{"status":400,"error":"Bad Request"}' }],
    ["404 of an application server", { status: 404, body: '{"status":404,"error":"Not Found"}' }],
    ["404 with a code", { status: 404, body: '{"error":"unknown_route"}' }],
    ["400 of a web server", { status: 400, type: "text/html", body: "<h1>400 Bad Request</h1>" }],
    ["401 invalid_client: our own secret is wrong", { status: 401, body: '{"error":"invalid_client"}' }],
    ["401 invalid_request: no credentials", { status: 401, body: '{"error":"invalid_request"}' }],
    [
      "401 access_denied: what Auth0 says of a wrong secret",
      { status: 401, body: '{"error":"access_denied","error_description":"Unauthorized"}' },
    ],
    [
      "400 unauthorized_client: a grant type is off",
      { status: 400, body: '{"error":"unauthorized_client"}' },
    ],
    [
      "400 invalid_request: the client is not looked for where it was sent",
      { status: 400, body: '{"error":"invalid_request","error_description":"Missing parameter: client_id"}' },
    ],
    ["403 disabled_client", { status: 403, body: '{"error":"disabled_client"}' }],
    ["400 unsupported_grant_type", { status: 400, body: '{"error":"unsupported_grant_type"}' }],
    ["400 invalid_target: an API was renamed", { status: 400, body: '{"error":"invalid_target"}' }],
    ["400 use_dpop_nonce", { status: 400, body: '{"error":"use_dpop_nonce"}' }],
    ["200 without an access token", { status: 200, body: "{}" }],
    ["200 of broken JSON", { status: 200, body: '{"access_token":"a' }],
  ];
  for (const [name, answer] of notDefinite)
    test(`a refresh answered with ${name} costs nobody a session (invariant 7)`, async () => {
      const tokens = await session();
      testServer.clock.ahead += 200;
      upstream.answer = answer;
      const during = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      upstream.answer = undefined;
      assert.equal(during.status, 503);
      const { status, body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(status, 200);
      lasting = body;
    });

  const tellings: Array<[name: string, how: Partial<FaultyProxy>, says: RegExp]> = [
    [
      "nothing, because nobody answers",
      { fault: "reset" },
      /^The identity provider cannot be reached right now\./,
    ],
    ["500", { fault: "500" }, /^The identity provider answers with an error \(HTTP 500\)\./],
    ["429", { answer: { status: 429, body: "{}" } }, /answers with an error \(HTTP 429\)\./],
    ["a page", { fault: "html" }, /^The identity provider's answer is not what this server can use\./],
    ["no access token", { answer: { status: 200, body: "{}" } }, /answer is not what this server can use\./],
    [
      "400 slow_down",
      { answer: { status: 400, body: '{"error":"slow_down"}' } },
      /answers with an error \(HTTP 400\)/,
    ],
  ];
  for (const [name, how, says] of tellings)
    test(`a refresh that the provider answers with ${name}: the client is told what happened`, async () => {
      const tokens = await session();
      testServer.clock.ahead += 200;
      Object.assign(upstream, how);
      const { status, body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(status, 503);
      assert.match(body.error_description, says);
      assert.match(body.error_description, /Try again in a moment\./);
      lasting = tokens;
    });

  const definite: Array<[string, { status: number; challenge?: string; body: string }]> = [
    ["400 access_denied", { status: 400, body: '{"error":"access_denied"}' }],
    ["403 mfa_required", { status: 403, body: '{"error":"mfa_required","mfa_token":"x"}' }],
    ["401 mfa_required", { status: 401, body: '{"error":"mfa_required"}' }],
    [
      "400 invalid_request: the refresh token is invalid",
      { status: 400, body: '{"error":"invalid_request","error_description":"refresh_token is invalid"}' },
    ],
    ["403 not_allowed", { status: 403, body: '{"error":"not_allowed"}' }],
    ["400 invalid_scope", { status: 400, body: '{"error":"invalid_scope"}' }],
    ["400 of a code of its own", { status: 400, body: '{"error":"user_suspended"}' }],
    ["401 invalid_grant", { status: 401, body: '{"error":"invalid_grant"}' }],
    [
      "401 invalid_grant and a challenge",
      { status: 401, challenge: 'Basic realm="idp"', body: '{"error":"invalid_grant"}' },
    ],
  ];
  for (const [name, answer] of definite)
    test(`a refresh answered with ${name} ends the grant: the client is led to a new sign-in`, async () => {
      const tokens = await signInForTokens(testServer.baseUrl, client);
      testServer.clock.ahead += 200;
      upstream.answer = answer;
      const refused = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      upstream.answer = undefined;
      assert.deepEqual([refused.status, refused.body.error], [400, "invalid_grant"]);
      assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 401);
    });

  for (const [name, code] of [
    ["a wrong secret", "invalid_client"],
    ["a grant type that is off", "unsupported_grant_type"],
    ["an API that it does not know", "invalid_target"],
  ] as const)
    test(`${name} is our own setting: the client is told whose to repair, the log the code`, async () => {
      const tokens = await signInForTokens(testServer.baseUrl, client);
      testServer.clock.ahead += 200;
      testServer.log.length = 0;
      upstream.answer = {
        status: code === "invalid_client" ? 401 : 400,
        // RFC 6749 §5.2: 401 comes with a challenge.
        ...(code === "invalid_client" && { challenge: 'Basic realm="idp"' }),
        body: JSON.stringify({ error: code }),
      };
      const during = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(during.status, 503);
      assert.match(during.body.error_description, /not set up correctly at its identity provider/);
      const line = testServer.log.find(({ status }) => status === 503);
      assert.equal(
        line?.reason,
        code === "invalid_client" ? "client_credentials_rejected" : "upstream_refresh_misconfigured",
      );
    });

  const odd: Array<[string, Record<string, unknown>]> = [
    ["refresh_token: null", { refresh_token: null }],
    ['refresh_token: ""', { refresh_token: "" }],
    ["scope: null", { scope: null }],
    ["scope as an array", { scope: ["openid", "weather:read"] }],
    ["no token_type", { token_type: undefined }],
    ["expires_in: 0", { expires_in: 0 }],
    ["expires_in as text", { expires_in: "300" }],
    ["expires_in: nonsense", { expires_in: "soon" }],
    ["no expires_in", { expires_in: undefined }],
    ["an ID token that is none", { id_token: "a.b.c" }],
    ["an encrypted access token", { access_token: "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d" }],
  ];
  for (const [name, change] of odd)
    test(`a good refresh with ${name} is a good refresh`, async () => {
      const tokens = await signInForTokens(testServer.baseUrl, client);
      testServer.clock.ahead += 200;
      upstream.rewrite = (body) => ({ ...body, ...change });
      const refreshed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(refreshed.status, 200);
      assert.equal(refreshed.body.scope, "weather:read");
      testServer.clock.ahead += 4_000;
      assert.equal(
        (await refresh(testServer.baseUrl, client, refreshed.body.refresh_token)).status,
        200,
        "and once more",
      );
    });

  test("a provider that never says how long is asked again after an hour", async () => {
    upstream.rewrite = ({ expires_in: _, ...body }) => ({ ...body, access_token: "opaque" });
    const tokens = await signInForTokens(testServer.baseUrl, client);
    upstream.seen.length = 0;
    testServer.clock.ahead += 3_000;
    assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
    assert.equal(upstream.seen.filter(({ grantType }) => grantType === "refresh_token").length, 1);
  });

  test("our access token never outlives the provider's", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    assert.ok(tokens.expires_in <= 300);
  });

  test("a permission that was withdrawn at the provider is withdrawn here", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    testServer.clock.ahead += 200;
    upstream.rewrite = (body) => ({
      ...body,
      scope: "openid profile email offline_access",
      access_token: "opaque",
    });
    const narrowed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.equal(narrowed.body.scope, "");
    assert.equal(
      (await callTool(testServer.url, narrowed.body.access_token, "current_weather", { city: "Berlin" }))
        .status,
      403,
    );
  });

  const forged: Array<[string, (body: Record<string, string>) => Record<string, unknown>]> = [
    [
      "an ID token whose signature does not fit",
      (body) => ({ ...body, id_token: `${body.id_token?.slice(0, -8)}AAAAAAAA` }),
    ],
    [
      "an ID token without a signature",
      ({ id_token = "", ...body }) => ({ ...body, id_token: unsigned(id_token) }),
    ],
    [
      "an ID token signed with our secret as the key",
      (body) => ({ ...body, id_token: hs256(body.id_token ?? "") }),
    ],
    ["no ID token", ({ id_token: _, ...body }) => body],
    ["an access token for another audience", (body) => ({ ...body, access_token: body.id_token })],
    [
      "an access token whose signature does not fit",
      (body) => ({ ...body, access_token: `${body.access_token?.slice(0, -8)}AAAAAAAA` }),
    ],
  ];
  for (const [name, change] of forged)
    test(`${name}: nobody is signed in`, async () => {
      upstream.rewrite = change as FaultyProxy["rewrite"];
      await assert.rejects(authorize(testServer.baseUrl, client), /Signing in failed/);
    });

  test("an encrypted access token is opaque: the claims come from the ID token, the scopes from the response", async () => {
    upstream.rewrite = (body) => ({ ...body, access_token: "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d" });
    const tokens = await signInForTokens(testServer.baseUrl, client);
    assert.equal(tokens.scope, "weather:read");
    const me = (await callTool(testServer.url, tokens.access_token, "whoami")).body.result.structuredContent;
    assert.equal(me.email, "alice@example.com");
  });

  test("an outage during the callback loses nothing: the same page, loaded again, signs in", async () => {
    const browser = newBrowser();
    upstream.fault = "reset";
    await assert.rejects(
      signIn(browser, authorizeUrl(testServer.baseUrl, client), { login: "alice" }),
      /503/,
    );
    upstream.fault = undefined;
    const callback = browser.history.findLast(({ url }) => url.includes("/auth/callback"));
    const page = await browser.get(callback?.url ?? "");
    const code = page.redirectedTo?.searchParams.get("code") ?? null;
    assert.equal((await redeem(testServer.baseUrl, client, code)).status, 200);
  });

  test("no upstream text in an answer, all of it in the log", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    testServer.clock.ahead += 200;
    upstream.answer = {
      status: 400,
      body: '{"error":"invalid_grant","error_description":"tenant 42: user blocked"}',
    };
    const refused = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.equal(refused.body.error, "invalid_grant");
    assert.doesNotMatch(JSON.stringify(refused.body), /tenant 42/);
    assert.ok(
      testServer.log.some(({ upstreamError }) => String(upstreamError).includes("tenant 42: user blocked")),
    );
  });
});

describe("discovery", () => {
  test("that names another issuer than the configured one is not believed: a page says so, the log says why", async () => {
    const real = await startTestServer();
    const testServer = await startTestServer({
      issuer: real.identityProvider.issuer.replace("localhost", "127.0.0.1"),
    });
    try {
      const client = await register(testServer.baseUrl);
      const page = await newBrowser().get(authorizeUrl(testServer.baseUrl, client));
      assert.equal(page.status, 503);
      const line = testServer.log.find(
        ({ reason, issuer }) => reason === "discovery_failed" && issuer !== undefined,
      );
      assert.match(String(line?.cause), /issuer does not match/);
    } finally {
      await testServer.close();
      await real.close();
    }
  });
});

describe("between deployments, users and registrations", () => {
  test("a token of one deployment opens nothing at another on the same store and key", {
    skip: redis.skip,
  }, async () => {
    const shared = {
      ...(redis.url !== undefined && { redisUrl: redis.url }),
      environment: { REDIS_KEY_PREFIX: `shared-${Date.now()}` },
    };
    const [one, other] = [await startTestServer(shared), await startTestServer(shared)];
    try {
      const tokens = await signInForTokens(one.baseUrl, await register(one.baseUrl));
      const refused = await callTool(other.url, tokens.access_token, "whoami");
      assert.equal(refused.status, 401);
      assert.ok(other.log.some(({ reason }) => reason === "access_token_for_another_resource"));
    } finally {
      await one.close();
      await other.close();
    }
  });

  test("what one user approved for good is not approved by the next user of the browser", async () => {
    const testServer = await startTestServer({ environment: { CONSENT: "remember" } });
    try {
      const client = await register(testServer.baseUrl);
      const browser = newBrowser();
      const page = await browser.get(authorizeUrl(testServer.baseUrl, client));
      const login = await browser.submit(page, { remember: "yes" }, { button: "approve" });
      const abandoned = await browser.get(authorizeUrl(testServer.baseUrl, client));
      assert.match(abandoned.body, /Allow access/, "approving without signing in is remembered of nobody");
      await browser.submit(login, { login: ALICE.subject });

      const providerUrl = new URL(testServer.identityProvider.issuer).origin;
      const left = await browser.get(`${providerUrl}/session/end`);
      await browser.submit(left, { logout: "yes" });
      const asBob = await browser.get(authorizeUrl(testServer.baseUrl, client));
      const afterLogin = await browser.submit(asBob, { login: "bob" });
      assert.equal(afterLogin.redirectedTo, undefined);
      assert.match(afterLogin.body, /Allow access/, "bob is asked himself");
      const approved = await browser.submit(afterLogin, {}, { button: "approve" });
      assert.ok(approved.redirectedTo?.searchParams.get("code"));
    } finally {
      await testServer.close();
    }
  });

  test("the next user of the browser is asked for all that the client asks for, and for no more, whatever the first one refused", async () => {
    const scopes = { "notes:read": "Read notes", "notes:write": "Write notes" };
    const testServer = await startTestServer({ environment: { CONSENT: "remember" }, scopes });
    try {
      const client = await register(testServer.baseUrl);
      const providerUrl = new URL(testServer.identityProvider.issuer).origin;
      const inAll = (page: string) =>
        [...page.matchAll(/name="scope" value="([^"]+)"/g)].map(([, name]) => name);
      for (const refused of [["notes:read"], ["notes:read", "notes:write"]]) {
        const browser = newBrowser();
        const url = authorizeUrl(testServer.baseUrl, client, { scope: "notes:read notes:write" });
        const page = await browser.get(url);
        const login = await browser.submit(page, { remember: "yes" }, { button: "approve", untick: refused });
        await browser.submit(login, { login: ALICE.subject });
        const left = await browser.get(`${providerUrl}/session/end`);
        await browser.submit(left, { logout: "yes" });
        const asked = await browser.submit(await browser.get(url), { login: "bob" });
        assert.deepEqual(inAll(asked.body), ["notes:read", "notes:write"], refused.join());
      }
    } finally {
      await testServer.close();
    }
  });

  test("a removed registration takes its grants along, and no request in flight brings it back", async () => {
    const testServer = await startTestServer();
    try {
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client);
      testServer.clock.ahead += 90_000; // its use would be written down again
      const [removed] = await Promise.all([
        fetch(String(client.registration_client_uri), {
          method: "DELETE",
          headers: { authorization: `Bearer ${client.registration_access_token}` },
        }),
        refresh(testServer.baseUrl, client, tokens.refresh_token),
      ]);
      assert.equal(removed.status, 204);
      const later = await postForm(`${testServer.baseUrl}/token`, {
        grant_type: "refresh_token",
        refresh_token: "x",
        client_id: client.client_id,
      });
      assert.equal(later.body.error, "invalid_client");
    } finally {
      await testServer.close();
    }
  });

  test("a removed registration's access tokens end at once (RFC 7592 §2.3)", async () => {
    const testServer = await startTestServer();
    try {
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client);
      await fetch(String(client.registration_client_uri), {
        method: "DELETE",
        headers: { authorization: `Bearer ${client.registration_access_token}` },
      });
      assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 401);
    } finally {
      await testServer.close();
    }
  });

  test("an address that is not percent-encoded, and a message nested out of all measure, are bad requests", async () => {
    const testServer = await startTestServer();
    try {
      assert.equal((await fetch(`${testServer.baseUrl}/register/%ff`)).status, 400);
      const { access_token } = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
      const nested = `${"[".repeat(5_000)}${"]".repeat(5_000)}`;
      const answer = await fetch(testServer.url, {
        method: "POST",
        headers: { authorization: `Bearer ${access_token}`, "content-type": "application/json" },
        body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","arguments":{"x":${nested}}}}`,
      });
      assert.equal(answer.status, 400);
    } finally {
      await testServer.close();
    }
  });

  test("prompt=none never shows a page", async () => {
    const testServer = await startTestServer();
    try {
      const client = await register(testServer.baseUrl);
      const page = await newBrowser().get(authorizeUrl(testServer.baseUrl, client, { prompt: "none" }));
      assert.equal(page.redirectedTo?.searchParams.get("error"), "interaction_required");
    } finally {
      await testServer.close();
    }
  });
});

/** The same claims, signed symmetrically. */
function hs256(token: string): string {
  const header = Buffer.from(JSON.stringify({ alg: "HS256" })).toString("base64url");
  const input = `${header}.${token.split(".")[1]}`;
  return `${input}.${createHmac("sha256", "proxy-secret").update(input).digest("base64url")}`;
}

/** The same claims under `alg: none`. */
function unsigned(token: string): string {
  const header = Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url");
  return `${header}.${token.split(".")[1]}.`;
}
