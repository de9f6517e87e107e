/** What all callers without a browser do: find the server, get a token for what they have, use it, and meet a refusal. */
import { decodeJwt, decodeProtectedHeader } from "jose";
import { z } from "zod";
import type { Answer } from "../client/http.ts";
import { assertionParameters } from "../client/oauth-client.ts";
import {
  type MetadataForPrograms,
  type ResourceMetadata,
  readMetadataForPrograms,
  readResourceMetadata,
  requestWithoutToken,
  type Walk,
} from "./discovery.ts";
import { describe, expectStatus, type RequestToSend, readJson } from "./http.ts";
import { createMcpClient } from "./mcp.ts";
import type { Credentials } from "./settings.ts";
import { callTools, listTools, shakeHands } from "./tools.ts";
import { expect, StepFailure, type Trace } from "./trace.ts";

export interface FoundServer {
  resource: ResourceMetadata;
  /** Where that is. */
  resourceMetadataUrl: string;
  issuer: string;
  metadata: MetadataForPrograms;
}

/** Steps 1 to 3. */
export async function findServer(
  walk: Walk,
  wanted: { grantType?: string; profile?: string },
): Promise<FoundServer> {
  const { trace } = walk;
  trace.step("Knock without a token");
  const { resource_metadata: resourceMetadataUrl } = await requestWithoutToken(walk);
  trace.step("Ask the resource who issues its tokens");
  const resource = await readResourceMetadata(walk, resourceMetadataUrl);
  trace.step("Ask the authorization server what it offers");
  const [issuer] = resource.authorization_servers;
  const metadata = await readMetadataForPrograms(walk, issuer, wanted);
  return { resource, resourceMetadataUrl, issuer, metadata };
}

export interface AccessToken {
  access_token: string;
  scope: string;
}

const TokenResponse = z.object({
  access_token: z.string().min(1),
  token_type: z.string(),
  expires_in: z.number().positive(),
  scope: z.string().default(""),
  refresh_token: z.string().optional(),
});

/** Of this server, and without a refresh token (RFC 6749 §4.4.3, RFC 7523 §4). */
export function readAccessToken(answer: Answer, trace: Trace): AccessToken {
  expectStatus(answer, 200);
  const token = readJson(answer, TokenResponse);
  expect(token.access_token.startsWith("mcp_at_"), {
    expected: "access_token to start with mcp_at_",
    came: token.access_token,
    hint: "The server's own tokens begin with their kind. Was somebody else's token handed on?",
  });
  expect(token.refresh_token === undefined, {
    expected: "no refresh_token: a program asks again",
    came: "one",
    hint: "It would outlive the secret or the assertion that it was given for.",
  });
  trace.learned(`access token ${token.access_token}, ${token.token_type}, for ${token.expires_in} s`);
  trace.learned(`granted scope: ${token.scope || "none"}`);
  trace.learned("no refresh token: when this one ends, the program asks again");
  return token;
}

/** RFC 7523 §2.1. Without a client it is the assertion that says who comes. */
export function presentAssertion(
  { send }: Walk,
  { metadata }: FoundServer,
  assertion: string,
  client?: Credentials,
): Promise<Answer> {
  return send({
    method: "POST",
    url: metadata.token_endpoint,
    form: assertionParameters(assertion),
    ...(client && { client }),
  });
}

/** Both generations: the list in the old one, the calls in the new one. */
export async function useToken(
  walk: Walk,
  { resource, resourceMetadataUrl }: FoundServer,
  { access_token: accessToken, scope: grantedScope }: AccessToken,
  knownAs: Readonly<Record<string, string>>,
): Promise<void> {
  const { trace } = walk;
  const client = createMcpClient(walk.send, walk.url, accessToken);
  trace.step("Initialize MCP, and list the tools (2025-11-25: with a handshake)");
  await shakeHands(walk, client);
  const names = await listTools(walk, client);
  trace.step("Call the tools (2026-07-28: every request stands alone)");
  await callTools(walk, client, names, { knownAs, grantedScope, resourceMetadataUrl, resource });
}

/** A token endpoint's refusal (RFC 6749 §5.2). @throws StepFailure unless it is this one */
export function expectOAuthError(answer: Answer, status: number, error: string, hint: string): string {
  expectStatus(answer, status, hint);
  const { error: came, error_description: words = "" } = readJson(
    answer,
    z.object({ error: z.string(), error_description: z.string().optional() }),
  );
  expect(came === error, { expected: `error ${error}`, came: describe(answer), hint });
  return `${came}: ${words}`;
}

/** A stolen or recorded assertion must be worth nothing: it was used. */
export async function expectUsedOnce(
  walk: Walk,
  server: FoundServer,
  assertion: string,
  client?: Credentials,
): Promise<void> {
  const answer = await presentAssertion(walk, server, assertion, client);
  const hint =
    "Whoever gets hold of a used assertion could come in with it: do not trust this server's assertions.";
  walk.trace.learned(`refused as it must be: ${expectOAuthError(answer, 400, "invalid_grant", hint)}`);
  walk.trace.learned("its jti was used, on every replica; the next access token takes another assertion");
}

/** Of what the demo's issuers answer. @throws StepFailure that says who should be there */
export async function askDemo(walk: Walk, request: RequestToSend, instead: string): Promise<Answer> {
  return walk.send(request).catch((error: unknown) => {
    if (!(error instanceof StepFailure)) throw error;
    const hint = `Only the demo has an issuer there. For another server: ${instead}=… npm run walkthrough -- --as …`;
    throw new StepFailure({ expected: error.expected, came: error.came, hint });
  });
}

/** What a JWT says, for people: its type, and these claims. @returns all of them */
export function explain(
  jwt: string,
  claims: Readonly<Record<string, string>>,
  trace: Trace,
): Readonly<Record<string, unknown>> {
  const { header, payload } = decoded(jwt);
  trace.learned(`its header: typ ${header.typ ?? "none"}, alg ${header.alg}`);
  for (const [claim, meaning] of Object.entries(claims))
    if (payload[claim] !== undefined) trace.learned(`${claim} ${inWords(payload[claim])}: ${meaning}`);
  if (payload.exp !== undefined && payload.iat !== undefined)
    trace.learned(`good for ${payload.exp - payload.iat} s`);
  return payload;
}

function decoded(jwt: string) {
  try {
    return { header: decodeProtectedHeader(jwt), payload: decodeJwt(jwt) };
  } catch (error) {
    throw new StepFailure({
      expected: "a signed JWT",
      came: `something else: ${error instanceof Error ? error.message : error}`,
      hint: "An assertion has three parts with dots between them; copy all of it.",
    });
  }
}

function inWords(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
