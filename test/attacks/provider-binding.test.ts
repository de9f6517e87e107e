/** A sign-in is finished with the identity provider that it was begun with, and with no other (invariant 1). */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { pino } from "pino";
import { Browser } from "../../dev/client/browser.ts";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import { type AwaitingLogin, loginFormat } from "../../src/login/transaction.ts";
import { sha256 } from "../../src/oauth/sha256.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  REDIRECT_URI,
  type Registered,
  redeem,
  register,
  type Tokens,
} from "../support/oauth-client.ts";
import { logoutClaims, publishKey, type Sign } from "../support/provider-key.ts";
import { signIn } from "../support/sign-in.ts";
import { ALICE, startTestServer, type TestServer } from "../support/test-server.ts";
import { assertRefused, assertRefusedPage, type Reply, sendRequest } from "./support.ts";

describe("two identity providers", () => {
  const log = pino({ level: "silent" });
  let testServer: TestServer;
  let upstream: FaultyProxy;
  let client: Registered;
  let signAsPartners: Sign;

  before(async () => {
    upstream = await startFaultyProxy();
    testServer = await startTestServer({
      partners: { users: [ALICE, { ...ALICE, subject: "carol" }], throughProxy: upstream },
    });
    signAsPartners = await publishKey(upstream);
    client = await register(testServer.baseUrl);
  });
  after(async () => {
    await testServer.close();
    await upstream.close();
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

  interface Arriving {
    browser: Browser;
    callback: URL;
    state: string;
    login: AwaitingLogin;
  }

  const start = (provider: string) =>
    authorizeUrl(testServer.baseUrl, client, { identity_provider: provider });
  const isBack = (url: URL) => url.pathname.startsWith("/auth/callback") || url.href.startsWith(REDIRECT_URI);

  /** A browser that comes back from a provider, held just before our callback. */
  async function arriving(provider = "staff"): Promise<Arriving> {
    const browser = new Browser({ stopAt: isBack });
    const callback = await signIn(browser, start(provider));
    const state = callback.searchParams.get("state") ?? "";
    const login = await logins().get(sha256(state));
    assert.ok(login);
    return { browser, callback, state, login };
  }

  /** A browser on its way to a provider, held at its door. */
  async function leaving(provider: string): Promise<{ browser: Browser; target: URL }> {
    let leaves = true;
    const isThere = (url: URL) => url.origin !== testServer.baseUrl;
    const browser = new Browser({ stopAt: (url) => isBack(url) || (leaves && isThere(url)) });
    const target = await signIn(browser, start(provider));
    leaves = false;
    return { browser, target };
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

  const FOREIGN = {
    status: 403,
    error: "access_denied",
    reason: "another_provider",
    describes: /started with another identity provider/,
  };

  test("the answer of one at the redirect URI of the other is refused, and uses nothing up", async () => {
    const atStaff = await arriving("staff");
    assert.equal(atStaff.login.provider, "staff");
    const there = at(atStaff.callback, "/auth/callback/partners");
    await assertRefusedPage(testServer, await get(atStaff.browser, there), FOREIGN);
    await assertFinishes(atStaff.browser, atStaff.callback);

    const atPartners = await arriving("partners");
    assert.equal(atPartners.login.provider, "partners");
    assert.equal(atPartners.callback.pathname, "/auth/callback/partners");
    const here = at(atPartners.callback, "/auth/callback");
    await assertRefusedPage(testServer, await get(atPartners.browser, here), FOREIGN);
    await assertFinishes(atPartners.browser, atPartners.callback);
  });

  // RFC 9700 §4.4.1: the attacker's provider sends the browser on to an honest one, to be given that one's code.
  test("a provider that sends the browser on to the other, with its own state, gets no code of the other", async () => {
    const { browser, target } = await leaving("partners");
    const { browser: another, target: honest } = await leaving("staff");
    assert.notEqual(browser, another);
    const forged = new URL(honest);
    for (const name of ["state", "nonce", "code_challenge"])
      forged.searchParams.set(name, target.searchParams.get(name) ?? "");
    const seen = upstream.seen.length;
    const back = (await browser.submit(await browser.get(forged), { login: "alice" })).redirectedTo;
    assert.equal(back?.pathname, "/auth/callback");
    assert.ok(back.searchParams.get("code"));
    await assertRefusedPage(testServer, await get(browser, back), FOREIGN);
    assert.ok(
      !upstream.seen.slice(seen).some(({ path }) => path.includes("/token")),
      "nothing was sent there",
    );
  });

  test("the code of one with the state of the other is not exchanged at the other", async () => {
    const theirs = await arriving("partners");
    const victims = await arriving("staff");
    const mixed = new URL(theirs.callback);
    // With the `iss` of where the code comes from, of where it goes to, and without.
    const code = victims.callback.searchParams.get("code") ?? "";
    mixed.searchParams.set("code", code);
    mixed.searchParams.set("iss", victims.callback.searchParams.get("iss") ?? "");
    const seen = upstream.seen.length;
    await assertNotAccepted(theirs.browser, mixed);
    assert.ok(!upstream.seen.slice(seen).some(({ text }) => text.includes(code)), "the code stays here");
    await assertFinishes(victims.browser, victims.callback);
  });

  async function assertNotAccepted(browser: Browser, callback: URL): Promise<void> {
    await assertRefusedPage(testServer, await get(browser, callback), {
      status: 400,
      error: "server_error",
      reason: "upstream_refused",
    });
  }

  // RFC 9207 §2.4: discovery says that it is always there.
  for (const [what, iss] of [
    ["without iss", undefined],
    ["with the iss of the other", "other"],
    ["with an empty iss", ""],
    ["with an iss that is spelt otherwise", "slash"],
  ] as const)
    for (const name of ["staff", "partners"] as const)
      test(`an answer of ${name} ${what} is refused`, async () => {
        const { browser, callback } = await arriving(name);
        const own = callback.searchParams.get("iss") ?? "";
        const other = name === "staff" ? testServer.partners.issuer : testServer.identityProvider.issuer;
        assert.ok(own);
        if (iss === undefined) callback.searchParams.delete("iss");
        else callback.searchParams.set("iss", { other, "": "", slash: `${own}/` }[iss]);
        await assertNotAccepted(browser, callback);
      });

  test("the consent page's form is for the provider that it names, whatever is sent beside it", async () => {
    const browser = new Browser({ stopAt: (url) => url.origin !== testServer.baseUrl });
    const page = await browser.get(start("staff"));
    assert.match(page.body, /You sign in at <strong>Staff/);
    const fields = { identity_provider: "partners", provider: "partners" };
    const { redirectedTo } = await browser.submit(page, fields, { button: "approve" });
    assert.equal(redirectedTo?.origin, testServer.identityProvider.issuer);
  });

  test("another site can open the choice, and goes on without asking by none of it", async () => {
    const cross = { "sec-fetch-site": "cross-site", accept: "text/html" };
    const { text } = await sendRequest(authorizeUrl(testServer.baseUrl, client), { headers: cross });
    assert.match(text, /href="[^"]*[;&]prompt=consent[^"]*identity_provider=staff"/);
    const own = { ...cross, "sec-fetch-site": "none" };
    assert.doesNotMatch(
      (await sendRequest(authorizeUrl(testServer.baseUrl, client), { headers: own })).text,
      /prompt=/,
    );
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

  describe("a logout token of one", () => {
    const report = (logout_token: string) =>
      sendRequest(`${testServer.baseUrl}/auth/backchannel-logout`, { form: { logout_token } });
    const of = (issuer: string, more = {}) => ({
      ...logoutClaims(issuer, { sub: "alice" }),
      aud: ["proxy", "proxy-partners"],
      ...more,
    });
    const isAlive = async ({ access_token }: Tokens) =>
      (await callTool(testServer.url, access_token, "whoami")).status === 200;
    async function signedIn(provider: string): Promise<Tokens> {
      const { browser, callback } = await arriving(provider);
      return await assertFinishes(browser, callback);
    }

    test("ends nothing of the other, in whose name it is", async () => {
      const atStaff = await signedIn("staff");
      const { identityProvider, partners } = testServer;
      const invalid = { status: 400, error: "invalid_request", reason: "invalid_logout_token" };
      const forged = await signAsPartners(of(identityProvider.issuer));
      // Refused, or to be said again, because staff may have a new key.
      const logout_token = new URLSearchParams({ logout_token: forged });
      const { status } = await fetch(`${testServer.baseUrl}/auth/backchannel-logout`, {
        method: "POST",
        body: logout_token,
      });
      assert.ok(status === 400 || status === 503, String(status));
      assert.ok(await isAlive(atStaff));
      for (const issuer of ["https://nobody.example", `${partners.issuer}/x`, ""])
        await assertRefused(testServer, await report(await signAsPartners(of(issuer))), invalid);
      assert.ok(await isAlive(atStaff));
    });

    test("of the same sub and sid ends its own alone, and its jti is its own", async () => {
      const atStaff = await signedIn("staff");
      const atPartners = await signedIn("partners");
      const grant = await testServer.grantOf(atStaff.access_token);
      const { sid } = grant?.principal.kind === "user" ? grant.principal.claims : {};
      assert.ok(sid);
      const token = await signAsPartners(of(testServer.partners.issuer, { sid, jti: "the-same" }));
      assert.equal((await report(token)).status, 200);
      assert.ok(!(await isAlive(atPartners)));
      assert.ok(await isAlive(atStaff));
      assert.equal(await testServer.records.get(`logout:${sha256("the-same")}`), undefined);
      await assertRefused(testServer, await report(token), {
        status: 400,
        error: "invalid_request",
        reason: "logout_token_replayed",
      });
    });
  });

  test("a provider that changes its issuer signs nobody in, and the other goes on", async () => {
    const another = await startTestServer({
      partners: { users: [ALICE], keys: { partners: "timeoutSeconds: 1" } },
    });
    try {
      const registered = await register(another.baseUrl);
      // The same host and port, another issuer in its document.
      await another.partners.close();
      const changed = await startIdentityProvider({
        port: another.partners.port,
        publicUrl: `http://127.0.0.1:${another.partners.port}/renamed`,
        client: {
          id: "proxy-partners",
          secret: "partners-secret",
          redirectUris: [`${another.baseUrl}/auth/callback/partners`],
        },
        audience: "https://weather.example.com",
        scopes: ["weather:read"],
        users: [ALICE],
      });
      const url = (identity_provider: string) =>
        authorizeUrl(another.baseUrl, registered, { identity_provider });
      const page = await newBrowser().get(url("partners"));
      assert.equal(page.status, 503);
      assert.match(page.body, /Sign in with another identity provider/);
      assert.ok(
        another.log.some(
          ({ reason, cause }) => reason === "discovery_failed" && /issuer/.test(String(cause)),
        ),
      );
      assert.ok((await signIn(newBrowser(), url("staff"))).searchParams.get("code"));
      await changed.close();
    } finally {
      await another.close();
    }
  });
});
