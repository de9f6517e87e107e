/** Bad input at /auth/callback: only the browser that consented finishes the login, once, in time. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Browser, type Page } from "../../dev/client/browser.ts";
import { held } from "../support/held.ts";
import {
  authorizeUrl,
  callTool,
  REDIRECT_URI,
  type Registered,
  redeem,
  register,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { useTestServer } from "../support/test-server.ts";
import {
  assertLoginFailed,
  assertPage,
  assertRefused,
  assertRefusedPage,
  assertRefusedRedirect,
  PERSON,
  PROGRAM,
  type Reply,
  reasonOf,
  Secrets,
  sendRequest,
} from "./support.ts";

/** A browser on its way back from the identity provider, held just before our callback. */
interface Arriving {
  browser: Browser;
  callback: URL;
}

describe("bad input at /auth/callback", () => {
  const secrets = new Secrets();
  let client: Registered;
  const testServer = useTestServer();
  before(async () => {
    client = await register(testServer.baseUrl);
  });

  async function arriving(): Promise<Arriving> {
    const browser = new Browser({
      stopAt: (url) => url.pathname === "/auth/callback" || url.href.startsWith(REDIRECT_URI),
    });
    const callback = await signIn(browser, authorizeUrl(testServer.baseUrl, client));
    assert.equal(callback.pathname, "/auth/callback");
    secrets.keep(callback.searchParams.get("state"));
    secrets.keep(callback.searchParams.get("code"));
    return { browser, callback };
  }

  /** The rightful browser goes on to the client and gets a code that works: nothing was lost. */
  async function assertFinishes({ browser, callback }: Arriving): Promise<void> {
    const page = await browser.get(callback);
    const answer = page.redirectedTo?.searchParams;
    assert.equal(answer?.get("state"), "the-state", page.body.slice(0, 300));
    assert.equal(answer.get("iss"), testServer.baseUrl);
    const tokens = await redeem(testServer.baseUrl, client, secrets.keep(answer.get("code")));
    assert.equal(tokens.status, 200);
    secrets.keepTokens(tokens.body);
    assert.equal((await callTool(testServer.url, tokens.body.access_token, "whoami")).status, 200);
  }

  /** What the rightful browser was answered, in the form in which refusals are judged. */
  const asReply = ({ status, headers, body, redirectedTo }: Page): Reply => ({
    status,
    headers,
    text: body,
    json: undefined,
    location: redirectedTo,
  });

  function changed(callback: URL, change: (parameters: URLSearchParams) => void): URL {
    const url = new URL(callback);
    change(url.searchParams);
    return url;
  }

  const notUnderWay = {
    status: 400,
    error: "invalid_request",
    reason: "unknown_state",
    describes: /Start it again in your application/,
  };

  test("an unknown, empty or missing state: a page for a person, JSON for a program", async () => {
    for (const query of ["?state=unknown&code=x", "?state=&code=x", "?code=x", "", "?error=access_denied"]) {
      const url = `${testServer.baseUrl}/auth/callback${query}`;
      await assertRefusedPage(testServer, await sendRequest(url, { headers: PERSON }), notUnderWay);
      await assertRefused(testServer, await sendRequest(url, { headers: PROGRAM }), notUnderWay);
    }
  });

  test("repeated and oversized parameters are refused before anything is used up", async () => {
    const flow = await arriving();
    const attempts: Array<[URL, string]> = [
      [changed(flow.callback, (query) => query.append("state", "other")), "repeated_parameter"],
      [changed(flow.callback, (query) => query.append("code", "other")), "repeated_parameter"],
      [changed(flow.callback, (query) => query.append("iss", "https://evil.example")), "repeated_parameter"],
      [changed(flow.callback, (query) => query.set("code", "x".repeat(5000))), "invalid_parameter"],
      [changed(flow.callback, (query) => query.set("state", "x".repeat(5000))), "invalid_parameter"],
    ];
    for (const [url, reason] of attempts)
      await assertRefusedPage(testServer, asReply(await flow.browser.get(url)), {
        status: 400,
        error: "invalid_request",
        reason,
      });
    await assertFinishes(flow);
  });

  test("a stranger who has the whole callback URL gets nothing and takes nothing (invariant 1)", async () => {
    const flow = await arriving();
    const stranger = await arriving();
    const refusal = {
      status: 403,
      error: "access_denied",
      reason: "another_browser",
      describes: /started in another browser, or this browser refuses cookies. Start it again here/,
    };
    await assertRefusedPage(testServer, await sendRequest(flow.callback, { headers: PERSON }), refusal);
    await assertRefused(testServer, await sendRequest(flow.callback, { headers: PROGRAM }), refusal);
    await assertRefusedPage(testServer, asReply(await stranger.browser.get(flow.callback)), refusal);
    await assertFinishes(flow);
    await assertFinishes(stranger);
  });

  test("the attacker consents, the victim follows the upstream link: refused in the victim's browser", async () => {
    const attacker = new Browser({
      stopAt: (url) => url.href.startsWith(testServer.identityProvider.issuer),
    });
    const consent = await attacker.get(authorizeUrl(testServer.baseUrl, client));
    const upstream = (await attacker.submit(consent, {}, { button: "approve" })).redirectedTo;
    assert.ok(upstream);
    const victim = new Browser({ stopAt: (url) => url.href.startsWith(REDIRECT_URI) });
    const login = await victim.get(upstream);
    const end = await victim.submit(login, { login: "alice" });
    assert.equal(end.url.pathname, "/auth/callback");
    assert.equal(end.status, 403);
    assert.equal(end.redirectedTo, undefined);
    assert.equal(await reasonOf(testServer, asReply(end)), "another_browser");
  });

  test("the callback loaded twice: the second time says it is finished, the first code stays good", async () => {
    const flow = await arriving();
    const first = await flow.browser.get(flow.callback);
    const code = secrets.keep(first.redirectedTo?.searchParams.get("code") ?? "");
    assert.ok(code);
    await assertRefusedPage(testServer, asReply(await flow.browser.get(flow.callback)), notUnderWay);
    assert.equal(
      secrets.keepTokens((await redeem(testServer.baseUrl, client, code)).body).token_type,
      "Bearer",
    );
  });

  test("two callbacks with one state at the same moment: one wins (invariant 2)", async () => {
    const flow = await arriving();
    const { get } = testServer.records;
    const allRead = held();
    let reads = 0;
    testServer.records.get = async (key) => {
      const found = await get(key);
      if (!key.startsWith("login:")) return found;
      if (++reads === 4) allRead.letGo();
      await allRead.wait();
      return found;
    };
    const pages = await Promise.all([1, 2, 3, 4].map(() => flow.browser.get(flow.callback))).finally(() => {
      testServer.records.get = get;
    });
    const codes = pages.map((page) => page.redirectedTo?.searchParams.get("code")).filter((code) => code);
    assert.equal(codes.length, 1);
    // Not for the provider's sake, which takes its code once as well: none of the others got so far.
    for (const page of pages.filter(({ status }) => status !== 302))
      await assertRefusedPage(testServer, asReply(page), notUnderWay);
    assert.equal(pages.filter(({ status }) => status === 302).length, 1);
  });

  test("a login that took longer than its time has to be started again", async () => {
    const flow = await arriving();
    try {
      testServer.clock.ahead = 601;
      await assertRefusedPage(testServer, asReply(await flow.browser.get(flow.callback)), notUnderWay);
    } finally {
      testServer.clock.ahead = 0;
    }
    await assertFinishes(flow);
  });

  const upstreamErrors: Array<[string, string]> = [
    ["access_denied", "access_denied"],
    ["login_required", "access_denied"],
    ["interaction_required", "access_denied"],
  ];
  for (const [upstream, ours] of upstreamErrors)
    test(`the identity provider says ${upstream} and no more: the client hears ${ours}, state and iss`, async () => {
      const { browser, callback } = await arriving();
      const url = changed(callback, (query) => {
        query.delete("code");
        query.set("error", upstream);
      });
      await assertRefusedRedirect(testServer, asReply(await browser.get(url)), {
        status: 302,
        to: `${REDIRECT_URI}?`,
        error: ours,
        reason: "upstream_refused",
        describes: /identity provider/,
      });
    });

  const faults: Array<[string, string, number]> = [
    ["access_denied", "access_denied", 403],
    ["login_required", "access_denied", 403],
    ["temporarily_unavailable", "temporarily_unavailable", 503],
    ["server_error", "server_error", 400],
    ["invalid_scope", "server_error", 400],
    ["nonsense", "server_error", 400],
    // JavaScript's innards are no errors that anybody knows.
    ["constructor", "server_error", 400],
    ["__proto__", "server_error", 400],
  ];
  for (const [upstream, error, status] of faults)
    test(`the identity provider says ${upstream}: the person sees it, escaped, and may go back with ${error}`, async () => {
      const { browser, callback } = await arriving();
      const url = changed(callback, (query) => {
        query.delete("code");
        query.set("error", upstream);
        query.set("error_description", "<script>internal tenant detail</script>");
      });
      const reply = asReply(await browser.get(url));
      await assertLoginFailed(testServer, reply, { status, error, upstream });
      assert.match(reply.text, /&lt;script&gt;internal tenant detail/);
    });

  test("a program that meets a failed login gets JSON without upstream text", async () => {
    const { browser, callback } = await arriving();
    const cookie = browser.cookieHeader(callback);
    const url = changed(callback, (query) => {
      query.delete("code");
      query.set("error", "nonsense");
      query.set("error_description", "internal tenant detail");
    });
    const reply = await sendRequest(url, { headers: { ...PROGRAM, cookie } });
    assert.equal(reply.json.error, "server_error");
    assert.doesNotMatch(reply.text, /tenant/);
  });

  const wrong: Array<[string, (query: URLSearchParams) => void]> = [
    ["the iss of another provider (mix-up, RFC 9207)", (query) => query.set("iss", "https://evil.example")],
    ["no iss, though the provider announces that it sends one", (query) => query.delete("iss")],
    ["no code", (query) => query.delete("code")],
    ["a code that the provider never issued", (query) => query.set("code", "invented")],
  ];
  for (const [name, change] of wrong)
    test(`${name}: no code of ours, an error with state and iss`, async () => {
      const { browser, callback } = await arriving();
      const reply = asReply(await browser.get(changed(callback, change)));
      const upstream = "(invalid_response|invalid_grant)";
      await assertLoginFailed(testServer, reply, { status: 400, error: "server_error", upstream });
    });

  test("one user's upstream code in another user's login does not fit (nonce and PKCE)", async () => {
    const victim = await arriving();
    const attacker = await arriving();
    const mixed = changed(victim.callback, (query) =>
      query.set("code", attacker.callback.searchParams.get("code") ?? ""),
    );
    const reply = asReply(await victim.browser.get(mixed));
    await assertLoginFailed(testServer, reply, {
      status: 400,
      error: "server_error",
      upstream: "invalid_grant",
    });
  });

  test("every other method is refused, and uses nothing up", async () => {
    const flow = await arriving();
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      const reply = await sendRequest(flow.callback, { method, headers: PERSON });
      assert.equal(reply.status, 405);
      assert.equal(reply.headers.get("allow"), "GET");
      assert.equal(await reasonOf(testServer, reply), "wrong_method");
      assertPage(reply);
    }
    await assertFinishes(flow);
  });

  test("a HEAD, which asks for nothing to happen, does not use the login up", async () => {
    const browser = new Browser({ stopAt: (url) => url.pathname === "/auth/callback" });
    const page = await sendRequest(authorizeUrl(testServer.baseUrl, client));
    const cookie = page.headers.getSetCookie()[0]?.split(";")[0] ?? "";
    const request = /name="request" value="([^"]+)"/.exec(page.text)?.[1] ?? "";
    const approved = await sendRequest(`${testServer.baseUrl}/consent`, {
      form: { request, decision: "approve" },
      headers: { cookie },
    });
    const callback = await signIn(browser, approved.location ?? "");
    await sendRequest(callback, { method: "HEAD", headers: { cookie } });
    const reply = await sendRequest(callback, { headers: { cookie } });
    assert.ok(secrets.keep(reply.location?.searchParams.get("code") ?? null));
  });

  test("no secret is in the log", () => secrets.assertNotLogged(testServer));
});
