/** /mcp: both protocol generations, stateless, behind the scope check that answers HTTP 403 (MCP TypeScript SDK v2). */

import { AsyncLocalStorage } from "node:async_hooks";
import { toWebRequest } from "@modelcontextprotocol/node";
import { createMcpHandler, PROTOCOL_VERSION_META_KEY } from "@modelcontextprotocol/server";
import type { Request, RequestHandler, Response } from "express";
import type { Denial } from "../../access/permissions.ts";
import { subjectOf } from "../../access/principal.ts";
import type { BodyBounds } from "../../http/body.ts";
import { requestFacts } from "../../http/request-facts.ts";
import { OAuthError } from "../../oauth/errors.ts";
import { strictest } from "../../oauth/required-authentication.ts";
import { union } from "../../oauth/scope.ts";
import {
  authenticatedRequest,
  authenticationProblem,
  type InsufficientAuthenticationError,
} from "../../resource/access-token-context.ts";
import { insufficientAuthentication, insufficientScope } from "../../resource/bearer-authentication.ts";
import type { Caller } from "../../resource/caller.ts";
import type { Feature, Message } from "../authoring/features.ts";
import { type Cancellations, cancelledRequest } from "../server/cancellations.ts";
import type { Ending } from "../server/ending.ts";
import { auditOf, denial } from "../server/invoke.ts";
import type { RunningCalls } from "../server/running-calls.ts";
import type { ServedRequest } from "../server/served-request.ts";
import { createServerFactory, type McpServerOptions } from "../server/server.ts";
import { isAnswer, type ServerRequests } from "../server/server-requests.ts";
import type { SessionIds } from "../server/session-id.ts";
import { acceptedAnswers, forHandler, withoutStream } from "./accepted.ts";
import {
  answerDirectly,
  type DirectRequest,
  type DirectTransportOptions,
  directRequest,
} from "./direct-transport.ts";
import { messageBody } from "./message-body.ts";
import { disagreement, paramHeaders } from "./param-headers.ts";
import { type Challenge, refuseCrowded, refuseStopped } from "./refusals.ts";
import { WebAnswer } from "./web-response.ts";

export interface McpEndpointOptions extends McpServerOptions, Challenge {
  calls: RunningCalls;
  serverRequests: ServerRequests;
  cancellations: Cancellations;
  sessionIds: SessionIds;
  bodies: Omit<BodyBounds, "holder">;
}

const SESSION_ID = "Mcp-Session-Id";
/** Its answer is a stream without an end. */
const SUBSCRIPTION = "subscriptions/listen";

const HEADER_MISMATCH = -32_020; // MCP 2026-07-28

/** The handlers behind the bearer check, in order. */
export function mcpEndpoint(options: McpEndpointOptions): RequestHandler[] {
  const { features, log } = options;
  const onerror = (error: Error) =>
    log.debug({ reason: "mcp_request_rejected", cause: error.message.slice(0, 500) }, "MCP request rejected");
  const repeated = paramHeaders(features.tools);
  const makeServer = createServerFactory(options);
  // Silent streams are kept open by the sweep over all running calls.
  const handling = new AsyncLocalStorage<ServedRequest>();
  const handler = createMcpHandler(() => makeServer(handling.getStore() ?? {}), {
    legacy: "stateless",
    onerror,
    keepAliveMs: 0,
  });
  return [
    messageBody(options.bodies),
    async (req, res) => {
      const said = messages(req.body);
      const addressed = said.flatMap((message) => features.addressedBy(message) ?? []);
      describeForLog(said[0], said[0] && features.addressedBy(said[0]), res);
      const authenticated = authenticatedRequest("mcp");
      const { caller } = authenticated;
      if (said.some(isAnswer)) return await takeAnswer(req, res, caller, options);
      const cancelled = cancelledRequest(req.body);
      if (cancelled !== undefined) await passOnCancellation(cancelled, req, caller, options);
      const lacking = lackingFor(addressed, caller);
      if (lacking !== undefined && (await isChallenged(lacking, addressed, res, caller, options))) return;
      if (refusesParamHeaders(req, res, repeated)) return;
      // Who went away meanwhile needs nothing done.
      if (res.destroyed) return;
      const ids = requestIds(said);
      const refuse = (ending: Ending) => refuseStopped(res, ending, authenticated.caller, ids, options);
      const running =
        ids.length === 0 ? undefined : options.calls.begin(authenticated, addressed, res, ids.length);
      if (running === "grant" || running === "process") return refuseCrowded(res, running, ids);
      if (running?.doubt !== undefined) await running.doubt;
      if (running?.ending !== undefined) return refuse(running.ending);
      const direct = directRequest(req);
      if (running !== undefined && direct !== undefined) {
        const conversation = converse(direct, req, caller, options);
        const { clientCapabilities } = conversation;
        const engine = makeServer({ revision: direct.revision, running, clientCapabilities });
        if (await answerDirectly(direct, engine, res, { ...conversation, running, refuse, onerror })) return;
      }
      const answer = new WebAnswer(res, { running, ids, refuse });
      const request = await webRequest(req, answer.gone);
      const response = await handling.run({ running }, () => handled(req, request, handler));
      if (answer.gone.aborted) return;
      if (req.body?.method === "initialize" && response.ok) issueSessionId(req, res, caller, options);
      await answer.send(response);
      // Clients try GET at every connection, for a stream that nobody has to offer (MCP 2025-11-25, Streamable HTTP).
      if (res.statusCode === 405) requestFacts(res).reason ??= "wrong_method";
      if (res.statusCode >= 400) requestFacts(res).reason ??= "mcp_protocol_error";
    },
  ];
}

