/** What the user is asked, what they may leave out, and when they are not asked at all. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { findLink } from "../../dev/client/html.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  REDIRECT_URI,
  redeem,
  register,
  toolNames,
} from "../support/oauth-client.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

/** Sign in at the provider if asked, and come back to the client. */
async function finish(
  page: Awaited<ReturnType<ReturnType<typeof newBrowser>["get"]>>,
  browser: ReturnType<typeof newBrowser>,
) {
  const last = page.redirectedTo ? page : await browser.submit(page, { login: "alice" });
  return last.redirectedTo?.searchParams ?? new URLSearchParams();
}

describe("the consent page", () => {
  const testServer = useTestServer({
    scopes: {
      "weather:write": "Change the weather",
      "weather:base": { description: "Look outside", required: true },
    },
  });

  test("says who asks, where the answer goes, what is allowed, and who signs in", async () => {
    const client = await register(testServer.baseUrl, { client_name: "Tom & <Jerry>" });
    const { body, headers } = await newBrowser().get(authorizeUrl(testServer.baseUrl, client));
    assert.match(body, /Tom &amp; &lt;Jerry&gt;/);
    assert.match(body, /nobody verified it/);
    assert.match(body, /http:\/\/127\.0\.0\.1:33418/);
    assert.match(body, /your own computer/);
    assert.match(body, /Read the current weather/);
    assert.match(
      body,
      new RegExp(`You sign in at <strong>${new URL(testServer.identityProvider.issuer).host}`),
    );
    assert.doesNotMatch(body, /<script/);
    assert.match(headers.get("content-security-policy") ?? "", /default-src 'none'.*frame-ancestors 'none'/);
    assert.equal(headers.get("cache-control"), "no-store");
  });

  test("what is unticked is not granted; what is required is", async () => {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    const page = await browser.get(authorizeUrl(testServer.baseUrl, client));
    const untick = page.body.replace('value="weather:read" checked', 'value="weather:read"');
    assert.notEqual(untick, page.body);
    const response = await finish(
      await browser.submit({ ...page, body: untick }, {}, { button: "approve" }),
      browser,
    );
    const tokens = (await redeem(testServer.baseUrl, client, response.get("code"))).body;
    assert.equal(tokens.scope.includes("weather:read"), false);
    assert.deepEqual(await toolNames(testServer.url, tokens.access_token), ["whoami", "say_hello"]);
    assert.equal(
      (await callTool(testServer.url, tokens.access_token, "current_weather", { city: "Berlin" })).status,
      403,
    );
    const consent = testServer.log.findLast(({ audit }) => audit === "consent");
    assert.deepEqual(consent?.scopes, ["weather:write", "weather:base"]);
  });

  test("a scope that was not asked for cannot be ticked in", async () => {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    const page = await browser.get(authorizeUrl(testServer.baseUrl, client, { scope: "weather:write" }));
    await browser.submit(page, { scope: "weather:read" }, { button: "approve" });
    const consent = testServer.log.findLast(({ audit }) => audit === "consent");
    assert.doesNotMatch(String(consent?.scopes), /weather:read/);
  });

  test("two tabs, a page rendered twice, 200 abandoned flows: all work, with one small cookie", async () => {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    for (let i = 0; i < 200; i++)
      await browser.get(authorizeUrl(testServer.baseUrl, client, { state: `abandoned-${i}` }));
    assert.match(browser.cookieHeader(testServer.baseUrl), /^mcp-browser=[A-Za-z0-9_-]{43}$/);
    const first = await browser.get(authorizeUrl(testServer.baseUrl, client, { state: "first" }));
    const second = await browser.get(authorizeUrl(testServer.baseUrl, client, { state: "second" }));
    const again = await browser.get(authorizeUrl(testServer.baseUrl, client, { state: "second" }));
    assert.notEqual(again.body, second.body);
    for (const [page, state] of [
      [second, "second"],
      [first, "first"],
    ] as const) {
      const response = await finish(await browser.submit(page, {}, { button: "approve" }), browser);
      assert.equal(response.get("state"), state);
      assert.match(browser.cookieHeader(testServer.baseUrl), /^mcp-browser=[A-Za-z0-9_-]{43}(; |$)/);
      assert.equal((await redeem(testServer.baseUrl, client, response.get("code"))).status, 200);
    }
  });

  test("two tabs that a browser without a cookie opens at once: who is refused in the first begins it anew there", async () => {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    const open = (state: string) => browser.get(authorizeUrl(testServer.baseUrl, client, { state }));
    // Each answer sets a cookie, and the browser keeps the one that comes last.
    const pages = await Promise.all([open("one"), open("other")]);
    const answers = await Promise.all(pages.map((page) => browser.submit(page, {}, { button: "approve" })));
    const refused = answers.filter(({ status }) => status === 403);
    assert.equal(refused.length, 1);
    const anew = await browser.get(findLink(refused[0]?.body ?? "", "Start the sign-in again") ?? "");
    const response = await finish(await browser.submit(anew, {}, { button: "approve" }), browser);
    assert.ok(["one", "other"].includes(response.get("state") ?? ""));
    assert.equal((await redeem(testServer.baseUrl, client, response.get("code"))).status, 200);
  });
});

