/** The client of the flow tests: one redirect URI and one code verifier for all, and every parameter can be another. */
import { randomBytes } from "node:crypto";
import { Browser } from "../../dev/client/browser.ts";
import { type Answer, sendRequest } from "../../dev/client/http.ts";
import { sessionMessage } from "../../dev/client/mcp.ts";
import { authorizationParameters, codeParameters, refreshParameters } from "../../dev/client/oauth-client.ts";
import { signIn } from "./sign-in.ts";

export const REDIRECT_URI = "http://127.0.0.1:33418/callback";

export interface Registered {
  client_id: string;
  client_secret?: string;
  redirect_uris: string[];
  [field: string]: unknown;
}

export interface Tokens {
  access_token: string;
  token_type: string;
  expires_in: number;
  refresh_token: string;
  scope: string;
}

export async function register(baseUrl: string, metadata: Record<string, unknown> = {}): Promise<Registered> {
  const answer = await postJson(`${baseUrl}/register`, {
    client_name: "Test client",
    redirect_uris: [REDIRECT_URI],
    token_endpoint_auth_method: "none",
    ...metadata,
  });
  if (answer.status !== 201)
    throw new Error(`Registration answered ${answer.status}: ${JSON.stringify(answer.body)}`);
  return answer.body;
}

export const VERIFIER = randomBytes(32).toString("base64url");

/** The URL that starts a flow; `undefined` leaves a parameter out. */
export function authorizeUrl(
  baseUrl: string,
  client: Pick<Registered, "client_id">,
  parameters: Record<string, string | undefined> = {},
): string {
  const usual = authorizationParameters({
    clientId: client.client_id,
    redirectUri: REDIRECT_URI,
    codeVerifier: VERIFIER,
    state: "the-state",
    resource: `${baseUrl}/mcp`,
  });
  const present = Object.entries({ ...usual, ...parameters }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return `${baseUrl}/authorize?${new URLSearchParams(present)}`;
}

/** A browser that stops where a client would take over. */
export function newBrowser(redirectUri = REDIRECT_URI): Browser {
  return new Browser({ stopAt: (url) => url.href.startsWith(redirectUri) });
}

/** Signs in from /authorize on; the parameters that the client's redirect URI receives. */
export async function authorize(
  baseUrl: string,
  client: Registered,
  { login = "alice", approve = true, browser = newBrowser(), path, parameters }: AuthorizeOptions = {},
): Promise<URLSearchParams> {
  const asked = { ...(path !== undefined && { resource: `${baseUrl}${path}` }), ...parameters };
  const callback = await signIn(browser, authorizeUrl(baseUrl, client, asked), { login, approve });
  return callback.searchParams;
}

interface AuthorizeOptions {
  login?: string;
  approve?: boolean;
  browser?: Browser;
  /** Of the resource, below the base URL. Default: the client names none. */
  path?: string;
  parameters?: Record<string, string | undefined>;
}

export function redeem(
  baseUrl: string,
  client: Registered,
  code: string | null,
  parameters: Record<string, string> = {},
): Promise<Answer> {
  const authorization = { clientId: client.client_id, redirectUri: REDIRECT_URI, codeVerifier: VERIFIER };
  return postForm(`${baseUrl}/token`, { ...codeParameters(authorization, code ?? ""), ...parameters });
}

/** The whole way from /authorize to tokens. */
export async function signInForTokens(
  baseUrl: string,
  client: Registered,
  options?: AuthorizeOptions,
): Promise<Tokens> {
  const parameters = await authorize(baseUrl, client, options);
  const answer = await redeem(baseUrl, client, parameters.get("code"));
  if (answer.status !== 200)
    throw new Error(`/token answered ${answer.status}: ${JSON.stringify(answer.body)}`);
  return answer.body;
}

export function refresh(
  baseUrl: string,
  client: Registered,
  refreshToken: string,
  parameters: Record<string, string> = {},
): Promise<Answer> {
  const usual = refreshParameters({ clientId: client.client_id }, refreshToken);
  return postForm(`${baseUrl}/token`, { ...usual, ...parameters });
}

export function revoke(baseUrl: string, client: Registered, token: string): Promise<Answer> {
  return postForm(`${baseUrl}/revoke`, { token, client_id: client.client_id });
}

/** One JSON-RPC request of the 2025 protocol, statelessly. */
export function rpc(
  url: string,
  accessToken: string | undefined,
  method: string,
  params: object = {},
): Promise<Answer> {
  return sendRequest(sessionMessage(url, { id: 1, method, params }, { version: "2025-06-18", accessToken }));
}

export function callTool(url: string, accessToken: string, name: string, args: object = {}): Promise<Answer> {
  return rpc(url, accessToken, "tools/call", { name, arguments: args });
}

export async function toolNames(url: string, accessToken: string): Promise<string[]> {
  const { body } = await rpc(url, accessToken, "tools/list");
  return body.result.tools.map((tool: { name: string }) => tool.name);
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into documents of every shape
export async function getJson(url: string): Promise<any> {
  return (await fetch(url)).json();
}

export function postForm(
  url: string,
  form: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return sendRequest({ method: "POST", url, form, headers });
}

export function postJson(url: string, json: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  return sendRequest({ method: "POST", url, json, headers });
}
