/** A real browser at /connections: signs in by way of another site, looks, ends; by mouse and by keyboard; photographed. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import {
  accessibilityProblems,
  launchChromium,
  photograph,
  SIZES,
  scrollsSideways,
  skipWithoutChromium,
} from "../support/chromium.ts";
import { authorize, callTool, newBrowser, redeem, register } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

describe("/connections in a real browser", { skip: skipWithoutChromium() }, () => {
  let browser: Browser;
  const testServer = useTestServer({
    providerIsAnotherSite: true,
    environment: { SERVER_COLOR: "#7a1fa2", SERVER_NAME: "Weather" },
    scopes: {
      "orders:read": { description: "See your orders", whenNeeded: true },
      "orders:write": {
        description: "Place orders in your name and change those that are under way",
        whenNeeded: true,
      },
    },
    apiScopes: ["orders:read", "orders:write"],
    users: [
      {
        subject: "alice",
        name: "Alice Example",
        email: "alice@example.com",
        permissions: ["weather:read", "orders:read", "orders:write"],
      },
      { subject: "bob", name: "Bob", email: "bob@example.com", permissions: [] },
      { subject: "dora", name: "Dora", email: "dora@example.com", permissions: ["weather:read"] },
      { subject: "carol", name: "Carol", email: "carol@example.com", permissions: ["weather:read"] },
    ],
  });
  before(async () => {
    browser = await launchChromium();
  });
  after(() => browser.close());

  /** Nothing on a page may be blocked by its own policy. */
  async function newPage(context?: BrowserContext): Promise<Page> {
    const page = await (context ?? (await browser.newContext({ viewport: SIZES.desktop }))).newPage();
    page.on("console", (message) => {
      if (message.type() === "error" && message.text().includes("Security Policy"))
        throw new Error(message.text());
    });
    return page;
  }

  async function signIn(page: Page, name: RegExp): Promise<void> {
    await page.goto(`${testServer.baseUrl}/connections`);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await page.getByRole("button", { name }).click();
    await page.getByText("Signed in as").waitFor();
  }

  /** Looked at by people, and by the rules of accessibility. */
  async function judge(page: Page, name: string): Promise<void> {
    await photograph(page, name);
    assert.deepEqual(await accessibilityProblems(page), [], name);
    await page.setViewportSize(SIZES.phone);
    assert.equal(await scrollsSideways(page), false, name);
    await page.setViewportSize(SIZES.desktop);
    await page.emulateMedia({ colorScheme: "light" });
  }

  async function connect(
    client_name: string | undefined,
    login: string,
    redirectUri = "http://127.0.0.1:33418/callback",
    scope = "weather:read",
  ): Promise<string> {
    const client = await register(testServer.baseUrl, { client_name, redirect_uris: [redirectUri] });
    const parameters = { redirect_uri: redirectUri, scope };
    const answer = await authorize(testServer.baseUrl, client, {
      login,
      parameters,
      browser: newBrowser(redirectUri),
    });
    const tokens = await redeem(testServer.baseUrl, client, answer.get("code"), {
      redirect_uri: redirectUri,
    });
    assert.equal(tokens.status, 200);
    return tokens.body.access_token;
  }

  test("nobody signed in, nothing connected", async () => {
    const page = await newPage();
    await page.goto(`${testServer.baseUrl}/connections`);
    await judge(page, "connections-signed-out");
    await signIn(page, /^Bob/);
    await page.getByText("No application may use Weather in your name").waitFor();
    await photograph(page, "connections-none");
  });

  test("one connection, ended: the client's token is dead, the page says so once", async () => {
    const token = await connect("Claude Code", "carol");
    const page = await newPage();
    await signIn(page, /^Carol/);
    await photograph(page, "connections-one");
    await page.getByText("End access of Claude Code").click();
    await judge(page, "connections-asked");
    assert.equal(
      (await callTool(testServer.url, token, "whoami")).status,
      200,
      "asked, and nothing has ended",
    );
    await page.getByRole("button", { name: "Yes, end access" }).click();
    await page.getByRole("status").getByText("Claude Code").waitFor();
    assert.equal(page.url(), `${testServer.baseUrl}/connections`);
    assert.equal((await callTool(testServer.url, token, "whoami")).status, 401);
    await judge(page, "connections-ended");
    await page.reload();
    assert.equal(await page.getByRole("status").count(), 0);
  });

  test("many: of one name, of strange names, with many scopes", async () => {
    const every = "weather:read orders:read orders:write";
    testServer.clock.ahead = -40 * 86_400;
    await connect("Claude", "alice", "https://claude.example/api/mcp/auth_callback", every);
    testServer.clock.ahead = -3 * 86_400;
    await connect("Codex", "alice");
    await connect("Codex", "alice", undefined, every);
    await connect("Cursor", "alice", "cursor://anysphere.cursor-retrieval/oauth/user-mcp/callback");
    await connect(
      undefined,
      "alice",
      "https://a-rather-long-host-name-of-a-company.applications.example/callback",
    );
    testServer.clock.ahead = 0;
    await connect(
      "An application whose maker thought that its name should say everything that it does".repeat(3),
      "alice",
    );
    await connect("x".repeat(200), "alice");
    const page = await newPage();
    await signIn(page, /^Alice/);
    assert.equal(
      await page
        .getByRole("listitem")
        .filter({ has: page.getByRole("heading") })
        .count(),
      6,
    );
    await photograph(page, "connections-many");
    await page.locator("summary", { hasText: "2 sign-ins" }).click();
    await page.getByText("End the access of all of them").click();
    await judge(page, "connections-many-open");

    await page
      .getByText(/^End the sign-in of/)
      .first()
      .click();
    await page.getByRole("button", { name: "Yes, end this one" }).click();
    await page.getByRole("status").waitFor();
    assert.equal(
      await page.locator("summary", { hasText: "2 sign-ins" }).count(),
      0,
      "one is left of the two",
    );
  });

  test("eight applications fit one screen", async () => {
    for (const name of [
      "Claude Code",
      "Codex",
      "Cursor",
      "Gemini CLI",
      "opencode",
      "mcporter",
      "Zed",
      "VS Code",
    ])
      await connect(name, "dora");
    const page = await newPage();
    await signIn(page, /^Dora/);
    await page.setViewportSize({ width: 1280, height: 800 });
    assert.equal(await page.locator(".entry").count(), 8);
    const bottom = await page.evaluate<number>(
      "document.querySelector('.entry:last-child').getBoundingClientRect().bottom",
    );
    assert.ok(bottom <= 800, `the last one ends at ${bottom}`);
    await judge(page, "connections-eight");
  });

  test("by keyboard alone: end everything, sign out", async () => {
    await connect("Claude Code", "carol");
    await connect("Codex", "carol");
    const page = await newPage();
    await signIn(page, /^Carol/);
    await tabTo(page, "End the access of all of them");
    await page.keyboard.press("Enter");
    await tabTo(page, "End all access");
    await page.keyboard.press("Enter");
    await page.getByRole("status").waitFor();
    await page.getByText("No application may use").waitFor();
    await photograph(page, "connections-all-ended");
    await tabTo(page, "Sign out");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Signed out" }).waitFor();
    await judge(page, "connections-signed-out-again");
  });

  test("somebody else takes over, and whose page is out of date is told", async () => {
    const context = await browser.newContext({ viewport: SIZES.desktop });
    const page = await newPage(context);
    const token = await connect("Claude Code", "carol");
    await signIn(page, /^Carol/);
    const another = await newPage(context);
    await another.goto(`${testServer.baseUrl}/connections`);
    await another.getByRole("button", { name: "Not you?" }).click();
    await another.getByRole("button", { name: /^Bob/ }).click();
    await another.getByText("Signed in as Bob").waitFor();
    await page.getByText("End access of Claude Code").click();
    await page.getByRole("button", { name: "Yes, end access" }).click();
    await page.getByText("Nothing was changed").waitFor();
    await photograph(page, "connections-error");
    assert.equal((await callTool(testServer.url, token, "whoami")).status, 200);

    await context.clearCookies();
    await another.getByRole("button", { name: "Sign out" }).click();
    await another.getByText("You are not signed in on this page any more").waitFor();
    await judge(another, "connections-session-over");
  });

  test("another site posts the form, with what it knows: the browser brings no cookie, and it is refused", async () => {
    const token = await connect("Claude Code", "carol");
    const context = await browser.newContext();
    const page = await newPage(context);
    await signIn(page, /^Carol/);
    const evil = await newPage(context);
    // 127.0.0.1 and localhost are different sites.
    await evil.goto(testServer.baseUrl.replace("localhost", "127.0.0.1"));
    await evil.setContent(
      `<form method="post" action="${testServer.baseUrl}/connections/end"><input name="all" value="yes"><input name="form_token" value="x"><button>free prize</button></form>`,
    );
    const sent = evil.waitForRequest(`${testServer.baseUrl}/connections/end`);
    await evil.getByText("free prize").click();
    await evil.getByText("This was not sent from a page at").waitFor();
    assert.equal((await (await sent).allHeaders()).cookie, undefined);
    assert.equal((await callTool(testServer.url, token, "whoami")).status, 200);
    await page.reload();
    await page.getByText("Signed in as Carol").waitFor();
  });
});

/** Moves the focus with the Tab key to what is called so. */
async function tabTo(page: Page, name: string): Promise<void> {
  for (let presses = 0; presses < 40; presses++) {
    await page.keyboard.press("Tab");
    if ((await page.evaluate("document.activeElement.textContent")) === name) return;
  }
  throw new Error(`"${name}" cannot be reached with the Tab key`);
}