/**
 * Delivers a client's response to a server request.
 * @throws OAuthError if nobody waits for it, or it would get lost among other messages
 */
async function takeAnswer(
  { body }: Request,
  res: Response,
  { sessionKey }: Caller,
  { serverRequests }: McpEndpointOptions,
): Promise<void> {
  if (!isAnswer(body)) throw answerAmongOthers();
  if (!(await serverRequests.answer(sessionKey, body))) throw answerToNothing();
  res.status(202).end();
}

/** The message itself goes on to the SDK, which answers it. */
async function passOnCancellation(
  requestId: string | number,
  req: Request,
  { sessionKey }: Caller,
  { cancellations }: McpEndpointOptions,
): Promise<void> {
  const sessionId = req.get(SESSION_ID);
  if (sessionId !== undefined) await cancellations.publish({ sessionKey, sessionId, requestId });
}

/** What a client of the 2025 generation can say, and be asked, while its call runs; one of 2026-07-28 hangs up. */
function converse(
  { message, revision, jsonOnly }: DirectRequest,
  req: Request,
  caller: Caller,
  { serverRequests, cancellations, sessionIds }: McpEndpointOptions,
): Pick<DirectTransportOptions, "ask" | "onCancelled"> & Pick<ServedRequest, "clientCapabilities"> {
  const { sessionKey, principal } = caller;
  const ask = () => serverRequests.ask(sessionKey);
  const sessionId = revision === undefined ? req.get(SESSION_ID) : undefined;
  if (sessionId === undefined) return { ask, onCancelled: () => () => {} };
  const call = { sessionKey, sessionId, requestId: message.id };
  return {
    ask,
    onCancelled: (cancel) => cancellations.listen(call, cancel),
    // Who takes no event stream cannot be asked, whatever it said at the handshake.
    clientCapabilities:
      jsonOnly === true ? undefined : () => sessionIds.capabilitiesOf(sessionId, subjectOf(principal)),
  };
}

function issueSessionId(
  { body }: Request,
  res: Response,
  { principal }: Caller,
  { sessionIds }: McpEndpointOptions,
): void {
  res.setHeader(SESSION_ID, sessionIds.issue(body.params?.capabilities, subjectOf(principal)));
}

async function handled(
  { headers, body }: Request,
  request: globalThis.Request,
  handler: ReturnType<typeof createMcpHandler>,
): Promise<globalThis.Response> {
  const accepted = acceptedAnswers(headers.accept);
  request.headers.set("accept", forHandler(accepted));
  const response = await handler.fetch(request, { parsedBody: body });
  return accepted === "json" && body?.method !== SUBSCRIPTION ? await withoutStream(response) : response;
}

/** @throws OAuthError for what HTTP allows and a web `Request` does not: odd methods, a Host that is none */
async function webRequest(req: Request, gone: AbortSignal): Promise<globalThis.Request> {
  try {
    return await toWebRequest(req, req.body, { signal: gone });
  } catch (cause) {
    throw new OAuthError("invalid_request", "The request line or the Host header is malformed.", {
      reason: "malformed_request",
      cause,
    });
  }
}

function answerToNothing(): OAuthError {
  return new OAuthError(
    "invalid_request",
    "Nobody waits for this answer: it came late, or was given before.",
    {
      reason: "answer_to_nothing",
    },
  );
}

