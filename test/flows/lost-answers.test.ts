/**
 * The answer of Redis to a command that it executed is lost, with the connection or in an outage: what was ended is audited
 * and revoked at the provider, and nothing is used up.
 */
import assert from "node:assert/strict";
import { after, beforeEach, describe, test } from "node:test";
import { exportJWK, type GenerateKeyPairResult, generateKeyPair, SignJWT } from "jose";
import { z } from "zod";
import { createShutdown } from "../../src/runtime/shutdown.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { type RedisOptions, redisStore } from "../../src/storage/redis/redis.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { ready, silent } from "../storage/support.ts";
import { openConnections } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  newBrowser,
  postForm,
  type Registered,
  redeem,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { type RedisProxy, startRedisProxy } from "../support/redis-proxy.ts";
import { useTestServer } from "../support/test-server.ts";

const DELETE_OF_GRANT = /'DEL'[\s\S]*:grant:/;
const WRITE_OF_GRANT = /'SET'[\s\S]*:grant:/;
const CLAIM_OF_LOGIN = /'SET'[\s\S]*:login:/;
const DELETE_OF_SESSION = /(DEL|UNLINK)\r\n[\s\S]*:session:/;
const DELETE_OF_CLIENT = /(DEL|UNLINK)\r\n[\s\S]*:client:/;
const WRITE_OF_CLIENT = /'SET'[\s\S]*:client:/;
const MARK_OF_LOGOUT = /SET\r\n[\s\S]*:logout:/;

