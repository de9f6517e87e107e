/** Steps 4 to 7: register, send a browser through consent and login, and turn the code into tokens. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { askedBy, type Page } from "../client/browser.ts";
import { textOf, titleOf } from "../client/html.ts";
import type { Answer } from "../client/http.ts";
import { type Authorization, authorizationParameters, codeParameters } from "../client/oauth-client.ts";
import { createBrowser, type WatchedBrowser } from "./browser.ts";
import type { ServerMetadata, Walk } from "./discovery.ts";
import { expectStatus, noteSecrets, readJson } from "./http.ts";
import type { Loopback } from "./loopback.ts";
import { expect, StepFailure, type Trace } from "./trace.ts";

const WAIT_FOR_PERSON_SECONDS = 5 * 60;
const WAIT_FOR_BROWSER_SECONDS = 10;

const Registration = z.object({
  client_id: z.string().min(1),
  token_endpoint_auth_method: z.string(),
  redirect_uris: z.array(z.string()),
  client_secret: z.string().optional(),
});

const TokenResponse = z.object({
  access_token: z.string().min(1),
  token_type: z.string(),
  expires_in: z.number(),
  refresh_token: z.string().min(1),
  scope: z.string().optional(),
});
export type TokenResponse = z.infer<typeof TokenResponse>;

/** @returns the client_id */
export async function register(
  { send, trace }: Walk,
  server: ServerMetadata,
  redirectUri: string,
): Promise<string> {
  const metadata = {
    client_name: "mcp-oidc-proxy walkthrough",
    application_type: "native",
    redirect_uris: [redirectUri],
    token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
  };
  const show = Object.fromEntries(
    Object.entries(metadata).map(([name, value]) => [name, [value].flat().join(" ")]),
  );
  const answer = await send({ method: "POST", url: server.registration_endpoint, json: metadata, show });
  expectStatus(answer, 201);
  const registered = readJson(answer, Registration);
  expect(registered.token_endpoint_auth_method === "none", {
    expected: "token_endpoint_auth_method none, as asked",
    came: registered.token_endpoint_auth_method,
    hint: "The server made a confidential client of a public one: it could not keep the secret.",
  });
  expect(registered.redirect_uris.includes(redirectUri), {
    expected: `redirect_uris with ${redirectUri}`,
    came: registered.redirect_uris.join(" ") || "none",
    hint: "The redirect URI was not registered as it was sent (RFC 7591 §3.2.1).",
  });
  if (registered.client_secret !== undefined) trace.remark("a public client was given a secret");
  trace.learned(`we are client_id ${registered.client_id}, a public client: no secret, PKCE instead`);
  return registered.client_id;
}

export function newAuthorization(
  asked: Pick<Authorization, "clientId" | "redirectUri" | "resource" | "scope">,
): Authorization {
  const random = () => randomBytes(32).toString("base64url");
  return { ...asked, state: random(), codeVerifier: random() };
}

export interface SignInSettings {
  /** False: a person signs in, in a browser of their own. */
  automatic: boolean;
  /** The demo user to sign in as. */
  login: string;
}

/** @returns the parameters with which the browser came back */
export async function signIn(
  { trace }: Walk,
  server: Pick<ServerMetadata, "authorization_endpoint">,
  authorization: Authorization,
  loopback: Loopback,
  { automatic, login }: SignInSettings,
): Promise<URLSearchParams> {
  const parameters = authorizationParameters(authorization);
  const url = new URL(server.authorization_endpoint);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  noteSecrets([...Object.entries(parameters), ["code_verifier", authorization.codeVerifier]], trace);
  trace.request("GET", server.authorization_endpoint, parameters);
  const finished = automatic && (await signInByItself(url.href, authorization.redirectUri, login, trace));
  if (!finished) handToPerson(url.href, trace);
  const answer = await loopback.answer(finished ? WAIT_FOR_BROWSER_SECONDS : WAIT_FOR_PERSON_SECONDS);
  trace.learned("the browser is back at our loopback address");
  return answer;
}

