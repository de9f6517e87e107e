/** A real browser: the Chromium of the system, driven by playwright-core. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { AxeBuilder } from "@axe-core/playwright";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const PATHS = [
  process.env.CHROMIUM_PATH,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
];

// Without these it would try to reach its maker's servers; as root it needs to run without its sandbox.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Set when there is no browser; in CI that is a failure. */
export function skipWithoutChromium(): string | false {
  if (executablePath() !== undefined) return false;
  const reason = "Chromium is not installed: apt-get install chromium, or set CHROMIUM_PATH";
  if (process.env.CI === "true") throw new Error(reason);
  return reason;
}

export function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: executablePath() ?? "", args: FLAGS });
}

function executablePath(): string | undefined {
  return PATHS.find((path) => path !== undefined && existsSync(path));
}

export const SIZES = {
  desktop: { width: 1280, height: 860 },
  phone: { width: 390, height: 844 },
};

/** The smallest phone (WCAG 1.4.10 asks for 320 pixels). */
export const SMALLEST = { width: 320, height: 568 };

/** In a browser of its own, without cookies. Nothing on the page may be blocked by its own policy, or fail otherwise. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Page> {
  const context = await browser.newContext({ viewport: SIZES.desktop, ...options });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on("console", (message) => void (message.type() === "error" && problems.push(message.text())));
  page.on("pageerror", (error) => void problems.push(error.message));
  await page.goto(url);
  assert.deepEqual(problems, [], "nothing on the page is blocked by its own policy");
  return page;
}

/** Takes pictures of a page at both widths, light and dark, into `screenshots/`. */
export async function photograph(page: Page, name: string): Promise<void> {
  await mkdir("screenshots", { recursive: true });
  for (const [size, viewport] of Object.entries(SIZES))
    for (const colorScheme of ["light", "dark"] as const) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `screenshots/${name}-${size}-${colorScheme}.png`, fullPage: true });
    }
  await page.setViewportSize(SIZES.desktop);
  await page.emulateMedia({ colorScheme: "light" });
}

/** What axe-core finds wrong, in both colour schemes and at both widths: one line each. */
export async function accessibilityProblems(page: Page): Promise<string[]> {
  const problems: string[] = [];
  for (const viewport of Object.values(SIZES))
    for (const colorScheme of ["light", "dark"] as const) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      const { violations } = await new AxeBuilder({ page }).analyze();
      for (const { id, help, nodes } of violations)
        problems.push(
          `${colorScheme} ${viewport.width}: ${id}: ${help}: ${nodes.map(({ html }) => html).join(" ")}`,
        );
    }
  return problems;
}

/** True if a person has to scroll sideways. */
export function scrollsSideways(page: Page): Promise<boolean> {
  return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth");
}
