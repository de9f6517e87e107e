/** The choice of an identity provider in a real browser: accessible, by keyboard, without script, on the smallest phone. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import {
  accessibilityProblems,
  launchChromium,
  openPage,
  photograph,
  SMALLEST,
  scrollsSideways,
  skipWithoutChromium,
} from "../support/chromium.ts";
import { authorizeUrl, register } from "../support/oauth-client.ts";
import { ALICE, useTestServer } from "../support/test-server.ts";

describe("the choice of an identity provider in a real browser", { skip: skipWithoutChromium() }, () => {
  let browser: Browser;
  const testServer = useTestServer({
    partners: { users: [ALICE], keys: { partners: "emailDomains: [partner.example]" } },
  });
  before(async () => {
    browser = await launchChromium();
  });
  after(() => browser.close());

  async function open(options: BrowserContextOptions = {}): Promise<Page> {
    return await openPage(
      browser,
      authorizeUrl(testServer.baseUrl, await register(testServer.baseUrl)),
      options,
    );
  }
  const heading = (page: Page) => page.getByRole("heading", { level: 1 }).textContent();

  test("is accessible, and does not scroll sideways on the smallest phone", async () => {
    const page = await open();
    assert.equal(await heading(page), "Where do you sign in?");
    await photograph(page, "choice");
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.setViewportSize(SMALLEST);
    assert.equal(await scrollsSideways(page), false);
    assert.deepEqual(await accessibilityProblems(page), []);
  });

  test("is made by keyboard alone, without script", async () => {
    const page = await open({ javaScriptEnabled: false });
    await page.getByRole("link", { name: /Partners/ }).focus();
    await page.keyboard.press("Enter");
    await page.getByText(/You sign in at Partners/).waitFor();
  });

  test("is made by an e-mail address, whose domain belongs to one of them", async () => {
    const page = await open();
    await page.getByRole("textbox").fill("somebody@partner.example");
    await page.keyboard.press("Enter");
    await page.getByText(/You sign in at Partners/).waitFor();
  });
});