/** Approves, signs in at the demo's identity provider, and goes on to the redirect URI; false if it meets another one. */
async function signInByItself(
  url: string,
  redirectUri: string,
  login: string,
  trace: Trace,
): Promise<boolean> {
  const browser = createBrowser(trace);
  let page = await browser.get(url);
  for (let pages = 0; pages < 5; pages++) {
    if (`${page.url.origin}${page.url.pathname}` === redirectUri) return true;
    const title = titleOf(page.body);
    const isDemo = title.includes("Demo identity provider");
    if (isDemo || page.url.origin === new URL(url).origin) expectPage(page);
    const asked = askedBy(page);
    if (asked === "consent") {
      trace.learned(`consent page "${title}": approve`);
      page = await browser.submit(page, {}, { button: "approve" });
      checkUpstreamRequest(browser.history, url, trace);
    } else if (asked === "login" && isDemo) {
      trace.learned(`login page "${title}": sign in as ${login}`);
      page = await browser.submit(page, { login });
    } else {
      trace.learned(`${page.url.origin} is not the demo's identity provider: a person has to sign in`);
      return false;
    }
  }
  throw new StepFailure({
    expected: "to be signed in after the consent page and the login page",
    came: `the page "${titleOf(page.body)}" at ${describePage(page)}`,
    hint: "Sign in with a real browser to see what happens: AUTO=0 npm run walkthrough",
  });
}

/** What the identity provider is asked is the proxy's own request: nothing of ours may be passed through. */
function checkUpstreamRequest(history: WatchedBrowser["history"], ours: string, trace: Trace): void {
  const mine = new URL(ours).searchParams;
  const upstream = history
    .map((step) => new URL(step.url))
    .find(({ href, searchParams }) => href !== ours && searchParams.has("response_type"));
  if (upstream === undefined) return;
  for (const name of ["client_id", "redirect_uri", "state", "code_challenge"]) {
    const sent = upstream.searchParams.get(name);
    expect(sent !== null && sent !== mine.get(name), {
      expected: `the proxy's own ${name} at the identity provider`,
      came: sent === null ? "none" : `ours, ${sent}`,
      hint: "One of its own binds the two logins together; ours lets a stranger's login be mixed in.",
    });
  }
  const { searchParams } = upstream;
  const [client, redirectUri, scope] = ["client_id", "redirect_uri", "scope"].map((name) =>
    searchParams.get(name),
  );
  trace.learned(`the proxy asks ${upstream.origin} as its own client ${client}, for scope "${scope}"`);
  trace.learned(`it wants the answer at ${redirectUri}, with a state and a code challenge of its own`);
}

function describePage({ url, body }: Page): string {
  return `${url.origin}${url.pathname}: ${textOf(body).slice(0, 300)}`;
}

function expectPage(page: Page): void {
  expect(page.status === 200, {
    expected: "a page on the way from /authorize back to the client",
    came: `${page.status} at ${describePage(page)}`,
    hint: "The page says what went wrong; the server's log says more.",
  });
}

function handToPerson(url: string, trace: Trace): void {
  trace.show(`\n    Open this address in a browser on this computer and sign in:\n\n    ${url}\n`);
  trace.show(`    Waiting ${WAIT_FOR_PERSON_SECONDS / 60} minutes for the answer …\n`);
  const [command, ...args] = OPENERS[process.platform] ?? ["xdg-open"];
  spawn(command, [...args, url], { stdio: "ignore", detached: true })
    .on("error", () => undefined) // no browser here: the address is printed above
    .unref();
}

const OPENERS: Partial<Record<NodeJS.Platform, [string, ...string[]]>> = {
  darwin: ["open"],
  win32: ["rundll32", "url.dll,FileProtocolHandler"],
};

