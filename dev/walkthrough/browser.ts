/** The scripted browser as the walkthrough uses it: every request in one printed line, and failures in words. */
import { Browser, MAX_REDIRECTS, type Page, TooManyRedirects } from "../client/browser.ts";
import { noteSecrets, statusLine, TIMEOUT_SECONDS, unreachable } from "./http.ts";
import { StepFailure, type Trace } from "./trace.ts";

/** Its methods throw StepFailure. */
export interface WatchedBrowser extends Pick<Browser, "history" | "submit"> {
  get(url: string): Promise<Page>;
}

export function createBrowser(trace: Trace): WatchedBrowser {
  let requested = "";
  const browser = new Browser({
    timeoutSeconds: TIMEOUT_SECONDS,
    onRequest(url) {
      requested = url.href;
      noteSecrets(url.searchParams, trace);
    },
    onAnswer: ({ method, url, status }) => trace.browsed(method, brief(new URL(url)), statusLine(status)),
  });
  const failed = (error: unknown): never => {
    throw error instanceof TooManyRedirects ? endless(error.url) : unreachable(requested, error);
  };
  return {
    history: browser.history,
    get: (url) => browser.get(url).catch(failed),
    submit: (...form) => browser.submit(...form).catch(failed),
  };
}

/** Without the query, and with long ids in the path cut: one line has to hold it. */
function brief({ origin, pathname, search }: URL): string {
  const path = pathname.replaceAll(/[^/]{30,}/g, (id) => `${id.slice(0, 10)}…`);
  return `${origin}${path}${search === "" ? "" : "?…"}`;
}

function endless(last: URL): StepFailure {
  return new StepFailure({
    expected: "the redirects to end at a page",
    came: `more than ${MAX_REDIRECTS} redirects, the last to ${last.origin}${last.pathname}`,
    hint: "Open the authorization URL in a real browser to see what goes round in circles: AUTO=0 npm run walkthrough",
  });
}