describe("consent that is remembered", () => {
  const testServer = useTestServer({
    environment: { CONSENT: "remember" },
    scopes: { "weather:write": "Change the weather" },
  });

  async function approvedBrowser(client: { client_id: string }) {
    const browser = newBrowser();
    const page = await browser.get(authorizeUrl(testServer.baseUrl, client));
    await finish(await browser.submit(page, { remember: "yes" }, { button: "approve" }), browser);
    return browser;
  }

  test("an unchanged request goes straight through", async () => {
    const client = await register(testServer.baseUrl);
    const browser = await approvedBrowser(client);
    const page = await browser.get(authorizeUrl(testServer.baseUrl, client));
    assert.ok(page.redirectedTo?.searchParams.get("code"), "no page in between");
  });

  test("not unless it was ticked", async () => {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    const page = await browser.get(authorizeUrl(testServer.baseUrl, client));
    await finish(await browser.submit(page, {}, { button: "approve" }), browser);
    assert.match((await browser.get(authorizeUrl(testServer.baseUrl, client))).body, /Allow access/);
  });

  test("anything that differs is asked again: scopes, redirect URI, client, prompt, browser", async () => {
    const other = "https://client.example/callback";
    const client = await register(testServer.baseUrl, { redirect_uris: [REDIRECT_URI, other] });
    const browser = await approvedBrowser(client);
    const stranger = await register(testServer.baseUrl);
    for (const [who, parameters] of [
      [client, { scope: "weather:write" }],
      [client, { redirect_uri: other }],
      [client, { prompt: "consent" }],
      [stranger, {}],
    ] as const)
      assert.match(
        (await browser.get(authorizeUrl(testServer.baseUrl, who, parameters))).body,
        /Allow access/,
      );
    assert.match((await newBrowser().get(authorizeUrl(testServer.baseUrl, client))).body, /Allow access/);
  });

  test("another site's navigation is asked, and so is a browser that does not say where it comes from", async () => {
    const client = await register(testServer.baseUrl);
    const browser = await approvedBrowser(client);
    const cookie = browser.cookieHeader(testServer.baseUrl);
    for (const site of ["cross-site", undefined]) {
      const response = await fetch(authorizeUrl(testServer.baseUrl, client), {
        headers: { cookie, ...(site !== undefined && { "sec-fetch-site": site }) },
        redirect: "manual",
      });
      assert.equal(response.status, 200);
      assert.match(await response.text(), /Allow access/);
    }
  });
});

describe("no consent, in a closed deployment", () => {
  test("only clients of the configuration, and they go straight through", async () => {
    const testServer = await startTestServer({
      environment: {
        CONSENT: "never",
        REGISTRATION: "off",
        CLIENT_ID_METADATA: "off",
        CLIENTS: JSON.stringify([
          { client_id: "internal", client_name: "Internal", redirect_uris: [REDIRECT_URI], scope: "" },
        ]),
      },
    });
    try {
      await assert.rejects(register(testServer.baseUrl), /access_denied/);
      const browser = newBrowser();
      const login = await browser.get(authorizeUrl(testServer.baseUrl, { client_id: "internal" }));
      const response = await finish(login, browser);
      const client = { client_id: "internal", redirect_uris: [] };
      const tokens = (await redeem(testServer.baseUrl, client, response.get("code"))).body;
      assert.equal(tokens.scope, "", "its own scope restricts it");
    } finally {
      await testServer.close();
    }
  });
});
