/**
 * Strangers who post logout tokens: what they make us ask of the identity provider is bounded, and neither sign-ins nor
 * genuine reports of a sign-out suffer for it.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, before, describe, test } from "node:test";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { callTool, postForm, type Registered, register, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer, type TestServer, type TestServerOptions } from "../support/test-server.ts";

const EVENTS = { "http://schemas.openid.net/event/backchannel-logout": {} };
type SigningKey = Awaited<ReturnType<typeof generateKeyPair>>["privateKey"];

describe("logout tokens of strangers", () => {
  let testServer: TestServer;
  let upstream: FaultyProxy;
  let client: Registered;
  let strangersKey: SigningKey;
  let rotatedKey: SigningKey;
  /** What the provider publishes once it has rotated. */
  let rotated: object;
  const closers: Array<() => Promise<void>> = [];
  before(async () => {
    strangersKey = (await generateKeyPair("RS256")).privateKey;
    const pair = await generateKeyPair("RS256");
    rotatedKey = pair.privateKey;
    rotated = { ...(await exportJWK(pair.publicKey)), kid: "rotated", alg: "RS256", use: "sig" };
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
  });

  /** A server of its own for each test: what it asked before is part of what is tested. */
  async function start(options: TestServerOptions = {}): Promise<void> {
    upstream = await startFaultyProxy();
    testServer = await startTestServer({ throughProxy: upstream, ...options });
    client = await register(testServer.baseUrl);
    closers.push(async () => {
      await testServer.close();
      await upstream.close();
    });
  }

  function logoutClaims(more: object = {}): JWTPayload {
    const iat = Math.floor(Date.now() / 1000) + testServer.clock.ahead;
    const { issuer: iss } = testServer.identityProvider;
    const whose = { iss, aud: "proxy", sub: "alice" };
    return { ...whose, jti: randomUUID(), iat, exp: iat + 120, events: EVENTS, ...more };
  }
  function signed(claims: JWTPayload, key: SigningKey, kid: string): Promise<string> {
    const header = { alg: "RS256", kid, typ: "logout+jwt" };
    return new SignJWT(claims).setProtectedHeader(header).sign(key);
  }
  const report = (logout_token: string) =>
    postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token });
  const reportForged = async (kid: string) => await report(await signed(logoutClaims(), strangersKey, kid));
  const genuine = () => signed(logoutClaims(), rotatedKey, "rotated");
  const keysAsked = () => upstream.seen.filter(({ path }) => path === "/jwks").length;
  const isAlive = async (token: string) => (await callTool(testServer.url, token, "whoami")).status === 200;

  test("with made-up key ids make us ask for the provider's keys once in ten seconds, not once each", async () => {
    await start();
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const before = keysAsked();
    for (let second = 0; second < 30; second++) {
      await reportForged(`made-up-${second}`);
      testServer.clock.ahead++;
    }
    assert.ok(keysAsked() - before <= 4, `${keysAsked() - before} fetches in 30 seconds`);
    assert.equal(await isAlive(access_token), true);
  });

  test("do not make us ask a provider that throttles again and again: ever later, and not before it says", async () => {
    await start();
    await signInForTokens(testServer.baseUrl, client);
    upstream.keysAnswer = { status: 429 };
    const before = keysAsked();
    testServer.clock.ahead += 10;
    for (let i = 0; i < 20; i++) assert.equal((await reportForged(`at-once-${i}`)).status, 503);
    assert.equal(keysAsked() - before, 1, "one for twenty at once");
    for (let second = 0; second < 300; second += 5) {
      testServer.clock.ahead += 5;
      await reportForged(`made-up-${second}`);
    }
    assert.ok(keysAsked() - before <= 7, `${keysAsked() - before} fetches in five minutes`);

    upstream.keysAnswer = { status: 429, headers: { "retry-after": "900" } };
    testServer.clock.ahead += 3_600;
    const told = keysAsked();
    for (let minute = 0; minute < 14; minute++) {
      const answer = await reportForged(`told-${minute}`);
      assert.equal(answer.status, 503);
      assert.ok(Number(answer.headers.get("retry-after")) > 0);
      testServer.clock.ahead += 60;
    }
    assert.equal(keysAsked() - told, 1);
  });

  test("keep nobody from signing in while the provider throttles: the keys that are known serve", async () => {
    await start();
    await signInForTokens(testServer.baseUrl, client);
    upstream.keysAnswer = { status: 429, headers: { "retry-after": "900" } };
    testServer.clock.ahead += 3_600;
    for (let i = 0; i < 20; i++) await reportForged(`made-up-${i}`);
    assert.equal((await signInForTokens(testServer.baseUrl, client)).token_type, "Bearer");
  });

  test("do not use up what a sign-in may ask: its ID token under a new key is verified at once", async () => {
    await start();
    await signInForTokens(testServer.baseUrl, client);
    upstream.keysAnswer = { status: 429, headers: { "retry-after": "900" } };
    testServer.clock.ahead += 60;
    assert.equal((await reportForged("made-up")).status, 503);
    upstream.keysAnswer = undefined;
    upstream.extraKey = rotated;
    upstream.rewrite = async (body) => {
      const [, payload = ""] = String(body.id_token).split(".");
      const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
      return { ...body, id_token: await signed(claims, rotatedKey, "rotated") };
    };
    assert.equal((await signInForTokens(testServer.baseUrl, client)).token_type, "Bearer");
  });

  test("delay a genuine one under a new key by seconds, and it is asked to come again", async () => {
    await start();
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    testServer.clock.ahead += 60;
    assert.equal((await reportForged("made-up")).status, 400, "asked, and there is no such key");
    upstream.extraKey = rotated;
    testServer.clock.ahead += 2;
    const early = await report(await genuine());
    assert.equal(early.status, 503, "not 400: a provider may repeat it");
    const seconds = Number(early.headers.get("retry-after"));
    assert.ok(seconds > 0 && seconds <= 10, `Retry-After: ${seconds}`);
    assert.equal(await isAlive(access_token), true);
    testServer.clock.ahead += seconds;
    assert.equal((await report(await genuine())).status, 200);
    assert.equal(await isAlive(access_token), false);
  });

  test("that are not for us, not now, or no report of a sign-out at all never touch the keys", async () => {
    await start();
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    testServer.clock.ahead += 1_200; // long enough for the keys to be old
    const before = keysAsked();
    const { iat = 0 } = logoutClaims();
    const bad: Record<string, object> = {
      "another issuer": { iss: "https://evil.example" },
      "another audience": { aud: "another-client" },
      "no audience": { aud: undefined },
      "too old": { iat: iat - 600 },
      "from the future": { iat: iat + 600 },
      "no iat": { iat: undefined },
      expired: { exp: iat - 60 },
      "no exp": { exp: undefined },
      "no jti": { jti: undefined },
      "an empty jti": { jti: "" },
      "no event": { events: {} },
      "an event that is no object": { events: { [Object.keys(EVENTS)[0] ?? ""]: true } },
      "a nonce": { nonce: "as in an ID token" },
      "names nobody": { sub: undefined },
    };
    for (const [what, claims] of Object.entries(bad)) {
      const answer = await report(await signed(logoutClaims(claims), strangersKey, "made-up"));
      assert.equal(answer.status, 400, what);
      assert.equal(answer.body.error, "invalid_request", what);
    }
    assert.equal(keysAsked(), before);
    assert.equal(await isAlive(access_token), true);
  });

  test("without exp count where the operator's provider leaves it out, for as long as their iat is young", async () => {
    await start({ environment: { OIDC_LOGOUT_TOKEN_EXP: "optional" } });
    upstream.extraKey = rotated;
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const { iat = 0 } = logoutClaims();
    const reported = async (more: object) =>
      await report(await signed(logoutClaims({ exp: undefined, ...more }), rotatedKey, "rotated"));
    assert.equal((await reported({ iat: iat - 600 })).status, 400);
    assert.equal(await isAlive(access_token), true);
    assert.equal((await reported({})).status, 200);
    assert.equal(await isAlive(access_token), false);
  });

  test("are limited for each address, and not together with what it asks of /token", async () => {
    await start({ environment: { TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "20" } });
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const answers = await Promise.all(Array.from({ length: 30 }, () => report("no token")));
    const limited = answers.filter(({ status }) => status === 429);
    // A twentieth may be given away without counting it.
    assert.ok(limited.length >= 9 && limited.length <= 10, `${limited.length} of 30`);
    assert.ok(limited.every(({ headers }) => Number(headers.get("retry-after")) > 0));
    assert.equal(await isAlive(access_token), true);
    assert.equal((await signInForTokens(testServer.baseUrl, client)).token_type, "Bearer");
  });
});
