/** A person at /connections: signing in there, and what the page shows. */
import type { Browser, Page } from "../../dev/client/browser.ts";
import { findForms, type HtmlForm } from "../../dev/client/html.ts";
import { newBrowser } from "./oauth-client.ts";

/** Signs in at /connections; the page that is shown then. */
export async function openConnections(
  baseUrl: string,
  { login = "alice", browser = newBrowser() }: { login?: string; browser?: Browser } = {},
): Promise<Page> {
  const page = await browser.get(`${baseUrl}/connections`);
  const next = await browser.submit(page, {}, { button: "Sign in" });
  // The provider asks who it is only if it does not know.
  return next.body.includes('name="login"') ? await browser.submit(next, { login }) : next;
}

export interface ShownEntry {
  name: string;
  /** All that is said of it, as text. */
  text: string;
  grantIds: string[];
}

/** The entries of the page, in its order. */
export function entriesOn({ body }: Page): ShownEntry[] {
  return body
    .split('<li class="entry">')
    .slice(1)
    .map((markup) => ({
      name: /<h2><bdi>(.*?)<\/bdi><\/h2>/s.exec(markup)?.[1] ?? "",
      text: textOf(markup),
      // Of its first form, which ends all of it.
      grantIds: [...(markup.split("</form>")[0] ?? "").matchAll(/name="grant" value="([^"]+)"/g)].map(
        ([, id = ""]) => id,
      ),
    }));
}

/** The form that ends the entry of that name. */
export function endFormOf(page: Page, name: string): HtmlForm {
  const { grantIds } = entriesOn(page).find((entry) => entry.name === name) ?? { grantIds: [] };
  const form = findForms(page.body).find(
    ({ action, inputs }) =>
      action.endsWith("/connections/end") &&
      inputs.filter((input) => input.name === "grant").length === grantIds.length &&
      inputs.some((input) => input.value === grantIds[0]),
  );
  if (form === undefined) throw new Error(`no form ends ${name}: ${textOf(page.body)}`);
  return form;
}

/** Presses "End access" of the entry of that name. */
export function endEntry(browser: Browser, page: Page, name: string): Promise<Page> {
  const form = endFormOf(page, name);
  // A page that has this form alone.
  const inputs = form.inputs.map(
    (input) => `<input type="hidden" name="${input.name}" value="${input.value}">`,
  );
  const body = `<form method="post" action="${form.action}">${inputs.join("")}<button>End access</button></form>`;
  return browser.submit({ ...page, body }, {}, { button: "End access" });
}

export function textOf(html: string): string {
  return html
    .replaceAll(/<style.*?<\/style>/gs, "")
    .replaceAll(/<[^>]*>/g, " ")
    .replaceAll(/\s+/g, " ")
    .trim();
}
