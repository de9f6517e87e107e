/** A sign-in that stops after a valid request: the person sees the reason, and the waiting client gets an error. */
import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { Browser, type Page } from "../../dev/client/browser.ts";
import { findForms } from "../../dev/client/html.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { freePort } from "../support/free-port.ts";
import {
  authorizeUrl,
  newBrowser,
  REDIRECT_URI,
  redeem,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { fillInForms, signIn } from "../support/sign-in.ts";
import { startTestServer, type TestServer, type TestServerOptions } from "../support/test-server.ts";

describe("a sign-in that stops", () => {
  let testServer: TestServer | undefined;
  let proxy: FaultyProxy | undefined;
  afterEach(async () => {
    await testServer?.close();
    await proxy?.close();
    testServer = undefined;
    proxy = undefined;
  });

  async function start(options: TestServerOptions = {}): Promise<TestServer> {
    testServer = await startTestServer(options);
    return testServer;
  }

  /** The browser, held just before our callback. */
  async function atCallback(running: TestServer) {
    const client = await register(running.baseUrl);
    const browser = new Browser({
      stopAt: (url) => url.pathname === "/auth/callback" || url.href.startsWith(REDIRECT_URI),
    });
    const callback = await signIn(browser, authorizeUrl(running.baseUrl, client));
    return { client, browser, callback };
  }

  test("a wrong client secret: the person reads that the operator has to repair it, and the client hears server_error", async () => {
    const running = await start({ environment: { OIDC_CLIENT_SECRET: "not-the-secret-of-this-client" } });
    const { browser, callback } = await atCallback(running);
    const page = await browser.get(callback);
    assert.equal(page.status, 503);
    assert.match(page.body, /Its operator has to repair that/);
    assert.doesNotMatch(page.body, /Try again<\/a>/, "that would not help");
    assertWayBack(page, running, { error: "server_error", says: /operator has to repair/ });
  });

  for (const fault of ["reset", "500"] as const)
    test(`the provider fails at the callback (${fault}): the page can be tried again, and leads back to the client if nobody does`, async () => {
      proxy = await startFaultyProxy();
      const running = await start({ throughProxy: proxy });
      const { client, browser, callback } = await atCallback(running);
      proxy.fault = fault;
      const page = await browser.get(callback);
      assert.equal(page.status, 503);
      assert.ok(Number(page.headers.get("retry-after")) > 0);
      assertWayBack(page, running, { error: "temporarily_unavailable", says: /Try again in a moment/ });
      proxy.fault = undefined;
      assert.match(page.body, /<a href="">Try again/, "the page itself, whatever a proxy made of its URL");
      const finished = await browser.get(page.url);
      const code = finished.redirectedTo?.searchParams.get("code") ?? null;
      assert.equal((await redeem(running.baseUrl, client, code)).status, 200);
    });

  const tryAgainOn = ({ body }: Page) =>
    /<a href="([^"]*)">Try again<\/a>/.exec(body)?.[1]?.replaceAll("&amp;", "&") ?? "";

  test("the provider fails when its code is used up: to try again is to sign in anew, and that works", async () => {
    proxy = await startFaultyProxy();
    const running = await start({ throughProxy: proxy });
    const { client, browser, callback } = await atCallback(running);
    proxy.keysAnswer = { status: 500 };
    const page = await browser.get(callback);
    assert.equal(page.status, 503);
    assertWayBack(page, running, { error: "temporarily_unavailable", says: /Try again in a moment/ });
    proxy.keysAnswer = undefined;
    running.clock.ahead += 20;
    const anew = await fillInForms(browser, tryAgainOn(page));
    const finished = await browser.get(anew.redirectedTo ?? "");
    const code = finished.redirectedTo?.searchParams.get("code") ?? null;
    assert.equal((await redeem(running.baseUrl, client, code)).status, 200);
  });

  test("the same at /connections: the page leads to where it is begun", async () => {
    proxy = await startFaultyProxy();
    const running = await start({ throughProxy: proxy });
    const browser = newBrowser();
    const begun = await browser.submit(await browser.get(`${running.baseUrl}/connections`));
    proxy.keysAnswer = { status: 500 };
    const page = await browser.submit(begun, { login: "alice" });
    assert.equal(page.status, 503);
    assert.equal(tryAgainOn(page), `${running.baseUrl}/connections`);
  });

  test("the provider is down: said before anybody approves, and a client on this computer is told", async () => {
    const running = await start({ issuer: `http://localhost:${await freePort()}` });
    const client = await register(running.baseUrl);
    const page = await newBrowser().get(authorizeUrl(running.baseUrl, client));
    assert.equal(page.status, 503);
    assert.deepEqual(findForms(page.body), [], "nobody is asked for consent");
    assert.match(page.body, /identity provider cannot be reached right now/);
    assertWayBack(page, running, { error: "temporarily_unavailable", says: /cannot be reached/ });
  });

  test("the same for a web client that nobody vouches for: a link, and no browser is sent on by itself (RFC 9700 §4.11.2)", async () => {
    const running = await start({ issuer: `http://localhost:${await freePort()}` });
    const redirect_uri = "https://client.example/callback";
    const client = await register(running.baseUrl, { redirect_uris: [redirect_uri] });
    const page = await newBrowser().get(authorizeUrl(running.baseUrl, client, { redirect_uri }));
    assert.equal(page.status, 503);
    assert.equal(page.headers.get("refresh"), null);
    assert.ok(Number(page.headers.get("retry-after")) > 0);
    assert.match(page.body, /<a href="">Try again<\/a><a/, "what helps in an outage comes first");
    const href = /<a href="([^"]+)">Back to/.exec(page.body)?.[1]?.replaceAll("&amp;", "&") ?? "";
    assert.equal(new URL(href).searchParams.get("error"), "temporarily_unavailable");
  });

  test("somebody to whom this server is not open: the client hears access_denied without a click", async () => {
    const running = await start({ environment: { ALLOWED_EMAIL_DOMAINS: "elsewhere.example" } });
    const { browser, callback } = await atCallback(running);
    const page = await browser.get(callback);
    assert.equal(page.status, 403);
    assert.match(page.body, /This server is not open to you/);
    assertWayBack(page, running, { error: "access_denied", says: /./ });
  });

  test("who begins too many sign-ins is told when to try again, and so is the client", async () => {
    const running = await start({ environment: { SIGN_INS_PER_ADDRESS_PER_HOUR: "1" } });
    await atCallback(running);
    const client = await register(running.baseUrl);
    const browser = newBrowser();
    const consent = await browser.get(authorizeUrl(running.baseUrl, client));
    const refused = await browser.submit(consent, {}, { button: "deny" });
    assert.equal(refused.status, 429);
    assertWayBack(refused, running, { error: "temporarily_unavailable", says: /Try again in \d+ seconds/ });
    const page = await browser.submit(consent, {}, { button: "approve" });
    assert.equal(page.status, 429);
    assertWayBack(page, running, { error: "temporarily_unavailable", says: /Try again in \d+ seconds/ });
    const again = /<a href="([^"]*)">Try again/.exec(page.body)?.[1]?.replaceAll("&amp;", "&") ?? "";
    assert.ok(findForms((await browser.get(again)).body).length > 0, "consent is asked for once more");
  });

  test("what the provider says to the person with access_denied is shown, and the client hears our own sentence", async () => {
    const running = await start();
    for (const code of ["access_denied", "login_required"]) {
      const { browser, callback } = await atCallback(running);
      const secret = "s3cr3t".repeat(8);
      callback.searchParams.delete("code");
      callback.searchParams.set("error", code);
      callback.searchParams.set(
        "error_description",
        `Please verify your <b>email</b> ${secret} ${"x ".repeat(900)}`,
      );
      const page = await browser.get(callback);
      assert.equal(page.status, 403);
      assert.match(page.body, /The identity provider said:.*Please verify your &lt;b&gt;email/s);
      assert.ok(!page.body.includes(secret), "what could be a token is redacted");
      assert.ok(
        page.body.length < 12_000 && !page.body.includes("x ".repeat(300)),
        "and the text is bounded",
      );
      assertWayBack(page, running, {
        error: "access_denied",
        says: /^The identity provider did not sign the user in\.$/,
      });
    }
  });

  test("a provider that says nothing with access_denied, or nothing to be seen, sends the user on at once", async () => {
    const running = await start();
    for (const description of ["", " ", "\u200b\u202e"]) {
      const { browser, callback } = await atCallback(running);
      callback.searchParams.delete("code");
      callback.searchParams.set("error", "access_denied");
      callback.searchParams.set("error_description", description);
      const answer = await browser.get(callback);
      assert.equal(answer.redirectedTo?.searchParams.get("error"), "access_denied");
    }
  });

  test("what the provider says is shown without characters that hide or reorder what a person reads", async () => {
    const running = await start();
    const { browser, callback } = await atCallback(running);
    callback.searchParams.delete("code");
    callback.searchParams.set("error", "access_denied");
    callback.searchParams.set("error_description", "Please verify \u202eyour\u0000\r\n e-mail\u200b address");
    const page = await browser.get(callback);
    assert.match(page.body, / Please verify your e-mail address</);
  });

  test("an error code out of all measure is not shown at its length", async () => {
    const running = await start();
    const { browser, callback } = await atCallback(running);
    callback.searchParams.delete("code");
    callback.searchParams.set("error", "x".repeat(3_000));
    const page = await browser.get(callback);
    assert.equal(page.status, 400);
    assert.match(page.body, /<code>x{64}<\/code>/);
    assert.doesNotMatch(page.body, /x{65}/);
  });

  test("an answer that our own check refuses is not said to be the provider's words", async () => {
    const running = await start();
    const { browser, callback } = await atCallback(running);
    callback.searchParams.set("iss", "https://evil.example");
    const page = await browser.get(callback);
    assert.equal(page.status, 400);
    assert.match(
      page.body,
      /This server did not accept the identity provider(?:'|&#39;)s answer: it does not belong to this sign-in/,
    );
    assert.doesNotMatch(page.body, /provider said/);
    assertWayBack(page, running, { error: "server_error", says: /log says why/ });
    assert.match(JSON.stringify(running.log), /answer was not accepted here: invalid_response/);
  });

  test("and the provider's own words are not said to be our check, although the code is the same", async () => {
    const running = await start();
    const { browser, callback } = await atCallback(running);
    callback.searchParams.delete("code");
    callback.searchParams.set("error", "invalid_response");
    const page = await browser.get(callback);
    assert.match(page.body, /The identity provider said:/);
    assert.doesNotMatch(page.body, /did not accept/);
  });

  test("what was approved and the provider did not give is in the log, and not in the token's scope", async () => {
    const running = await start();
    const client = await register(running.baseUrl);
    const given = async (login: string) =>
      (await signInForTokens(running.baseUrl, client, { login, parameters: { scope: "weather:read" } }))
        .scope;
    const lines = () => running.log.filter(({ reason }) => reason === "scopes_not_given");
    assert.match(await given("alice"), /weather:read/);
    assert.deepEqual(lines(), []);
    assert.doesNotMatch((await given("bob")) ?? "", /weather:read/);
    const [line, ...others] = lines();
    assert.deepEqual([line?.subject, line?.scopes, others], ["bob", ["weather:read"], []]);
  });

  test("/connections says it in the same words", async () => {
    const running = await start();
    const browser = new Browser({ stopAt: (url) => url.pathname === "/auth/callback" });
    const entrance = await browser.get(`${running.baseUrl}/connections`);
    const begun = await browser.submit(entrance);
    const arrived = begun.redirectedTo ? begun : await browser.submit(begun, { login: "alice" });
    const callback = arrived.redirectedTo;
    assert.ok(callback);
    callback.searchParams.set("iss", "https://evil.example");
    const page = await browser.get(callback);
    assert.match(page.body, /This server did not accept the identity provider(?:'|&#39;)s answer/);
    assert.equal(page.headers.get("refresh"), null, "no client waits for it");
  });
});

/** By itself after a while, and by a link, with the client's state and our issuer (RFC 6749 §4.1.2.1, RFC 9207). */
function assertWayBack(page: Page, { baseUrl }: TestServer, expected: { error: string; says: RegExp }): void {
  const [, seconds, url] = /^(\d+); url=(.+)$/.exec(page.headers.get("refresh") ?? "") ?? [];
  assert.ok(url?.startsWith(REDIRECT_URI), `leads to ${url}: ${page.body.slice(0, 2000)}`);
  assert.ok(Number(seconds) >= 10, "there is time to read it");
  assert.match(page.body, new RegExp(`In ${seconds} seconds`));
  const href = /<a href="([^"]+)">Back to your application/.exec(page.body)?.[1];
  assert.equal(href?.replaceAll("&amp;", "&"), url);
  const answer = new URL(url ?? "").searchParams;
  assert.equal(answer.get("error"), expected.error);
  assert.match(answer.get("error_description") ?? "", expected.says);
  assert.equal(answer.get("state"), "the-state");
  assert.equal(answer.get("iss"), baseUrl);
  assert.equal(answer.get("code"), null);
}
