/** The person who signs in, in the scripted browser: consents as a test wants it, and says who they are. */
import { askedBy, type Browser, type Page } from "../../dev/client/browser.ts";
import { textOf } from "../../dev/client/html.ts";

export interface SignIn {
  approve?: boolean;
  login?: string;
  /** Scopes that the user does not allow. */
  untick?: readonly string[];
}

/**
 * Goes the user's whole way: the proxy's consent page, the identity provider's login page where it is shown,
 * and answers where the client's redirect URI would have been opened.
 */
export async function signIn(
  browser: Browser,
  authorizeUrl: string | URL,
  choices: SignIn = {},
): Promise<URL> {
  const page = await fillInForms(browser, authorizeUrl, choices);
  if (page.redirectedTo) return page.redirectedTo;
  throw new Error(`sign-in is stuck at ${page.url} (${page.status}): ${textOf(page.body).slice(0, 500)}`);
}

/** The same way, to wherever it ends: a page with `redirectedTo`, or one with nothing left to fill in. */
export async function fillInForms(
  browser: Browser,
  authorizeUrl: string | URL,
  { approve = true, login = "alice", untick = [] }: SignIn = {},
): Promise<Page> {
  let page = await browser.get(authorizeUrl);
  for (let step = 0; step < 10; step++) {
    if (page.redirectedTo) return page;
    const asked = askedBy(page);
    if (asked === "consent")
      page = await browser.submit(page, {}, { button: approve ? "approve" : "deny", untick });
    else if (asked === "login") page = await browser.submit(page, { login });
    else break;
  }
  return page;
}
