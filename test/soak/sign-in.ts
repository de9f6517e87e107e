/** A user signs in with a browser, and begins again when a fault cost something that cannot be repeated. */
import { setTimeout as delay } from "node:timers/promises";
import type { Browser, Page } from "../../dev/client/browser.ts";
import { findForms, hasField } from "../../dev/client/html.ts";
import {
  authorizeUrl,
  newBrowser,
  REDIRECT_URI,
  type Registered,
  type Tokens,
  VERIFIER,
} from "../support/oauth-client.ts";
import { ask, isBroken, type Runtime, said, toldToWait } from "./good-client.ts";

export interface User {
  name: string;
  /** Whether they let the client read the weather. */
  allowsWeather: boolean;
  approves: boolean;
}

export interface SignedIn {
  tokens: Tokens;
  /** `performance.now()` when they were asked for. */
  askedAt: number;
}

// One a second: longer than a provider is away in any of the soaks.
const ATTEMPTS = 30;
const KIND = "sign-in page";

/** The tokens, or undefined: the user did not approve, or it did not work, which is then in the ledger. */
export async function signIn(
  client: Registered,
  user: User,
  authentication: (client: Registered) => { form: Record<string, string>; headers: Record<string, string> },
  around: Runtime,
): Promise<SignedIn | undefined> {
  const { ledger } = around;
  for (let attempt = 1; attempt <= ATTEMPTS && !around.deployment.isClosed(); attempt++) {
    const answer = await throughBrowser(client, user, around);
    if (answer === "unexpected") return undefined;
    if (answer === "denied") {
      ledger.counts.denied++;
      return undefined;
    }
    const signedIn = answer === "begin again" ? answer : await redeem(client, answer, authentication, around);
    if (signedIn !== "begin again") {
      if (signedIn !== undefined) ledger.counts.signIns++;
      return signedIn;
    }
    ledger.counts.signInsBegunAgain++;
    await delay(1_000);
  }
  ledger.record(KIND, "unexpected", `did not succeed in ${ATTEMPTS} attempts`);
  return undefined;
}

type Way = URLSearchParams | "denied" | "begin again" | "unexpected";

/** From /authorize to the client's redirect URI. */
async function throughBrowser(client: Registered, user: User, around: Runtime): Promise<Way> {
  const { deployment, ledger, pacer } = around;
  const browser = newBrowser();
  const start = authorizeUrl(deployment.baseUrl, client, { scope: "weather:read" });
  let move = () => browser.get(start);
  let disturbed = false;
  for (let step = 0; step < 40; step++) {
    await pacer.turn();
    const visited = browser.history.length;
    const page = await move().catch((error: Error) => error);
    noteRedirects(browser, visited, page, around);
    if (page instanceof Error) {
      if (deployment.isProviderDown()) ledger.record("provider's page", "interrupted");
      else ledger.record(KIND, deployment.isKilling() ? "interrupted" : "unexpected", said(page));
      return "begin again";
    }
    if (page.redirectedTo !== undefined) {
      const way = arrived(page.redirectedTo, user);
      ledger.record(KIND, way === undefined ? "unexpected" : "served", page.redirectedTo.href);
      return way ?? "unexpected";
    }
    const ours = page.url.origin === new URL(deployment.baseUrl).origin;
    const retryAfter = page.headers.get("retry-after") ?? undefined;
    const reply = { status: page.status, text: page.body, retryAfter };
    const wait = ours ? toldToWait(reply) : undefined;
    if (wait !== undefined) {
      if (!isBroken(reply)) ledger.record(KIND, "told to wait");
      else ledger.record(KIND, deployment.isKilling() ? "interrupted" : "unexpected", said(reply));
      disturbed = true;
      await delay(wait * (1 + Math.random() / 5));
      // The form may be sent again; any other page is loaded again.
      if (page.url.pathname !== "/consent") move = () => browser.get(page.url);
      continue;
    }
    const next = nextMove(browser, page, user);
    if (next === undefined || page.status !== 200) {
      // What the callback takes is used once: after an answer that was lost there is nothing to load again.
      const isLost = disturbed && ours && page.status === 400;
      ledger.record(KIND, isLost ? "refused" : "unexpected", `${page.url.pathname} ${said(reply)}`);
      return isLost ? "begin again" : "unexpected";
    }
    if (ours) ledger.record(KIND, "served");
    move = next;
  }
  ledger.record(KIND, "unexpected", "the sign-in has no end");
  return "unexpected";
}

/** What led to the page; the page itself is the caller's to judge. */
function noteRedirects(
  browser: Browser,
  visited: number,
  page: Page | Error,
  { deployment, ledger, pacer }: Runtime,
): void {
  const hops = browser.history.slice(visited);
  const before = page instanceof Error ? hops : hops.slice(0, -1);
  const ours = before.filter(({ url }) => url.startsWith(`${deployment.baseUrl}/`));
  for (const _ of ours) ledger.record(KIND, "served");
  pacer.charge(ours.length);
}

function arrived(url: URL, { approves }: User): Way | undefined {
  const { searchParams } = url;
  if (!url.href.startsWith(REDIRECT_URI)) return undefined;
  if (!approves) return searchParams.get("error") === "access_denied" ? "denied" : undefined;
  return searchParams.has("code") ? searchParams : undefined;
}

function nextMove(browser: Browser, page: Page, user: User): (() => Promise<Page>) | undefined {
  const forms = findForms(page.body);
  if (forms.some(({ action }) => action.endsWith("/consent"))) {
    const untick = user.allowsWeather ? [] : ["weather:read"];
    return () => browser.submit(page, {}, { button: user.approves ? "approve" : "deny", untick });
  }
  if (forms.some((form) => hasField(form, "login"))) return () => browser.submit(page, { login: user.name });
  return undefined;
}

async function redeem(
  client: Registered,
  parameters: URLSearchParams,
  authentication: Parameters<typeof signIn>[2],
  around: Runtime,
): Promise<SignedIn | "begin again" | undefined> {
  const { form, headers } = authentication(client);
  const { reply, disturbed } = await ask(
    "code for tokens",
    () => ({
      url: `${around.deployment.baseUrl}/token`,
      headers,
      form: {
        grant_type: "authorization_code",
        code: parameters.get("code") ?? "",
        code_verifier: VERIFIER,
        redirect_uri: REDIRECT_URI,
        ...form,
      },
    }),
    ({ status }) => (status === 200 ? "served" : undefined),
    around,
  );
  if (reply?.status === 200) return { tokens: reply.body, askedAt: reply.sentAt };
  return disturbed ? "begin again" : undefined;
}
