/**
 * In front of a backend: in place of the endpoint that serves our own features. Every message is judged before anything leaves, and
 * the backend gets the bytes that were judged.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Audit } from "../../audit/audit.ts";
import type { BodyBounds } from "../../http/body.ts";
import { requestFacts } from "../../http/request-facts.ts";
import { sendJson } from "../../http/send-json.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import type { AuthenticatedRequest, Caller } from "../../resource/caller.ts";
import type { PlainAnswer } from "../../resource/protected-resource.ts";
import type { Log } from "../../runtime/log.ts";
import type { Message, UsedFeature } from "../authoring/features.ts";
import { type Backend, BackendError, type BackendRequest } from "../backends/backend.ts";
import type { BackendFeatures } from "../backends/backend-features.ts";
import { MAX_ID_LENGTH } from "../backends/json-scan.ts";
import { INVALID_PARAMS, METHOD_NOT_FOUND, REFUSED } from "../backends/own-answers.ts";
import { createTroubleLog } from "../backends/trouble-log.ts";
import { type Ending, errorMessage } from "../server/ending.ts";
import { auditOf, denial, denialInWords } from "../server/invoke.ts";
import type { RunningCall, RunningCalls } from "../server/running-calls.ts";
import type { ChallengeOptions } from "../server/server.ts";
import type { SessionIds } from "../server/session-id.ts";
import { agreesWithHeaders, isOfNoMethod, isStateless, LISTEN, passedHeaders } from "./backend-messages.ts";
import { type UsedByMessages, unwatchedMessages, usesOf } from "./backend-uses.ts";
import { describeForLog, isChallenged, lackingFor, requestIds } from "./gate.ts";
import { rawMessageBody } from "./message-body.ts";
import { PassedAnswer, wordsFor } from "./passed-answer.ts";
import { DRIFT_REASONS, type PinnedTools } from "./pinned-tools.ts";
import { type Challenge, RETRY_AFTER_SECONDS, refuseCrowded, refuseStopped } from "./refusals.ts";
import type { IsShown } from "./shown-lists.ts";
import { plainMessages, repeatsName } from "./unambiguous.ts";
import { isWithheld, refuseWithheld, withheldInAudit } from "./withheld.ts";

export interface BackendEndpointOptions extends Challenge, ChallengeOptions {
  backend: Backend;
  features: BackendFeatures;
  /** Absent: its tools are whatever it says. */
  pinned?: PinnedTools;
  maxAnswerBytes: number;
  /** Lists everything that the policy allows, also what lacks a scope. */
  listAll: boolean;
  calls: RunningCalls;
  sessionIds: SessionIds;
  bodies: Omit<BodyBounds, "holder">;
  audit: Audit;
  log: Log;
  /** Seconds, by a clock that nobody sets. */
  monotonicNow(): number;
  /** Runs and observes a request to the backend, until its answer has come. */
  observe(method: string, work: () => Promise<void>): Promise<void>;
}

const BOM = Buffer.from([0xef, 0xbb, 0xbf]);
const SESSION_ID = "mcp-session-id";
// JSON-RPC 2.0 §5.1
const INVALID_REQUEST = -32_600;
const HEADER_MISMATCH = -32_020; // MCP 2026-07-28

const TOOLS_CHANGED = "notifications/tools/list_changed";
const DRIFT_MESSAGE =
  "This tool is not as the operator of this server approved it, so it is not called. They can see what is different, and approve it.";

/** A message that goes no further. */
interface Refused {
  code: number;
  reason: ReasonCode;
  message: string;
}

/** What came, as everybody reads it. */
interface GatedRequest {
  method: "POST" | "GET" | "DELETE";
  /** As they came; only of a POST. */
  bytes?: Buffer;
  said: readonly Message[];
  used: UsedByMessages;
}

/** A session at the backend. */
interface BackendSession {
  /** As the backend calls it … */
  id: string;
  /** … and as its client has it. */
  sealed: string;
}

