/** A sign-in is finished with the identity provider that it was begun with, and with no other (invariant 1). */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { pino } from "pino";
import { Browser } from "../../dev/client/browser.ts";
import {
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import { openIdentityProviders } from "../../src/identity/identity-providers.ts";
import { type AwaitingLogin, loginFormat } from "../../src/login/transaction.ts";
import { sha256 } from "../../src/oauth/sha256.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { freePort } from "../support/free-port.ts";
import {
  authorizeUrl,
  REDIRECT_URI,
  type Registered,
  redeem,
  refresh,
  register,
  type Tokens,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { ALICE, AUDIENCE, startTestServer, type TestServer } from "../support/test-server.ts";
import { assertRefusedPage, type Reply } from "./support.ts";

describe("two identity providers", () => {
  const log = pino({ level: "silent" });
  let testServer: TestServer;
  let partners: RunningIdentityProvider;
  let client: Registered;

  before(async () => {
    const port = await freePort();
    testServer = await startTestServer({
      adjust: (config) => {
        const [first] = config.identityProviders;
        const second = { ...first, id: "partners", label: "Partners", issuer: `http://localhost:${port}` };
        return { ...config, identityProviders: [{ ...first, id: "staff" }, second] };
      },
    });
    partners = await startIdentityProvider({
      port,
      client: {
        id: "proxy",
        secret: "proxy-secret",
        redirectUris: [`${testServer.baseUrl}/auth/callback/partners`],
      },
      audience: AUDIENCE,
      scopes: ["weather:read"],
      users: [{ ...ALICE, subject: "carol" }],
      behaviour: { advertisesApiScopes: true, accessTokenSeconds: 600 },
    });
    client = await register(testServer.baseUrl);
  });
  after(async () => {
    await testServer.close();
    await partners.close();
  });

  const logins = () => {
    const sealer = createSealer(testServer.config.secretKeys);
    return encryptedStore({
      records: testServer.records,
      sealer,
      log,
      kind: "login",
      ...loginFormat(storedUsers(testServer.config.identityProviders)),
    });
  };

  /** A browser that comes back from the default provider, held just before our callback. */
  async function arriving(): Promise<{
    browser: Browser;
    callback: URL;
    state: string;
    login: AwaitingLogin;
  }> {
    const browser = new Browser({
      stopAt: (url) => url.pathname.startsWith("/auth/callback") || url.href.startsWith(REDIRECT_URI),
    });
    const callback = await signIn(browser, authorizeUrl(testServer.baseUrl, client));
    const state = callback.searchParams.get("state") ?? "";
    const login = await logins().get(sha256(state));
    assert.ok(login);
    return { browser, callback, state, login };
  }

  const at = (callback: URL, path: string) => new URL(`${path}${callback.search}`, callback);
  const get = async (browser: Browser, url: URL): Promise<Reply> => {
    const page = await browser.get(url);
    return { ...page, text: page.body } as unknown as Reply;
  };

  async function assertFinishes(browser: Browser, callback: URL): Promise<Tokens> {
    const page = await browser.get(callback);
    const answer = await redeem(
      testServer.baseUrl,
      client,
      page.redirectedTo?.searchParams.get("code") ?? null,
    );
    assert.equal(answer.status, 200, page.body.slice(0, 300));
    return answer.body;
  }

  test("the answer of one at the redirect URI of the other is refused, and uses nothing up", async () => {
    const { browser, callback, login } = await arriving();
    assert.equal(login.provider, "staff");
    await assertRefusedPage(testServer, await get(browser, at(callback, "/auth/callback/partners")), {
      status: 403,
      error: "access_denied",
      reason: "another_provider",
      describes: /started with another identity provider/,
    });
    await assertFinishes(browser, callback);
  });

  test("a sign-in of the other ends at its own redirect URI alone, and its grant is renewed there", async () => {
    const { browser, callback, state, login } = await arriving();
    await logins().put(sha256(state), { ...login, provider: "partners" }, 60);
    await assertRefusedPage(testServer, await get(browser, callback), {
      status: 403,
      error: "access_denied",
      reason: "another_provider",
    });
    const runtime = { now: () => Math.floor(Date.now() / 1000), randomBytes: Buffer.alloc, log };
    const { identityProviders, baseUrl } = testServer.config;
    const provider = openIdentityProviders(identityProviders, baseUrl, runtime)[1];
    assert.ok(provider);
    const { nonce, codeVerifier } = login;
    const sent = { redirectUri: provider.callbackUrl, state, nonce, codeVerifier, scopes: ["weather:read"] };
    const page = await browser.get((await provider.authorizationUrl(sent)).href);
    const back = (await browser.submit(page, { login: "carol" })).redirectedTo;
    assert.equal(back?.pathname, "/auth/callback/partners");
    const tokens = await assertFinishes(browser, back);
    const before = await testServer.grantOf(tokens.access_token);
    assert.deepEqual(
      before?.principal.kind === "user" && [before.principal.issuer, before.principal.subject],
      [partners.issuer, "carol"],
    );
    // The first provider would refuse the other one's refresh token, and the grant would end.
    testServer.clock.ahead = 400;
    const renewed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    testServer.clock.ahead = 0;
    assert.equal(renewed.status, 200, JSON.stringify(renewed.body));
    const after = await testServer.grantOf(renewed.body.access_token);
    assert.notEqual(after?.upstream?.refreshToken, before?.upstream?.refreshToken);
  });

  test("a sign-in that version 0.1.0 began is the default provider's", async () => {
    const { browser, callback, state, login } = await arriving();
    const { provider: _, ...ofEarlierVersion } = login;
    await logins().put(sha256(state), ofEarlierVersion as AwaitingLogin, 60);
    assert.equal((await get(browser, at(callback, "/auth/callback/partners"))).status, 403);
    await assertFinishes(browser, callback);
  });

  test("a sign-in with a provider that is not configured any more is refused", async () => {
    const { browser, callback, state, login } = await arriving();
    await logins().put(sha256(state), { ...login, provider: "gone" }, 60);
    assert.equal((await get(browser, callback)).status, 403);
  });

  test("the redirect URI of no provider is no page", async () => {
    const { browser, callback } = await arriving();
    await assertRefusedPage(testServer, await get(browser, at(callback, "/auth/callback/nobody")), {
      status: 404,
      error: "invalid_request",
      reason: "unknown_provider",
    });
    await assertFinishes(browser, callback);
  });
});
