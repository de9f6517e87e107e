/** The page for people in a real browser: choosing a client, copying, by keyboard, without script, on the smallest phone. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { weatherConditions } from "../../src/tools/weather-conditions.ts";
import { whatToWear } from "../../src/tools/what-to-wear.ts";
import {
  accessibilityProblems,
  launchChromium,
  openPage,
  photograph,
  SIZES,
  SMALLEST,
  scrollsSideways,
  skipWithoutChromium,
} from "../support/chromium.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

describe("the page for people in a real browser", { skip: skipWithoutChromium() }, () => {
  let logos: Server;
  let browser: Browser;
  const testServer = useTestServer(async () => {
    logos = createServer((_req, res) => {
      res.setHeader("content-type", "image/svg+xml").end(LOGO);
    });
    await new Promise<void>((resolve) => logos.listen(0, "127.0.0.1", resolve));
    return {
      resources: [weatherConditions],
      prompts: [whatToWear],
      environment: {
        // As on the internet: every client can be connected.
        BASE_URL: "https://weather.example.com",
        SERVER_NAME: "Weather",
        SERVER_DESCRIPTION: "The current weather of any city, for your assistant. Run by the platform team.",
        SERVER_LOGO_URL: `http://127.0.0.1:${(logos.address() as AddressInfo).port}/logo.svg`,
        SERVER_COLOR: "#0f766e",
        CLIENTS: JSON.stringify([
          {
            client_id: "nightly",
            client_secret: "0123456789-0123456789-0123456789",
            grant_types: ["client_credentials"],
          },
        ]),
      },
    };
  });
  before(async () => {
    browser = await launchChromium();
  });
  after(async () => {
    await browser.close();
    logos.closeAllConnections();
    logos.close();
  });

  async function open(options: BrowserContextOptions = {}): Promise<Page> {
    return await openPage(browser, testServer.baseUrl, options);
  }

  test("looks as it should, is accessible and never scrolls sideways, whichever client is chosen", async () => {
    const page = await open();
    assert.equal(await page.evaluate("document.querySelector('img').naturalWidth"), 48, "the logo is loaded");
    await photograph(page, "home");
    assert.deepEqual(await accessibilityProblems(page), []);
    await choose(page, "Cursor");
    await photograph(page, "home-cursor");
    assert.deepEqual(await accessibilityProblems(page), []);

    await page.setViewportSize(SMALLEST);
    const clients = await page.locator(".clients > label").allTextContents();
    assert.equal(clients.length, 12);
    for (const client of clients) {
      await choose(page, client);
      assert.equal(await scrollsSideways(page), false, client);
    }
    await page.screenshot({ path: "screenshots/home-smallest.png", fullPage: true });
  });

  test("programs find their way, too, folded and accessible", async () => {
    const page = await open({ viewport: SMALLEST });
    const line = page.getByText("grant_type=client_credentials");
    assert.equal(await line.isVisible(), false);
    await page.getByText("A job or service with a secret").click();
    assert.equal(await line.isVisible(), true);
    assert.equal(await scrollsSideways(page), false);
    assert.deepEqual(await accessibilityProblems(page), []);
    await photograph(page, "home-programs");
  });

  test("names as long as they may be fit the smallest phone", async () => {
    const long = "a".repeat(64);
    const other = await startTestServer({
      environment: { SERVER_NAME: "N".repeat(80), SERVER_DESCRIPTION: "D".repeat(200) },
      tools: [
        defineTool({ name: long, description: `https://example.com/${long}`, scopes: [long], run: () => "" }),
        defineTool({ name: "_".repeat(64), title: "T".repeat(80), description: "Short", run: () => "" }),
      ],
      scopes: { [long]: "S".repeat(80) },
    });
    try {
      const page = await (await browser.newContext({ viewport: SMALLEST })).newPage();
      for (const path of ["", "/logout", "/nothing"]) {
        await page.goto(other.baseUrl + path);
        for (const width of [SMALLEST.width, 720, SIZES.desktop.width]) {
          await page.setViewportSize({ ...SMALLEST, width });
          assert.equal(await scrollsSideways(page), false, `${path} at ${width}`);
        }
      }
    } finally {
      await other.close();
    }
  });

  test("choosing a client shows its steps alone", async () => {
    const page = await open();
    await page.getByText("claude mcp add").waitFor();
    await choose(page, "VS Code");
    const link = page.getByRole("link", { name: "Add to VS Code" });
    assert.match((await link.getAttribute("href")) ?? "", /^vscode:mcp\/install\?/);
    assert.deepEqual(await page.locator(".steps:visible h3").allTextContents(), ["VS Code"]);
  });

  test("by keyboard: to the clients, along them, to the button that copies; the focus can be seen", async () => {
    const page = await open();
    const focused = () =>
      page.evaluate<string>("document.activeElement.id || document.activeElement.textContent");
    await page.keyboard.press("Tab"); // the button of the server's URL
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "client-0");
    for (const _ of [1, 2, 3]) await page.keyboard.press("ArrowRight");
    assert.equal(await focused(), "client-3");
    const chip = page.locator(".clients > input:checked + label");
    assert.equal(await chip.textContent(), "Codex");
    assert.notEqual(await outlineOf(page, ".clients > input:checked + label"), "0px");
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "Copy");
    assert.notEqual(await outlineOf(page, "button:focus"), "0px");
    await page.locator("main").click({ position: { x: 5, y: 5 } });
    assert.equal(
      await outlineOf(page, ".clients > input:checked + label"),
      "0px",
      "and only while it is there",
    );
  });

  test("a button copies exactly the line, says so, and is ready again", async () => {
    const page = await open({ permissions: ["clipboard-read", "clipboard-write"] });
    const clipboard = () => page.evaluate<string>("navigator.clipboard.readText()");
    await choose(page, "Codex");
    await page.getByRole("button", { name: "Copy: Terminal" }).click();
    await page.getByRole("status").getByText("Copied").waitFor();
    assert.equal(await clipboard(), "codex mcp add weather --url https://weather.example.com/mcp");
    await choose(page, "mcp-remote");
    await page.getByRole("button", { name: "Copy: MCP settings" }).click();
    assert.deepEqual(JSON.parse(await clipboard()), {
      mcpServers: {
        weather: { command: "npx", args: ["-y", "mcp-remote", "https://weather.example.com/mcp"] },
      },
    });
    await page.locator(".steps:visible button").getByText("Copied").waitFor();
    await page.locator(".steps:visible button").getByText("Copy", { exact: true }).waitFor();
  });

  test("a browser that keeps the clipboard to itself: the line is selected instead", async () => {
    const page = await open();
    await page.evaluate("navigator.clipboard.writeText = () => Promise.reject(new Error('no'))");
    await page.getByRole("button", { name: "Copy: Terminal" }).first().click();
    await page.getByRole("status").getByText("Selected").waitFor();
    assert.equal(
      await page.evaluate("getSelection().toString()"),
      "claude mcp add --scope user --transport http weather https://weather.example.com/mcp",
    );
  });

  test("without script everything is there but the buttons", async () => {
    const page = await open({ javaScriptEnabled: false });
    assert.equal(await page.getByRole("button").count(), 0);
    await choose(page, "Gemini CLI");
    await page.getByText("gemini mcp add --scope user").waitFor();
    assert.equal(await page.getByText("claude mcp add").isVisible(), false);
  });

  test("a script that somebody smuggles in does not run", async () => {
    const page = await open();
    await page.evaluate(`
      const script = document.createElement("script");
      script.textContent = "document.title = 'stolen'";
      document.body.append(script);
    `);
    assert.equal(await page.title(), "Weather");
  });
});

/** As a person does: a click on its name. */
async function choose(page: Page, client: string): Promise<void> {
  await page.locator(".clients > label").getByText(client, { exact: true }).click();
}

/** How thick the focus ring is. */
function outlineOf(page: Page, selector: string): Promise<string> {
  return page.evaluate<string>(`{
    const { outlineStyle, outlineWidth } = getComputedStyle(document.querySelector(${JSON.stringify(selector)}));
    outlineStyle === "none" ? "0px" : outlineWidth;
  }`);
}

const LOGO = `<svg xmlns="http://www.w3.org/2000/svg" width="48" height="48" viewBox="0 0 48 48">
<circle cx="20" cy="20" r="12" fill="#f59e0b"/><path d="M14 40a9 9 0 1 1 2-18 11 11 0 0 1 21 4 7 7 0 0 1-1 14z" fill="#94a3b8"/></svg>`;