/** RFC 6749 §4.1.2 and RFC 9207 §2.4: is this the answer to our request, and from the server we asked? */
export function checkRedirect(
  { trace }: Walk,
  issuer: string,
  authorization: Authorization,
  came: URLSearchParams,
): string {
  noteSecrets(came, trace);
  trace.request("GET", authorization.redirectUri, Object.fromEntries(came));
  // Who answers is settled before what is said is believed, an error included (RFC 9207 §2.4).
  expect(came.get("state") === authorization.state, {
    expected: "the state that was sent",
    came: came.get("state") ?? "none",
    hint: "An answer to somebody else's request must be thrown away (RFC 6749 §10.12). Run the walkthrough again.",
  });
  expect(came.get("iss") === issuer, {
    expected: `iss=${issuer}, byte for byte (RFC 9207)`,
    came: came.get("iss") ?? "none",
    hint: "Clients refuse this answer: they cannot tell which server it comes from.",
  });
  const error = came.get("error");
  expect(error === null, {
    expected: "an authorization code",
    came: `error=${error}: ${came.get("error_description") ?? "no description"}`,
    hint:
      error === "access_denied"
        ? "The user or the identity provider said no. Run the walkthrough again and approve; if you did, the server's log has the provider's words."
        : "The server's log says why.",
  });
  const code = came.get("code");
  expect(code !== null && code !== "", {
    expected: "a code",
    came: [...came.keys()].join(" ") || "no parameters",
    hint: "The server's log says why.",
  });
  trace.learned("state is ours, iss is the issuer; the code is ours to redeem");
  return code;
}

export async function redeemCode(
  { send, trace }: Walk,
  server: ServerMetadata,
  authorization: Authorization,
  code: string,
): Promise<TokenResponse> {
  const { scope: asked } = authorization;
  const form = codeParameters(authorization, code);
  const answer = await send({ method: "POST", url: server.token_endpoint, form });
  const tokens = readTokens(answer);
  trace.learned(`access token ${tokens.access_token}, ${tokens.token_type}, for ${tokens.expires_in} s`);
  trace.learned(`refresh token ${tokens.refresh_token}`);
  // RFC 6749 §5.1: left out means as asked.
  const granted = tokens.scope ?? asked ?? "";
  const less = granted === (asked ?? "") ? "" : ` (asked: ${asked ?? "nothing"})`;
  trace.learned(`granted scope: ${granted || "none"}${less}`);
  return { ...tokens, scope: granted };
}

/** A token endpoint's success (RFC 6749 §5.1). */
export function readTokens(answer: Answer): TokenResponse {
  expectStatus(answer, 200);
  const { headers } = answer;
  expect(/\bno-store\b/.test(headers.get("cache-control") ?? ""), {
    expected: "Cache-Control: no-store on an answer with tokens (RFC 6749 §5.1)",
    came: headers.get("cache-control") ?? "no Cache-Control",
    hint: "If a proxy stands in front of the server, it must not change this header.",
  });
  const tokens = readJson(answer, TokenResponse);
  expect(tokens.token_type.toLowerCase() === "bearer", {
    expected: "token_type Bearer",
    came: tokens.token_type,
    hint: "Another kind of token is of no use to MCP clients.",
  });
  expect(tokens.expires_in > 0, {
    expected: "expires_in above 0",
    came: String(tokens.expires_in),
    hint: "The token is over as soon as it is issued: look at the configured lifetimes.",
  });
  const kinds = { access_token: "mcp_at_", refresh_token: "mcp_rt_" } as const;
  for (const [name, prefix] of Object.entries(kinds) as Array<[keyof typeof kinds, string]>)
    expect(tokens[name].startsWith(prefix), {
      expected: `${name} to start with ${prefix}`,
      came: tokens[name],
      hint: "The server's own tokens begin with their kind. Was the identity provider's token handed on?",
    });
  return tokens;
}