/** The handlers behind the bearer check, in order. */
export function backendEndpoint(options: BackendEndpointOptions): PlainAnswer {
  const { backend, features, pinned, calls, audit, log, monotonicNow, listAll, maxAnswerBytes } = options;
  const trouble = createTroubleLog({ backend: backend.name, log, now: monotonicNow });
  const unwatched = unwatchedMessages();

  function refusalOf(message: Message, { permissions }: Caller): Refused | undefined {
    if (message.method === undefined || message.id === undefined) return undefined;
    if (isOfNoMethod(message))
      return {
        code: METHOD_NOT_FOUND,
        reason: "backend_method",
        message: "This server does not pass this method on.",
      };
    // Its result would be fetched by an id, of which nobody here knows whose it is.
    if (message.params?.task !== undefined)
      return {
        code: INVALID_PARAMS,
        reason: "backend_method",
        message: "This server passes no tasks on. Ask for the same without a task.",
      };
    const addressed = features.addressedBy(message);
    if (addressed === "unnamed")
      return {
        code: INVALID_PARAMS,
        reason: "backend_feature_unnamed",
        message: "There is no such feature here, or its operator did not say who may use it.",
      };
    for (const feature of addressed) {
      const decision = permissions.checkFeature(feature);
      if (!decision.allowed && decision.because === "policy")
        return { code: REFUSED, reason: "denied_by_policy", message: denialInWords(decision, feature) };
    }
    return undefined;
  }

  /** True if one of them is refused: then all are, because they would leave together. */
  function refusesSome(said: readonly Message[], res: ServerResponse, caller: Caller): boolean {
    const refusals = said.map((message) => refusalOf(message, caller));
    const first = refusals.find((each) => each !== undefined);
    if (first === undefined) return false;
    for (const message of said) {
      const addressed = features.addressedBy(message);
      for (const feature of addressed === "unnamed" ? [] : addressed) {
        const decision = caller.permissions.checkFeature(feature);
        if (!decision.allowed) audit({ ...auditOf(feature, caller), ...denial(decision) });
      }
    }
    answerRefused(said, refusals, first, res);
    return true;
  }

  /** A call names a tool alone: whether that is still the one that was approved, its backend may have to be asked. */
  async function refusesDrifted(
    { said, used }: GatedRequest,
    res: ServerResponse,
    caller: Caller,
  ): Promise<boolean> {
    const tools = used.filter(({ feature }) => feature.kind === "tool");
    if (pinned === undefined || tools.length === 0) return false;
    try {
      const refused = new Map<unknown, Refused>();
      for (const { id, feature } of tools) {
        const drift = await pinned.refusalOf(feature.name, caller);
        if (drift === undefined) continue;
        const reason = DRIFT_REASONS[drift];
        audit({ ...auditOf(feature, caller), decision: "deny", reason });
        refused.set(id, { code: REFUSED, reason, message: DRIFT_MESSAGE });
      }
      const [first] = refused.values();
      if (first === undefined) return false;
      const refusals = said.map(({ id, method }) => (method === undefined ? undefined : refused.get(id)));
      answerRefused(said, refusals, first, res);
    } catch (error) {
      if (isWithheld(error)) {
        for (const { feature } of tools) audit({ ...auditOf(feature, caller), ...withheldInAudit(error) });
        await refuseWithheld(error, said, res, caller, options);
      } else if (error instanceof BackendError) refuseBackend(res, error, requestIds(said));
      else throw error;
    }
    return true;
  }

  function answerRefused(
    said: readonly Message[],
    refusals: ReadonlyArray<Refused | undefined>,
    first: Refused,
    res: ServerResponse,
  ): void {
    requestFacts(res).reason = first.reason;
    // MCP 2026-07-28, Streamable HTTP. Before that, clients took 404 for the end of their session.
    const isUnknown = first.code === METHOD_NOT_FOUND && said.every(isStateless);
    const errors = said.flatMap(({ id, method }, index) => {
      const why = refusals[index] ?? {
        code: REFUSED,
        reason: first.reason,
        message: "It was not sent, because another message of its batch is refused. Send it by itself.",
      };
      const { code, message, reason } = why;
      const error = { jsonrpc: "2.0", id, error: { code, message, data: { reason } } };
      return id === undefined || method === undefined ? [] : [error];
    });
    sendJson(res, isUnknown ? 404 : 200, errors.length === 1 && said.length === 1 ? errors[0] : errors);
  }

  const shownTo =
    ({ permissions }: Caller): IsShown =>
    (kind, name, text) => {
      const isPinned = pinned !== undefined && kind === "tool" && typeof name === "string";
      if (isPinned && !pinned.mayBeShown(name, text())) return false;
      const feature = features.feature(kind, name);
      const decision = feature && permissions.checkFeature(feature);
      return decision?.allowed === true || (listAll && decision?.because === "scopes");
    };

  return async (req, res, authenticated) => {
    const request = await readRequest(req, res);
    if (request === undefined) return;
    const { said, used } = request;
    const { caller } = authenticated;
    const session = sessionOf(req, caller);
    if (session === "unknown")
      return refuseUnread(res, 404, REFUSED, {
        reason: "backend_session_unknown",
        message: "This session is not yours, or has ended: initialize a new one.",
      });
    if (session === undefined && concernsSession(request)) return answerOutsideOfSession(request, res);
    if (refusesSome(said, res, caller)) return;
    const addressed = used.map(({ feature }) => feature);
    const lacking = lackingFor(addressed, caller);
    if (lacking !== undefined && (await isChallenged(lacking, addressed, res, caller, options))) return;
    // Who went away meanwhile needs nothing done.
    if (res.destroyed) return;
    const running = begun(request, addressed, res, authenticated);
    if (running === undefined) return;
    const isStopped = () => stopped(running, request, res, authenticated);
    if ((await isStopped()) || (await refusesDrifted(request, res, caller)) || (await isStopped())) return;
    await passOn(request, req, res, authenticated, session, running);
  };

  /** Its places, for as long as the response is open; undefined if there are none, which was answered. */
  function begun(
    { method, said }: GatedRequest,
    addressed: readonly UsedFeature[],
    res: ServerResponse,
    authenticated: AuthenticatedRequest,
  ): RunningCall | undefined {
    const ids = requestIds(said);
    const places = method === "GET" ? 1 : ids.length;
    const { sessionKey } = authenticated.caller;
    const running =
      places > 0 || unwatched.begin(sessionKey, res)
        ? calls.begin(authenticated, addressed, res, places)
        : "grant";
    if (running !== "grant" && running !== "process") return running;
    refuseCrowded(res, running, ids);
    return undefined;
  }

  /** Its session has ended, which it is told, or nobody waits for it any more. */
  async function stopped(
    running: RunningCall,
    { said }: GatedRequest,
    res: ServerResponse,
    authenticated: AuthenticatedRequest,
  ): Promise<boolean> {
    if (running.doubt !== undefined) await running.doubt;
    if (res.destroyed) return true;
    if (running.ending !== undefined) refuseEnded(running.ending, said, res, authenticated);
    return running.ending !== undefined;
  }

  function refuseEnded(
    ending: Ending,
    said: readonly Message[],
    res: ServerResponse,
    { caller }: AuthenticatedRequest,
  ): void {
    requestFacts(res).reason = ending.reason;
    refuseStopped(res, ending, caller, requestIds(said), options);
  }

  /** Undefined: nobody could say for certain what it is. Then it was refused. */
  async function readRequest(req: IncomingMessage, res: ServerResponse): Promise<GatedRequest | undefined> {
    const { method } = req;
    if (method !== "POST" && method !== "GET" && method !== "DELETE")
      return refuseMethod(res, "POST, GET, DELETE");
    if (method !== "POST")
      return agreesWithHeaders(req, [], []) ? { method, said: [], used: [] } : refuseMismatch(res, []);
    const read = await rawMessageBody(req, res, options.bodies);
    if (read === undefined) return undefined;
    const { value } = read;
    // RFC 8259 §8.1: it was left out of what was judged, and not every parser knows it.
    const bytes = read.bytes.subarray(BOM.equals(read.bytes.subarray(0, BOM.length)) ? BOM.length : 0);
    const said = repeatsName(bytes.toString("utf8")) ? undefined : plainMessages(value);
    if (said === undefined)
      return refuseUnread(res, 400, INVALID_REQUEST, {
        reason: "ambiguous_message",
        message: `Send JSON-RPC 2.0 messages in which every name comes once, and is spelled as MCP has it; an id has at most ${MAX_ID_LENGTH} characters.`,
      });
    const used = usedBy(said);
    describeForLog(said[0], used[0]?.feature, res);
    return agreesWithHeaders(req, said, used) ? { method, bytes, said, used } : refuseMismatch(res, said);
  }

  /** The same feature of two messages is one. */
  function usedBy(said: readonly Message[]): GatedRequest["used"] {
    const known = new Map<string, UsedFeature>();
    return said.flatMap((message) => {
      const addressed = features.addressedBy(message);
      if (addressed === "unnamed") return [];
      return addressed.map((found) => {
        const key = `${found.kind} ${found.name}`;
        const feature = known.get(key) ?? found;
        known.set(key, feature);
        return { id: message.id, feature };
      });
    });
  }

  function sessionOf(req: IncomingMessage, caller: Caller): BackendSession | "unknown" | undefined {
    const sealed = req.headers[SESSION_ID];
    if (typeof sealed !== "string") return undefined;
    const id = options.sessionIds.open(sealed, backend.name, caller);
    return id === undefined ? "unknown" : { id, sealed };
  }

  async function passOn(
    { method, bytes, said, used }: GatedRequest,
    req: IncomingMessage,
    res: ServerResponse,
    authenticated: AuthenticatedRequest,
    session: BackendSession | undefined,
    running: RunningCall,
  ): Promise<void> {
    const { caller } = authenticated;
    const uses = usesOf(used, caller, audit);
    const passed = new PassedAnswer(res, {
      running,
      // Whoever listens takes the end of the stream for what it is (MCP 2026-07-28), and an error for a refusal.
      ids: requestIds(said.filter(({ method: asked }) => asked !== LISTEN)),
      isShown: shownTo(caller),
      onlyUnambiguous: pinned !== undefined,
      maxBytes: maxAnswerBytes,
      isInSession: session !== undefined,
      refuse: (ending) => refuseEnded(ending, said, res, authenticated),
      onAnswer: uses.answered,
      onNotification: (method) => {
        if (method === TOOLS_CHANGED) pinned?.changed();
      },
    });
    const headers = {
      ...passedHeaders(req),
      // Not as the client has it: in another charset, which some would believe, the bytes are another message.
      ...(bytes && { "content-type": "application/json" }),
      ...(session && { [SESSION_ID]: session.id }),
    };
    const sent = { method, headers, ...(bytes && { body: bytes }), caller, signal: passed.gone };
    try {
      await options.observe(method, () => askedAndAnswered(sent, passed, session, res));
      trouble.answered();
      uses.over(running, undefined);
    } catch (error) {
      if (passed.gone.aborted) return uses.over(running, "client_gone");
      if (isWithheld(error)) {
        uses.withheld(error);
        return await refuseWithheld(error, said, res, authenticated.caller, options);
      }
      if (!(error instanceof BackendError)) throw error;
      uses.over(running, error.reason);
      trouble.failed(error);
      refuseBackend(res, error, requestIds(said));
    }
  }

  /** @throws BackendError; what {@link isWithheld} knows; AbortError if nobody waits for it any more */
  async function askedAndAnswered(
    request: BackendRequest & { caller: Caller },
    passed: PassedAnswer,
    session: BackendSession | undefined,
    res: ServerResponse,
  ): Promise<void> {
    try {
      const answer = await backend.send(request);
      if (answer.status >= 400) requestFacts(res).reason ??= "mcp_protocol_error";
      await passed.send({ ...answer, headers: withOwnSession(answer.headers, session, request.caller) });
    } finally {
      // Whatever became of it: nobody waited for it any more.
      passed.gone.throwIfAborted();
    }
  }

  /** The id of a backend's session is sealed for whom it was given to. It stays the same for as long as it lives. */
  function withOwnSession(
    headers: Readonly<Record<string, string>>,
    session: BackendSession | undefined,
    caller: Caller,
  ): Readonly<Record<string, string>> {
    const { [SESSION_ID]: given, ...others } = headers;
    if (given === undefined) return others;
    const sealed =
      given === session?.id ? session.sealed : options.sessionIds.seal(given, backend.name, caller);
    return { ...others, [SESSION_ID]: sealed };
  }

  function refuseBackend(res: ServerResponse, error: BackendError, ids: readonly unknown[]): void {
    const { reason, status, retryAfterSeconds = RETRY_AFTER_SECONDS } = error;
    requestFacts(res).reason = reason;
    if (res.headersSent) return;
    if (status === 503) res.setHeader("Retry-After", String(retryAfterSeconds));
    const errors = ids.map((id) => errorMessage(id, wordsFor(error)));
    sendJson(res, status, errors.length > 1 ? errors : (errors[0] ?? errorMessage(null, wordsFor(error))));
  }
}

