/** /mcp: both protocol generations, stateless, behind the scope check that answers HTTP 403 (MCP TypeScript SDK v2). */

import { AsyncLocalStorage } from "node:async_hooks";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type NodeIncomingMessageLike, toWebRequest } from "@modelcontextprotocol/node";
import { createMcpHandler, PROTOCOL_VERSION_META_KEY } from "@modelcontextprotocol/server";
import type { BodyBounds } from "../../http/body.ts";
import { requestFacts } from "../../http/request-facts.ts";
import { sendJson } from "../../http/send-json.ts";
import { OAuthError } from "../../oauth/errors.ts";
import type { Caller } from "../../resource/caller.ts";
import type { PlainAnswer } from "../../resource/protected-resource.ts";
import type { Message } from "../authoring/features.ts";
import { type Cancellations, cancelledRequest } from "../server/cancellations.ts";
import type { Ending } from "../server/ending.ts";
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
import { describeForLog, isChallenged, lackingFor, messages, requestIds } from "./gate.ts";
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
/** As Node has the names of headers that came. */
const SESSION_ID_SENT = "mcp-session-id";
/** Its answer is a stream without an end. */
const SUBSCRIPTION = "subscriptions/listen";

const HEADER_MISMATCH = -32_020; // MCP 2026-07-28

/** One for all endpoints: Node 20 asks every storage that was ever used at each promise that is made. */
const handling = new AsyncLocalStorage<ServedRequest>();

/** What was sent: a batch, and what is no message, has nothing of this. */
type Body = Message | undefined;

/** What is behind the bearer check. */
export function mcpEndpoint(options: McpEndpointOptions): PlainAnswer {
  const { features, log } = options;
  const onerror = (error: Error) =>
    log.debug({ reason: "mcp_request_rejected", cause: error.message.slice(0, 500) }, "MCP request rejected");
  const repeated = paramHeaders(features.tools);
  const makeServer = createServerFactory(options);
  // Silent streams are kept open by the sweep over all running calls.
  const handler = createMcpHandler(() => makeServer(handling.getStore() ?? {}), {
    legacy: "stateless",
    onerror,
    keepAliveMs: 0,
  });
  return async (req, res, authenticated) => {
    const read = await messageBody(req, res, options.bodies);
    if (read === "refused") return;
    const body = read?.value as Body;
    const said = messages(body);
    const addressed = said.flatMap((message) => features.addressedBy(message) ?? []);
    describeForLog(said[0], said[0] && features.addressedBy(said[0]), res);
    const { caller } = authenticated;
    if (said.some(isAnswer)) return await takeAnswer(body, res, caller, options);
    const cancelled = cancelledRequest(body);
    if (cancelled !== undefined) await passOnCancellation(cancelled, req, caller, options);
    const lacking = lackingFor(addressed, caller);
    if (lacking !== undefined && (await isChallenged(lacking, addressed, res, caller, options))) return;
    if (refusesParamHeaders(body, req, res, repeated)) return;
    // Who went away meanwhile needs nothing done.
    if (res.destroyed) return;
    const ids = requestIds(said);
    const refuse = (ending: Ending) => refuseStopped(res, ending, authenticated.caller, ids, options);
    const running =
      ids.length === 0 ? undefined : options.calls.begin(authenticated, addressed, res, ids.length);
    if (running === "grant" || running === "process") return refuseCrowded(res, running, ids);
    if (running?.doubt !== undefined) await running.doubt;
    if (res.destroyed) return;
    if (running?.ending !== undefined) return refuse(running.ending);
    const direct = directRequest(req, body);
    if (running !== undefined && direct !== undefined) {
      const conversation = converse(direct, req, caller, options);
      const served: ServedRequest = {
        method: direct.message.method,
        revision: direct.revision,
        running,
        clientCapabilities: conversation.clientCapabilities,
      };
      const engine = makeServer(served);
      // The engine may outlive it for a while (direct-transport.ts).
      const onOver = () => {
        served.running = undefined;
        served.clientCapabilities = undefined;
      };
      const answering = { ...conversation, running, refuse, onerror, onOver };
      if (await answerDirectly(direct, engine, res, answering)) return;
    }
    const answer = new WebAnswer(res, { running, ids, refuse });
    const request = await webRequest(req, body, answer.gone);
    const response = await handling.run({ running }, () => handled(req, body, request, handler));
    if (answer.gone.aborted) return;
    if (body?.method === "initialize" && response.ok)
      res.setHeader(SESSION_ID, options.sessionIds.issue(body.params?.capabilities, caller.principal));
    await answer.send(response);
    // Clients try GET at every connection, for a stream that nobody has to offer (MCP 2025-11-25, Streamable HTTP).
    if (res.statusCode === 405) requestFacts(res).reason ??= "wrong_method";
    if (res.statusCode >= 400) requestFacts(res).reason ??= "mcp_protocol_error";
  };
}

