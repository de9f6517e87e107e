/**
 * Multi-round-trip calls: what a call asks for goes to the client, and the call runs again with the answers. A client of
 * 2026-07-28 gets the requests as its result and calls again; one of the 2025 generation is asked while its request waits.
 */
import { randomUUID } from "node:crypto";
import {
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  type InputRequest,
  type InputRequests,
  type InputRequiredResult,
  PROTOCOL_VERSION_META_KEY,
  ProtocolError,
  ProtocolErrorCode,
  SdkError,
  SdkErrorCode,
  type ServerContext,
  inputRequired as wire,
} from "@modelcontextprotocol/server";
import { OAuthError } from "../../oauth/errors.ts";
import { currentCaller } from "../../resource/access-token-context.ts";
import type { Feature } from "../authoring/features.ts";
import { InputRequired } from "../authoring/input-required.ts";
import { type RequestContext, ToolError } from "../authoring/request-context.ts";
import { failedUnexpectedly, type Invoked, type InvokeOptions } from "./invoke.ts";
import type { LogLevels } from "./log-level.ts";
import type { CallIdentity, RequestStates } from "./request-state.ts";
import type { ServedRequest } from "./served-request.ts";
import { ANSWER_SECONDS } from "./server-requests.ts";

type McpRequest = ServerContext["mcpReq"];

export interface MultiRoundTripOptions extends Pick<InvokeOptions, "log"> {
  states: RequestStates;
  logLevels: LogLevels;
}

const MAX_ROUNDS = 8;

/**
 * Runs `use` until it has an answer, or for a client of 2026-07-28 until it asks.
 * @throws ProtocolError for a state that this server did not give for this call, or not lately
 */
export async function multiRoundTrip<Result extends object>(
  feature: Feature,
  args: unknown,
  request: McpRequest,
  served: Pick<ServedRequest, "clientCapabilities">,
  { states, logLevels, log }: MultiRoundTripOptions,
  use: (call: RequestContext) => Promise<Invoked<Result | InputRequired>>,
): Promise<Invoked<Result | InputRequiredResult>> {
  const { sessionKey } = currentCaller("multiRoundTrip");
  const identity: CallIdentity = { sessionKey, feature, args };
  const isLegacy = envelopeOf(request)[PROTOCOL_VERSION_META_KEY] === undefined;
  const callWith = calls(request, isLegacy, sessionKey, served, logLevels);
  let call = callWith(isLegacy ? {} : answersBrought(request, states, identity));

  for (let round = 1; ; round++) {
    const used = await use(call);
    if ("failed" in used) return used;
    const { result } = used;
    if (!(result instanceof InputRequired)) return { result };
    const { inputRequests, state } = result;
    if (!isLegacy) {
      const requestState = state === undefined ? {} : { requestState: states.seal(state, identity) };
      return { result: wire({ inputRequests, ...requestState }) };
    }
    if (round === MAX_ROUNDS)
      return { failed: `${feature.name} asked ${MAX_ROUNDS} times; that is too often.` };
    try {
      const inputResponses = await ask(inputRequests, request, call.clientCapabilities);
      call = callWith({ inputResponses, state });
    } catch (error) {
      // Ours are written for people: what the client cannot answer, an outage of the store.
      if (error instanceof ToolError || error instanceof OAuthError) return { failed: error.message };
      request.signal.throwIfAborted(); // the client is gone
      return failedUnexpectedly(feature, error, log);
    }
  }
}

type Answers = Pick<RequestContext, "inputResponses" | "state">;