describe("an answer of Redis that was lost", { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  let proxy: RedisProxy;
  let upstream: FaultyProxy;
  let client: Registered;
  let keys: GenerateKeyPairResult;
  const shutdown = createShutdown();
  const closing: Array<() => Promise<void>> = [];
  after(async () => {
    for (const close of closing) await close();
  });
  const testServer = useTestServer(async () => {
    redis = await startRedis();
    proxy = await startRedisProxy(redis.port);
    upstream = await startFaultyProxy();
    // Published before the first sign-in: a key that is new to the server may have to be waited for.
    keys = await generateKeyPair("ES256");
    upstream.extraKey = { ...(await exportJWK(keys.publicKey)), kid: "logout", alg: "ES256", use: "sig" };
    return {
      redisUrl: proxy.url,
      throughProxy: upstream,
      shutdown,
      environment: { REDIS_TIMEOUT_MS: "2000" },
    };
  });
  beforeEach(async () => {
    client = await register(testServer.baseUrl);
    upstream.seen.length = 0;
    testServer.log.length = 0;
  });
  after(async () => {
    await upstream.close();
    await proxy.close();
    await redis.stop();
  });

  const revocations = () => upstream.seen.filter(({ path }) => path.endsWith("/revocation")).length;
  const audited = (event: string) => testServer.log.filter(({ audit }) => audit === event).length;
  async function losing<T>(
    command: RegExp,
    work: () => Promise<T>,
    options?: Parameters<RedisProxy["lose"]>[1],
  ): Promise<T> {
    const before = proxy.lost;
    proxy.lose(command, options);
    const result = await work();
    proxy.answerAgain();
    assert.ok(proxy.lost > before, "the command was sent");
    return result;
  }

  /** Soon: Redis tells the grant cache on another connection than the one that answered. */
  const ends = (token: string) =>
    eventually(
      "the token has ended",
      async () => (await callTool(testServer.url, token, "whoami")).status === 401,
    );

  test("to the removal of a grant: it is audited, and revoked at the provider", async () => {
    const { access_token, refresh_token } = await signInForTokens(testServer.baseUrl, client);
    const answer = await losing(DELETE_OF_GRANT, () => revoke(testServer.baseUrl, client, refresh_token));
    assert.equal(answer.status, 200);
    await ends(access_token);
    await eventually("the provider is told", () => revocations() === 1);
    assert.equal(audited("grant_ended"), 1);
  });

  test("to the removal of a grant, with an outage after it: 503, then 200 at the repetition, audited and revoked once", async () => {
    const { refresh_token } = await signInForTokens(testServer.baseUrl, client);
    const say = () => revoke(testServer.baseUrl, client, refresh_token);
    const first = await losing(DELETE_OF_GRANT, say, { silent: true });
    assert.equal(first.status, 503);
    assert.ok(Number(first.headers.get("retry-after")) > 0);
    assert.equal(audited("grant_ended"), 0);
    await shutdown.finished();
    assert.equal(audited("grant_ended"), 1, "a process that stops has waited for it");
    await eventually("it can be said again", async () => (await say()).status === 200);
    await eventually("the provider is told", () => revocations() === 1);
    await eventually("it is in the audit log", () => audited("grant_ended") === 1);
  });

  test("to the consumption of a login: the sign-in goes on", async () => {
    const answer = await losing(CLAIM_OF_LOGIN, () => authorize(testServer.baseUrl, client));
    assert.equal((await redeem(testServer.baseUrl, client, answer.get("code"))).status, 200);
  });

  test("to the consumption of a login, with an outage after it: the same page can be loaded again", async () => {
    const browser = newBrowser();
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
    const provider = await browser.submit(consent, {}, { button: "approve" });
    const refused = await losing(CLAIM_OF_LOGIN, () => browser.submit(provider, { login: "alice" }), {
      silent: true,
    });
    assert.deepEqual([refused.status, refused.url.pathname], [503, "/auth/callback"]);
    const code = await eventually("the sign-in is finished", async () => {
      const { redirectedTo } = await browser.get(refused.url);
      return redirectedTo?.searchParams.get("code");
    });
    assert.equal((await redeem(testServer.baseUrl, client, code)).status, 200);
  });

  test("to the consumption of a login that another replica consumed: that one alone has it, and it is not restored", async () => {
    const { config } = testServer;
    const sealer = createSealer(config.secretKeys);
    const storeOn = (url: string) => {
      const options = { ...config.store, url, log: silent } as RedisOptions;
      const records = redisStore(options);
      closing.push(() => records.close());
      const schema = z.object({ login: z.string() });
      return { records, store: encryptedStore({ records, sealer, log: silent, kind: "login", schema }) };
    };
    const [here, there] = [storeOn(proxy.url), storeOn(redis.url)];
    await ready(here.records);
    await ready(there.records);
    await there.store.put("one", { login: "one" }, 600);
    const late: unknown[] = [];
    const before = proxy.lost;
    proxy.lose(/('SET'|UNLINK)[\s\S]*:login:one/, { silent: true, arrives: false });
    const claimed = here.store.claim("one", { late: async (value) => late.push(value) });
    const outcome = claimed.then(
      (value) => value,
      () => "unavailable",
    );
    await eventually("the command is lost", () => proxy.lost > before);
    assert.deepEqual(await there.store.claim("one"), { login: "one" });
    proxy.answerAgain();
    assert.equal(await outcome, "unavailable");
    assert.deepEqual(late, []);
    assert.equal(await there.store.get("one"), undefined);
    await ready(testServer.records);
  });

  test("to the redemption of a code: the client has its tokens, and is not taken for a thief", async () => {
    const code = (await authorize(testServer.baseUrl, client)).get("code");
    const answer = await losing(WRITE_OF_GRANT, () => redeem(testServer.baseUrl, client, code));
    assert.equal(answer.status, 200);
    assert.equal((await callTool(testServer.url, answer.body.access_token, "whoami")).status, 200);
  });

  test("to signing out at /connections: the session is over", async () => {
    const browser = newBrowser();
    const page = await openConnections(testServer.baseUrl, { browser });
    const left = await losing(DELETE_OF_SESSION, () => browser.submit(page, {}, { button: "Sign out" }));
    assert.equal(left.status, 200);
    assert.match((await browser.get(`${testServer.baseUrl}/connections`)).body, /Sign in/);
  });

  test("to the removal of a registration: it is gone, and audited once", async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const { status } = await losing(DELETE_OF_CLIENT, () =>
      fetch(`${client.registration_client_uri}`, {
        method: "DELETE",
        headers: { authorization: `Bearer ${client.registration_access_token}` },
      }),
    );
    assert.equal(status, 204);
    await ends(access_token);
    assert.equal(audited("client_removed"), 1);
  });

  test("to the mark with which a removal begins: nothing is removed until the request is repeated", async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const remove = () =>
      fetch(`${client.registration_client_uri}`, {
        method: "DELETE",
        headers: { authorization: `Bearer ${client.registration_access_token}` },
      });
    const first = await losing(WRITE_OF_CLIENT, remove, { arrives: false });
    assert.equal(first.status, 503);
    await ready(testServer.records);
    assert.equal((await callTool(testServer.url, access_token, "whoami")).status, 200);
    assert.equal((await remove()).status, 204);
    await ends(access_token);
  });

  /** Signed as the provider signs, with a key that is new to the server every time. */
  async function logoutToken(): Promise<string> {
    return await new SignJWT({ events: { "http://schemas.openid.net/event/backchannel-logout": {} } })
      .setProtectedHeader({ alg: "ES256", kid: "logout", typ: "logout+jwt" })
      .setIssuer(testServer.identityProvider.issuer)
      .setAudience("proxy")
      .setSubject("alice")
      .setJti(crypto.randomUUID())
      .setIssuedAt()
      .setExpirationTime("2m")
      .sign(keys.privateKey);
  }

  test("to the end of a session by back-channel logout: the provider may repeat its report until it was processed", async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const logout_token = await logoutToken();
    const report = () => postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token });
    const first = await losing(DELETE_OF_GRANT, report, { silent: true });
    assert.equal(first.status, 503);
    await eventually("it can be said again", async () => (await report()).status === 200);
    await ends(access_token);
    assert.equal((await report()).body.error, "invalid_request");
  });

  test("to the record that a logout token was processed: it counts as processed", async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const logout_token = await logoutToken();
    const answer = await losing(MARK_OF_LOGOUT, () =>
      postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token }),
    );
    assert.equal(answer.status, 200);
    await eventually("it is over", async () => {
      const { status } = await callTool(testServer.url, access_token, "whoami");
      return status === 401;
    });
  });
});