/** What belongs to a call, or a stream, of which only its session says whose it is. */
const OF_SESSION: ReadonlySet<unknown> = new Set(["notifications/cancelled", "notifications/progress"]);

/**
 * In no session the ids of calls, questions and events are anybody's: one caller would cancel another's call, answer their question,
 * or hear what is meant for them.
 */
function concernsSession({ method, said }: GatedRequest): boolean {
  return (
    method !== "POST" ||
    said.some((message) => message.method === undefined || OF_SESSION.has(message.method))
  );
}

function answerOutsideOfSession({ method, said }: GatedRequest, res: ServerResponse): void {
  if (method !== "POST") return void refuseMethod(res, "POST");
  // A cancellation is never answered: whoever sends it waits for nothing any more.
  if (said.every((message) => OF_SESSION.has(message.method))) {
    res.statusCode = 202;
    return void res.end();
  }
  refuseUnread(res, 400, INVALID_REQUEST, {
    reason: "answer_to_nothing",
    message: "Nobody waits for this answer: it belongs to no session.",
  });
}

function refuseMethod(res: ServerResponse, allowed: string): undefined {
  requestFacts(res).reason = "wrong_method";
  res.statusCode = 405;
  res.setHeader("Allow", allowed);
  res.end();
}

/** For a message of which nobody knows what it is, or whose session there is not. */
function refuseUnread(
  res: ServerResponse,
  status: number,
  code: number,
  { reason, message }: Omit<Refused, "code">,
  id: Message["id"] = null,
): undefined {
  requestFacts(res).reason = reason;
  sendJson(res, status, { jsonrpc: "2.0", id, error: { code, message, data: { reason } } });
}

function refuseMismatch(res: ServerResponse, [message]: readonly Message[]): undefined {
  const why = {
    reason: "param_header_mismatch",
    message: "The headers Mcp-Method and Mcp-Name do not say what the message says.",
  } as const;
  refuseUnread(res, 400, HEADER_MISMATCH, why, message?.id);
}