/** The call of each round, with what its client answered. */
function calls(
  request: McpRequest,
  isLegacy: boolean,
  sessionKey: string,
  served: Pick<ServedRequest, "clientCapabilities">,
  logLevels: LogLevels,
): (answers: Answers) => RequestContext {
  const { signal, notify, _meta } = request;
  const progressToken = _meta?.progressToken;
  let wanted: ReturnType<LogLevels["filter"]> | undefined;
  const same = {
    signal,
    async progress(progress, total, message) {
      if (progressToken === undefined) return; // nobody asked for it
      const params = {
        progressToken,
        progress,
        ...(total !== undefined && { total }),
        ...(message !== undefined && { message }),
      };
      await notify({ method: "notifications/progress", params }).catch(unlessGone);
    },
    async log(level, data) {
      if (!isLegacy) return await request.log(level, data).catch(unlessGone); // each request says which level it wants
      wanted ??= logLevels.filter(sessionKey);
      const wants = await wanted;
      if (!wants(level)) return;
      await notify({ method: "notifications/message", params: { level, data } }).catch(unlessGone);
    },
  } satisfies Partial<RequestContext>;
  return (answers) => {
    const said = isLegacy ? undefined : envelopeOf(request)[CLIENT_CAPABILITIES_META_KEY];
    const call: RequestContext = { ...same, ...answers, clientCapabilities: said ?? {} };
    if (!isLegacy || served.clientCapabilities === undefined) return call;
    // Only for whoever asks: most calls do not, and opening a session id takes its time.
    const ifAsked = { get: capabilitiesOf(served), enumerable: true, configurable: true };
    return Object.defineProperty(call, "clientCapabilities", ifAsked);
  };
}

/** By itself, because it must lead to nothing else of the call: V8 has accessors among the old objects (see direct-transport.ts). */
function capabilitiesOf(served: Pick<ServedRequest, "clientCapabilities">): () => ClientCapabilities {
  return () => served.clientCapabilities?.() ?? {};
}

/** Ignores the error for a client that went away: unhandled, in a tool that does not await it, it would end the process. */
function unlessGone(error: unknown): void {
  if (!(error instanceof SdkError && error.code === SdkErrorCode.NotConnected)) throw error;
}

/** The SDK has checked it, and does not say so in its types. */
function envelopeOf({ envelope = {} }: McpRequest) {
  return envelope as {
    [PROTOCOL_VERSION_META_KEY]?: string;
    [CLIENT_CAPABILITIES_META_KEY]?: ClientCapabilities;
  };
}

function answersBrought(request: McpRequest, states: RequestStates, identity: CallIdentity): Answers {
  const sealed = request.requestState();
  const opened = typeof sealed === "string" ? states.open(sealed, identity) : {};
  if (opened === undefined)
    throw new ProtocolError(ProtocolErrorCode.InvalidParams, "Invalid or expired requestState", {
      reason: "invalid_request_state",
    });
  const { inputResponses } = request;
  return { ...opened, ...(inputResponses && { inputResponses }) };
}

/** @throws ToolError in words for whoever called, if the client cannot be asked or does not answer */
async function ask(
  requests: InputRequests,
  { send, signal }: McpRequest,
  capabilities: ClientCapabilities,
): Promise<Record<string, unknown>> {
  for (const request of Object.values(requests)) {
    if (!canAnswer(request, capabilities))
      throw new ToolError(`This needs an answer from you that your client cannot give (${request.method}).`);
  }
  const failed = new AbortController();
  const options = { timeout: ANSWER_SECONDS * 1000, signal: AbortSignal.any([signal, failed.signal]) };
  try {
    const answers = Object.entries(requests).map(async ([key, request]) => {
      const { method, params } = inFormOf2025(request);
      return [key, await send({ method, ...(params && { params }) }, options)] as const;
    });
    return Object.fromEntries(await Promise.all(answers));
  } catch (error) {
    failed.abort(); // the other server requests need no answer
    // Only these come from the client, or from waiting for it; the words of any other are not for it.
    if (!(error instanceof ProtocolError || error instanceof SdkError)) throw error;
    throw new ToolError(`Your client did not answer: ${error.message}`, { cause: error });
  }
}

/** MCP 2025-11-25: a client that declares only `elicitation: {}` supports forms. */
function canAnswer(request: InputRequest, { elicitation, sampling, roots }: ClientCapabilities): boolean {
  if (request.method === "roots/list") return roots !== undefined;
  if (request.method === "sampling/createMessage")
    return sampling !== undefined && (request.params.tools === undefined || sampling.tools !== undefined);
  if (request.params.mode === "url") return elicitation?.url !== undefined;
  return elicitation !== undefined && (elicitation.form !== undefined || elicitation.url === undefined);
}

/** Which names the elicitation that a URL is for; later revisions do without. */
function inFormOf2025(request: InputRequest): InputRequest {
  if (request.method !== "elicitation/create" || request.params.mode !== "url") return request;
  return { ...request, params: { ...request.params, elicitationId: randomUUID() } } as InputRequest;
}