/** A client of 2026-07-28 whose headers say other arguments than its message; true if it was answered so. */
function refusesParamHeaders(
  { body, headers }: Request,
  res: Response,
  repeated: ReturnType<typeof paramHeaders>,
): boolean {
  if (body?.method !== "tools/call" || body.params?._meta?.[PROTOCOL_VERSION_META_KEY] === undefined)
    return false;
  const message = disagreement(repeated.get(body.params.name) ?? [], body.params.arguments, headers);
  if (message === undefined) return false;
  requestFacts(res).reason = "param_header_mismatch";
  res.status(400).json({ jsonrpc: "2.0", error: { code: HEADER_MISMATCH, message }, id: body.id ?? null });
  return true;
}

/** MCP 2025-03-26 had batches. The SDK would accept a response in one, and deliver it to nobody. */
function answerAmongOthers(): OAuthError {
  return new OAuthError("invalid_request", "Send an answer by itself, not among other messages.", {
    reason: "answer_among_others",
  });
}

/** What of a message cannot be served yet, and why. */
interface Lacks {
  feature: Feature;
  /** Scopes are missing. */
  denial?: Denial;
  problem?: InsufficientAuthenticationError;
}

/** Undefined if nothing is lacking that a client could bring: what the policy denies is an error in the result. */
function lackingFor(addressed: readonly Feature[], { permissions }: Caller): Lacks[] | undefined {
  const found = [...new Set(addressed)].flatMap((feature): Lacks[] => {
    const decision = permissions.checkFeature(feature);
    if (!decision.allowed && decision.because === "policy") return [];
    const problem = feature.authentication && authenticationProblem(feature.authentication, "mcp");
    const lacks = {
      ...(!decision.allowed && { denial: decision }),
      ...(problem?.reason === "insufficient_user_authentication" && { problem }),
    };
    return "denial" in lacks || "problem" in lacks ? [{ feature, ...lacks }] : [];
  });
  return found.length > 0 ? found : undefined;
}

/**
 * Answers what lacks a scope before any protocol handling, as HTTP 403, and what needs another sign-in, as 401: the same in
 * both generations, and for what the lists do not show as well; true if it did. The SDK is handed this same parsed body, so
 * it cannot see another one.
 *
 * The challenge names everything granted and everything that is needed: a client that asks for exactly its scope must not lose
 * what it had. A user who has to sign in again does so once for both (RFC 9470 §3).
 */
async function isChallenged(
  lacking: readonly Lacks[],
  addressed: readonly Feature[],
  res: Response,
  caller: Caller,
  { resource, audit, mayChallenge }: McpEndpointOptions,
): Promise<boolean> {
  const missing = [...new Set(lacking.flatMap(({ denial }) => (denial && missingOf(denial)) ?? []))];
  const problems = lacking.flatMap(({ problem }) => problem ?? []);
  const required = strictest(problems.map((problem) => problem.required));
  const asksToSignIn = problems.length > 0 && (await mayChallenge(caller, required));
  if (missing.length === 0 && !asksToSignIn) return false;
  for (const { feature, denial: denied, problem } of lacking) {
    // One line of the audit log for all the calls of a batch.
    const calls = addressed.filter((each) => each === feature).length;
    const why = denied ? denial(denied) : ({ decision: "deny", reason: problem?.reason } as const);
    audit({ ...auditOf(feature, caller), ...why, ...(calls > 1 && { calls }) });
  }
  const scopes = union(caller.scopes, missing);
  const [problem] = problems;
  if (asksToSignIn && problem !== undefined)
    insufficientAuthentication(res, resource, scopes, { required, message: problem.message });
  else insufficientScope(res, resource, scopes, missing);
  return true;
}

function missingOf(denial: Denial): readonly string[] {
  return denial.because === "scopes" ? denial.missing : [];
}

/** Of what has to be answered. */
function requestIds(said: readonly Message[]): unknown[] {
  return said.flatMap(({ id, method }) =>
    id !== undefined && id !== null && method !== undefined ? [id] : [],
  );
}

function messages(body: unknown): Message[] {
  const isMessage = (each: unknown) => typeof each === "object" && each !== null;
  return (Array.isArray(body) ? body : [body]).filter(isMessage) as Message[];
}

function describeForLog(message: Message | undefined, feature: Feature | undefined, res: Response): void {
  if (typeof message?.method === "string") requestFacts(res).mcpMethod = message.method.slice(0, 64);
  const { name } = message?.params ?? {};
  if (message?.method === "tools/call" && typeof name === "string")
    requestFacts(res).tool = name.slice(0, 128);
  if (feature !== undefined) requestFacts(res)[feature.kind] = feature.name;
}
