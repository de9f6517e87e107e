/** A person who signs in for some scopes, and again when a tool needs more (RFC 6750 §3.1). */
import type { Answer } from "../client/http.ts";
import { readChallenge } from "./challenge.ts";
import {
  readResourceMetadata,
  readServerMetadata,
  requestWithoutToken,
  type ServerMetadata,
  type Walk,
} from "./discovery.ts";
import { describe, expectStatus } from "./http.ts";
import { listenOnLoopback } from "./loopback.ts";
import type { Settings } from "./settings.ts";
import { checkRedirect, newAuthorization, redeemCode, register, signIn } from "./sign-in.ts";
import { expect } from "./trace.ts";

/** Of any port (RFC 8252 §7.3): each sign-in listens on another one. */
const REDIRECT_URI = "http://127.0.0.1/callback";

export interface RegisteredAt {
  server: ServerMetadata;
  /** What every sign-in asks for. */
  asked: { clientId: string; resource: string };
  /** What the resource asks for first. */
  scope: string | undefined;
}

/** Steps 1 to 4. */
export async function findAndRegister(walk: Walk): Promise<RegisteredAt> {
  const { trace } = walk;
  trace.step("Knock without a token");
  const { resource_metadata: metadata, scope } = await requestWithoutToken(walk);
  trace.step("Ask the resource who issues its tokens");
  const { resource, authorization_servers: servers } = await readResourceMetadata(walk, metadata);
  trace.step("Ask the authorization server what it offers");
  const server = await readServerMetadata(walk, servers[0]);
  trace.step("Register as a client");
  const clientId = await register(walk, server, REDIRECT_URI);
  return { server, asked: { clientId, resource }, scope };
}

/** Browser, answer and code. */
export async function signInFor(
  walk: Walk,
  { server, asked }: RegisteredAt,
  scope: string | undefined,
  settings: Settings,
  again = "",
) {
  const { trace } = walk;
  const loopback = await listenOnLoopback();
  try {
    const authorization = newAuthorization({ ...asked, scope, redirectUri: loopback.redirectUri });
    trace.step(`Send the browser${again && ` ${again}`}: consent, login, and back`);
    const came = await signIn(walk, server, authorization, loopback, settings);
    trace.step("Read the answer the browser brought");
    const code = checkRedirect(walk, server.issuer, authorization, came);
    trace.step("Exchange the code for tokens");
    return { ...(await redeemCode(walk, server, authorization, code)), authorization };
  } finally {
    loopback.close();
  }
}

/**
 * Of an answer that must refuse a call for want of a scope.
 * @returns the scopes to ask for
 */
export function refusedFor(lacking: string, answer: Answer): string {
  expectStatus(answer, 403, "What was not granted to this client must not be done for it.");
  const { error, scope = "" } = readChallenge(answer);
  expect(error === "insufficient_scope" && scope.split(" ").includes(lacking), {
    expected: `error=insufficient_scope with the scope ${lacking}`,
    came: describe(answer),
    hint: "Without it a client cannot ask the user for more.",
  });
  return scope;
}
