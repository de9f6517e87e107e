/** Signing out at the identity provider ends the grants of that login session; forged logout tokens end nothing. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import type { Browser } from "../../dev/client/browser.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { eventually } from "../support/eventually.ts";
import {
  authorizeUrl,
  callTool,
  getJson,
  newBrowser,
  postForm,
  type Registered,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

describe("logout", () => {
  let client: Registered;
  /** Stands between the provider and the server, and keeps what passes. */
  let relay: Server;
  const logoutTokens: string[] = [];
  const testServer = useTestServer(async () => {
    relay = createServer(async (req, res) => {
      const token = new URLSearchParams(await text(req)).get("logout_token") ?? "";
      const answer = await report(token);
      logoutTokens.push(token);
      res.writeHead(answer.status).end();
    });
    await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
    return {
      backchannelLogoutUri: `http://127.0.0.1:${(relay.address() as AddressInfo).port}/logout`,
      environment: { CONSENT: "remember" },
    };
  });
  before(async () => {
    client = await register(testServer.baseUrl);
  });
  after(() => relay.close());

  function report(logout_token: string) {
    return postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token });
  }

  async function signOutAtProvider(browser: Browser): Promise<void> {
    const { end_session_endpoint } = await getJson(
      `${testServer.identityProvider.issuer}/.well-known/openid-configuration`,
    );
    const page = await browser.get(end_session_endpoint);
    await browser.submit(page, { logout: "yes" });
    await eventually("the provider reports it", () => logoutTokens.length > 0);
  }

  async function isAlive(accessToken: string): Promise<boolean> {
    return (await callTool(testServer.url, accessToken, "whoami")).status === 200;
  }

  test("ends the grants of that login session, and of no other", async () => {
    logoutTokens.length = 0;
    const browser = newBrowser();
    const first = await signInForTokens(testServer.baseUrl, client, { browser });
    const second = await signInForTokens(testServer.baseUrl, client, { browser });
    const elsewhere = await signInForTokens(testServer.baseUrl, client);
    await signOutAtProvider(browser);
    assert.equal(await isAlive(first.access_token), false);
    assert.equal(await isAlive(second.access_token), false);
    assert.equal(
      (await refresh(testServer.baseUrl, client, first.refresh_token)).body.error,
      "invalid_grant",
    );
    assert.equal(await isAlive(elsewhere.access_token), true);
    assert.ok(testServer.log.some(({ reason }) => reason === "backchannel_logout"));

    const replayed = await report(logoutTokens[0] ?? "");
    assert.equal(replayed.status, 400);
    assert.ok(testServer.log.some(({ reason }) => reason === "logout_token_replayed"));
  });

  test("a report that met an outage of the store may come again", async () => {
    logoutTokens.length = 0;
    const browser = newBrowser();
    const tokens = await signInForTokens(testServer.baseUrl, client, { browser });
    const remove = testServer.records.deleteIf;
    testServer.records.deleteIf = async (key, expected) => {
      if (key.startsWith("grant:")) throw new UnavailableError("storage", { reason: "redis_unavailable" });
      return remove(key, expected);
    };
    await signOutAtProvider(browser); // the provider's first report
    assert.equal(await isAlive(tokens.access_token), true);
    testServer.records.deleteIf = remove;
    assert.equal((await report(logoutTokens[0] ?? "")).status, 200);
    assert.equal(await isAlive(tokens.access_token), false);
  });

  test("a forged report ends nothing", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const { privateKey } = await generateKeyPair("RS256");
    const claims = {
      jti: "forged",
      sub: "alice",
      events: { "http://schemas.openid.net/event/backchannel-logout": {} },
    };
    const signed = (more: object = {}, alg = "RS256", key: Parameters<SignJWT["sign"]>[0] = privateKey) =>
      new SignJWT({ ...claims, ...more })
        .setProtectedHeader({ alg, typ: "logout+jwt" })
        .setIssuer(testServer.identityProvider.issuer)
        .setAudience("proxy")
        .setIssuedAt()
        .setExpirationTime("2m")
        .sign(key);
    const forgeries = [
      await signed(),
      await signed({}, "HS256", new TextEncoder().encode("proxy-secret".padEnd(32, "x"))),
      new UnsecuredJWT(claims)
        .setIssuer(testServer.identityProvider.issuer)
        .setAudience("proxy")
        .setIssuedAt()
        .encode(),
      "not a token",
      "a.b.c",
    ];
    for (const forgery of forgeries) {
      const answer = await report(forgery);
      assert.equal(answer.status, 400);
      assert.equal(answer.body.error, "invalid_request");
    }
    assert.equal((await postForm(`${testServer.baseUrl}/auth/backchannel-logout`, {})).status, 400);
    assert.equal(await isAlive(tokens.access_token), true);
  });

  test("/logout asks, then makes this browser forget, and goes on to the provider", async () => {
    const browser = newBrowser();
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
    const login = await browser.submit(consent, { remember: "yes" }, { button: "approve" });
    await browser.submit(login, { login: "alice" });
    assert.ok((await browser.get(authorizeUrl(testServer.baseUrl, client))).redirectedTo, "remembered");

    const question = await browser.get(`${testServer.baseUrl}/logout`);
    assert.match(question.body, /Sign out\?/);
    assert.ok(
      (await browser.get(authorizeUrl(testServer.baseUrl, client))).redirectedTo,
      "asking alone changes nothing",
    );
    const away = await browser.submit(question, {}, { button: "Sign out" });
    assert.equal(away.url.origin, new URL(testServer.identityProvider.issuer).origin);
    assert.match((await browser.get(authorizeUrl(testServer.baseUrl, client))).body, /Allow access/);
  });

  test("POST /logout from another site signs nobody out, and breaks no sign-in that is under way", async () => {
    const browser = newBrowser();
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
    const login = await browser.submit(consent, { remember: "yes" }, { button: "approve" });
    const senders: Array<Record<string, string>> = [
      { origin: "https://evil.example", "sec-fetch-site": "cross-site" },
      { origin: "null", "sec-fetch-site": "cross-site" }, // a sandboxed frame
      { origin: "https://evil.example" },
      { "sec-fetch-site": "same-site" }, // another host of the same domain
      {},
    ];
    for (const headers of senders) {
      const answer = await fetch(`${testServer.baseUrl}/logout`, {
        method: "POST",
        redirect: "manual",
        headers: { ...headers, accept: "text/html", cookie: browser.cookieHeader(testServer.baseUrl) },
      });
      assert.equal(answer.status, 403);
      assert.deepEqual(answer.headers.getSetCookie(), []);
      assert.match(await answer.text(), /Open that page in this browser, and press the button there/);
    }
    assert.ok(testServer.log.some(({ reason, path }) => reason === "cross_site_form" && path === "/logout"));
    const finished = await browser.submit(login, { login: "alice" });
    assert.ok(finished.redirectedTo?.searchParams.get("code"));
    assert.ok((await browser.get(authorizeUrl(testServer.baseUrl, client))).redirectedTo, "still remembered");
  });
});
