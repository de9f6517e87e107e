/** A real browser clicks, and types, through the sign-in; the pages are photographed and checked for accessibility. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import {
  accessibilityProblems,
  launchChromium,
  openPage,
  photograph,
  SIZES,
  scrollsSideways,
  skipWithoutChromium,
} from "../support/chromium.ts";
import { authorizeUrl, type Registered, redeem, register, toolNames } from "../support/oauth-client.ts";
import { ALICE, BOB, useTestServer } from "../support/test-server.ts";

describe("in a real browser", { skip: skipWithoutChromium() }, () => {
  let browser: Browser;
  let listener: Server;
  let redirectUri: string;
  let client: Registered;
  const testServer = useTestServer({
    environment: {
      CONSENT: "remember",
      SERVER_COLOR: "#7a1fa2",
      ALLOWED_EMAIL_DOMAINS: "example.com",
    },
    users: [ALICE, { ...BOB, email: "bob@other.example" }],
    scopes: {
      "orders:read": { description: "See your orders", whenNeeded: true },
      orders: { description: "Everything about orders", includes: ["orders:read"], whenNeeded: true },
    },
  });
  before(async () => {
    browser = await launchChromium();
    // The client's own page at the end of the way.
    listener = createServer(
      (_req, res) => void res.setHeader("content-type", "text/html").end("<h1>Back at the client</h1>"),
    );
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    redirectUri = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/callback`;
    client = await register(testServer.baseUrl, { client_name: "Claude Code", redirect_uris: [redirectUri] });
  });
  after(async () => {
    await browser.close();
    listener.closeAllConnections();
    listener.close();
  });

  async function openConsent(parameters: Record<string, string> = {}): Promise<Page> {
    return await openPage(
      browser,
      authorizeUrl(testServer.baseUrl, client, { redirect_uri: redirectUri, ...parameters }),
    );
  }

  async function responseAt(page: Page): Promise<URLSearchParams> {
    await page.waitForURL((url) => url.href.startsWith(redirectUri));
    return new URL(page.url()).searchParams;
  }

  test("consent, a scope unticked, login, and back with a code", async () => {
    const page = await openConsent();
    await photograph(page, "consent");
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.setViewportSize(SIZES.phone);
    assert.equal(await scrollsSideways(page), false);

    await page.getByLabel("Read the current weather").uncheck();
    await page.getByRole("button", { name: "Approve" }).click();
    await page.getByRole("button", { name: /^Alice/ }).click();
    const response = await responseAt(page);
    assert.equal(response.get("state"), "the-state");
    assert.equal(response.get("iss"), testServer.baseUrl);
    await photograph(page, "success");
    const tokens = (
      await redeem(testServer.baseUrl, client, response.get("code"), { redirect_uri: redirectUri })
    ).body;
    assert.equal(tokens.scope, "");
    assert.deepEqual(await toolNames(testServer.url, tokens.access_token), ["whoami", "say_hello"]);
  });

  test("by keyboard alone: approve", async () => {
    const page = await openConsent();
    await tabTo(page, "Approve");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: /^Alice/ }).click();
    assert.ok((await responseAt(page)).get("code"));
  });

  test("by keyboard alone: deny", async () => {
    const page = await openConsent();
    await tabTo(page, "Deny");
    await page.keyboard.press("Enter");
    assert.equal((await responseAt(page)).get("error"), "access_denied");
  });

  test("a remembered consent is silent for the user's own navigation, and asked when another site sends the browser", async () => {
    const page = await openConsent();
    await page.getByLabel("Do not ask again on this browser").check();
    await page.getByRole("button", { name: "Approve" }).click();
    await page.getByRole("button", { name: /^Alice/ }).click();
    await responseAt(page);
    const url = authorizeUrl(testServer.baseUrl, client, { redirect_uri: redirectUri, state: "again" });
    const typed = await page.context().newPage();
    await typed.goto(url);
    assert.equal((await responseAt(typed)).get("state"), "again");

    // 127.0.0.1 and localhost are different sites.
    await typed.setContent(`<a href="${url.replaceAll("&", "&amp;")}">free prize</a>`);
    await typed.getByText("free prize").click();
    await typed.getByRole("heading", { name: "Allow access?" }).waitFor();
  });

  test("error pages: an unknown client, an unregistered redirect URI, a foreign browser's form", async () => {
    const page = await openConsent();
    const form = await page.content();
    for (const [name, title, url] of [
      [
        "error-unknown-client",
        "Unknown application",
        authorizeUrl(testServer.baseUrl, { client_id: "nobody" }),
      ],
      [
        "error-redirect-uri",
        "This sign-in would lead to an unknown place",
        authorizeUrl(testServer.baseUrl, client, { redirect_uri: "https://evil.example/" }),
      ],
    ] as const) {
      await page.goto(url);
      await page.getByRole("heading", { name: title }).waitFor();
      await photograph(page, name);
      assert.deepEqual(await accessibilityProblems(page), []);
    }
    const stranger = await (await browser.newContext()).newPage();
    await stranger.goto(testServer.baseUrl);
    await stranger.setContent(form);
    await stranger.getByRole("button", { name: "Approve" }).click();
    await stranger.getByText("opened in another browser").waitFor();
  });

  test("a whole and its part on the consent page", async () => {
    const page = await openConsent({ scope: "orders orders:read weather:read" });
    await page.getByText("with orders:read").waitFor();
    await photograph(page, "consent-whole-and-part");
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.setViewportSize(SIZES.phone);
    assert.equal(await scrollsSideways(page), false);
  });

  test("who is not admitted is told why, how to use another account, and the way back", async () => {
    const page = await openConsent();
    await page.getByRole("button", { name: "Approve" }).click();
    await page.getByRole("button", { name: /^Bob/ }).click();
    await page.getByRole("heading", { name: "This server is not open to you" }).waitFor();
    await page.getByText("bob@other.example").waitFor();
    await photograph(page, "not-admitted");
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.getByRole("link", { name: "Back to your application" }).click();
    assert.equal((await responseAt(page)).get("error"), "access_denied");
  });

  test("a sign-in that the provider refuses, and the page for signing out", async () => {
    const page = await openConsent();
    const upstream = page.waitForRequest((request) =>
      request.url().startsWith(`${testServer.identityProvider.issuer}/auth?`),
    );
    await page.getByRole("button", { name: "Approve" }).click();
    const refusal = new URLSearchParams({
      state: new URL((await upstream).url()).searchParams.get("state") ?? "",
      iss: testServer.identityProvider.issuer,
      error: "unauthorized_client",
      error_description: "The application is not enabled for this connection.",
    });
    await page.goto(`${testServer.baseUrl}/auth/callback?${refusal}`);
    await page.getByRole("heading", { name: "Signing in failed" }).waitFor();
    await page.getByText("not enabled for this connection").waitFor();
    await photograph(page, "sign-in-failed");
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.goto(`${testServer.baseUrl}/logout`);
    await photograph(page, "sign-out");
    assert.deepEqual(await accessibilityProblems(page), []);
  });

  test("no other site can frame the consent page", async () => {
    const page = await (await browser.newContext()).newPage();
    await page.goto(redirectUri);
    const url = authorizeUrl(testServer.baseUrl, client, { redirect_uri: redirectUri });
    await page.setContent(`<iframe src="${url.replaceAll("&", "&amp;")}"></iframe>`);
    await page.waitForTimeout(500);
    const framed = page.frames().find((frame) => frame !== page.mainFrame());
    assert.ok(framed, "there is a frame");
    assert.match(framed.url(), /^chrome-error:/, "and what it asked for was blocked");
  });
});

/** Moves the focus with the Tab key to the button of that name. */
async function tabTo(page: Page, name: string): Promise<void> {
  for (let presses = 0; presses < 20; presses++) {
    await page.keyboard.press("Tab");
    if ((await page.evaluate("document.activeElement.textContent")) === name) return;
  }
  throw new Error(`"${name}" cannot be reached with the Tab key`);
}