/**
 * Delivers a client's response to a server request.
 * @throws OAuthError if nobody waits for it, or it would get lost among other messages
 */
async function takeAnswer(
  body: Body,
  res: ServerResponse,
  { sessionKey }: Caller,
  { serverRequests }: McpEndpointOptions,
): Promise<void> {
  if (!isAnswer(body)) throw answerAmongOthers();
  if (!(await serverRequests.answer(sessionKey, body))) throw answerToNothing();
  res.statusCode = 202;
  res.end();
}

/** The message itself goes on to the SDK, which answers it. */
async function passOnCancellation(
  requestId: string | number,
  req: IncomingMessage,
  { sessionKey }: Caller,
  { cancellations }: McpEndpointOptions,
): Promise<void> {
  const sessionId = sessionIdIn(req);
  if (sessionId !== undefined) await cancellations.publish({ sessionKey, sessionId, requestId });
}

/** What a client of the 2025 generation can say, and be asked, while its call runs; one of 2026-07-28 hangs up. */
function converse(
  { message, revision, jsonOnly }: DirectRequest,
  req: IncomingMessage,
  caller: Caller,
  { serverRequests, cancellations, sessionIds }: McpEndpointOptions,
): Pick<DirectTransportOptions, "ask" | "onCancelled"> & Pick<ServedRequest, "clientCapabilities"> {
  const { sessionKey, principal } = caller;
  const ask = () => serverRequests.ask(sessionKey);
  const sessionId = revision === undefined ? sessionIdIn(req) : undefined;
  if (sessionId === undefined) return { ask, onCancelled: () => () => {} };
  const call = { sessionKey, sessionId, requestId: message.id };
  return {
    ask,
    onCancelled: (cancel) => cancellations.listen(call, cancel),
    // Who takes no event stream cannot be asked, whatever it said at the handshake.
    clientCapabilities: jsonOnly === true ? undefined : () => sessionIds.capabilitiesOf(sessionId, principal),
  };
}

function sessionIdIn({ headers }: IncomingMessage): string | undefined {
  return headers[SESSION_ID_SENT] as string | undefined;
}

async function handled(
  { headers }: IncomingMessage,
  body: Body,
  request: globalThis.Request,
  handler: ReturnType<typeof createMcpHandler>,
): Promise<globalThis.Response> {
  const accepted = acceptedAnswers(headers.accept);
  request.headers.set("accept", forHandler(accepted));
  const response = await handler.fetch(request, { parsedBody: body });
  return accepted === "json" && body?.method !== SUBSCRIPTION ? await withoutStream(response) : response;
}

/** @throws OAuthError for what HTTP allows and a web `Request` does not: odd methods, a Host that is none */
async function webRequest(
  req: IncomingMessage,
  body: unknown,
  gone: AbortSignal,
): Promise<globalThis.Request> {
  try {
    return await toWebRequest(req as NodeIncomingMessageLike, body, { signal: gone });
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
  body: Body,
  { headers }: IncomingMessage,
  res: ServerResponse,
  repeated: ReturnType<typeof paramHeaders>,
): boolean {
  if (body?.method !== "tools/call") return false;
  const { name, arguments: args, _meta: meta } = body.params ?? {};
  if ((meta as Record<string, unknown> | undefined)?.[PROTOCOL_VERSION_META_KEY] === undefined) return false;
  const message = disagreement(repeated.get(name as string) ?? [], args, headers);
  if (message === undefined) return false;
  requestFacts(res).reason = "param_header_mismatch";
  const error = { code: HEADER_MISMATCH, message };
  sendJson(res, 400, { jsonrpc: "2.0", error, id: body.id ?? null });
  return true;
}

/** MCP 2025-03-26 had batches. The SDK would accept a response in one, and deliver it to nobody. */
function answerAmongOthers(): OAuthError {
  return new OAuthError("invalid_request", "Send an answer by itself, not among other messages.", {
    reason: "answer_among_others",
  });
}
