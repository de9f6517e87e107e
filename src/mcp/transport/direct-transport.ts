/**
 * The direct transport: one JSON-RPC request and its response, written by the SDK's protocol engine (`Server`) straight into
 * the HTTP response. The SDK's own HTTP handler, with its web `Request`, `Response` and streams, costs five times as much;
 * it still serves everything off this fast path, and decides what is invalid.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import {
  isJSONRPCRequest,
  isJSONRPCResponse,
  type JSONRPCMessage,
  type JSONRPCRequest,
  PerRequestHTTPServerTransport,
  PROTOCOL_VERSION_META_KEY,
  ProtocolErrorCode,
  type Server,
  SUPPORTED_PROTOCOL_VERSIONS,
  type TransportSendOptions,
} from "@modelcontextprotocol/server";
import { type Ending, errorMessage } from "../server/ending.ts";
import type { RunningCall, Serving } from "../server/running-calls.ts";
import type { ServerRequest } from "../server/server-requests.ts";
import { acceptedAnswers } from "./accepted.ts";
import { drained, event } from "./event-stream.ts";

/** A request whose headers and envelope agree in every detail, in one of the two protocol generations. */
export interface DirectRequest {
  readonly message: JSONRPCRequest;
  /** 2026-07-28, or none: the 2025 generation. */
  readonly revision?: string;
  /** The client takes no event stream. */
  readonly jsonOnly?: true;
}

/** The revision whose rules {@link isModern} knows. */
const MODERN = "2026-07-28";
/** Which parameter the `Mcp-Name` header repeats. */
const NAMED_BY: Readonly<Record<string, string>> = {
  "tools/call": "name",
  "prompts/get": "name",
  "resources/read": "uri",
};

/** Undefined for what the SDK's handler has to serve: it would not treat it as a single request, or may refuse it. */
export function directRequest(
  { method, headers }: Pick<IncomingMessage, "method" | "headers">,
  body: unknown,
): DirectRequest | undefined {
  const accepted = acceptedAnswers(headers.accept);
  if (method !== "POST" || accepted === "neither" || !isJSONRPCRequest(body)) return undefined;
  const request = { message: body, ...(accepted === "json" && { jsonOnly: true as const }) };
  const version = headers["mcp-protocol-version"];
  const isLegacy =
    version === undefined || (typeof version === "string" && SUPPORTED_PROTOCOL_VERSIONS.includes(version));
  const claimed = body.params?._meta?.[PROTOCOL_VERSION_META_KEY];
  if (claimed !== undefined) return isModern(body, headers) ? { ...request, revision: MODERN } : undefined;
  // The handshake has rules of its own.
  return isLegacy && body.method !== "initialize" ? request : undefined;
}

/** MCP 2026-07-28, Streamable HTTP: the headers repeat what the body says, to the letter. */
function isModern({ method, params }: JSONRPCRequest, headers: IncomingHttpHeaders): boolean {
  const named = NAMED_BY[method];
  return (
    // Discovery and subscriptions are the handler's own.
    /^(tools|resources|prompts)\//.test(method) &&
    params?._meta?.[PROTOCOL_VERSION_META_KEY] === MODERN &&
    headers["mcp-protocol-version"] === MODERN &&
    headers["mcp-method"] === method &&
    headers["mcp-name"] === (named === undefined ? undefined : params?.[named])
  );
}

export interface DirectTransportOptions {
  /** Watches over it. */
  running: Pick<RunningCall, "servedBy" | "doubt">;
  /** Answers a call that is stopped before anything was sent. */
  refuse(ending: Ending): void;
  /** Listens for the client to cancel its request; returns how to stop. */
  onCancelled(cancel: () => void): () => void;
  /** Called when the response is closed, if the handler answered: one whose client went away runs on, with all that it was given. */
  onOver(): void;
  /** Opens a server request to the client, which answers with a request of its own (2025 generation). */
  ask(): Promise<ServerRequest>;
  onerror(error: Error): void;
}

/**
 * @returns false if the engine refused the message before a handler saw it. Nothing is sent then: the SDK's handler
 * knows how that is said.
 */
export async function answerDirectly(
  { message, revision, jsonOnly }: DirectRequest,
  server: Server,
  res: ServerResponse,
  options: DirectTransportOptions,
): Promise<boolean> {
  const answer = new DirectAnswer(message.id, revision, res, { ...options, jsonOnly });
  server.onerror = options.onerror;
  await server.connect(answer.engineEnd);
  return answer.deliver(message);
}

/**
 * What the engine holds of an answer, until that is over. The engine assigns functions to properties of its transport, and V8 puts a
 * function that is written so among the old objects: all that it leads to would survive the collections of short-lived objects, which
 * took a tenth of a call's processor time (docs/performance.md).
 */
class EngineEnd extends PerRequestHTTPServerTransport {
  #answer: DirectAnswer | undefined;

  constructor(answer: DirectAnswer, revision: string | undefined) {
    super({ classification: revision === undefined ? { era: "legacy" } : { era: "modern", revision } });
    this.#answer = answer;
  }

  override async send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    await this.#answer?.send(message, options);
  }

  leave(): void {
    this.#answer = undefined;
  }
}

/**
 * JSON if the answer is all that is sent, or all that the client accepts; an event stream if a message comes before it.
 * Nothing is sent until that is known, so that a call which turns out to lack a scope can still be answered with HTTP 403.
 */
class DirectAnswer implements Serving {
  readonly engineEnd: EngineEnd;
  readonly #id: JSONRPCRequest["id"];
  readonly #revision: string | undefined;
  readonly #res: ServerResponse;
  readonly #options: DirectTransportOptions & { jsonOnly: true | undefined };
  readonly #stopListening: () => void;
  // Refusals of the engine come while the message is being delivered; handlers run after that.
  #delivering = false;
  #refused = false;
  #streaming = false;
  #over = false;
  /** By the handler, which is over then too. */
  #answered = false;
  /** The open server requests, by the engine's ids. */
  readonly #asked = new Map<unknown, ServerRequest>();

  constructor(
    id: JSONRPCRequest["id"],
    revision: string | undefined,
    res: ServerResponse,
    options: DirectTransportOptions & { jsonOnly: true | undefined },
  ) {
    this.engineEnd = new EngineEnd(this, revision);
    this.#id = id;
    this.#revision = revision;
    this.#res = res;
    this.#options = options;
    this.#stopListening = options.onCancelled(() => this.#cancel());
    options.running.servedBy(this);
    // Whoever went away needs no answer: what is running for them is aborted.
    res.once("close", () => {
      this.#stopListening();
      if (!this.#over) void this.engineEnd.close();
      this.#over = true;
      this.#dropQuestions();
      this.engineEnd.leave();
      if (this.#answered) options.onOver();
    });
  }

  deliver(message: JSONRPCRequest): boolean {
    if (this.#over) return true;
    this.#delivering = true;
    const revision = this.#revision;
    withoutStackTraces(() =>
      this.engineEnd.onmessage?.(
        message,
        revision === undefined ? {} : { classification: { era: "modern", revision } },
      ),
    );
    this.#delivering = false;
    if (this.#refused) this.#stopListening();
    return !this.#refused;
  }

  async send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (this.#delivering) {
      this.#refused = true;
      return;
    }
    if (this.#options.running.doubt !== undefined) await this.#options.running.doubt;
    if (this.#over) return;
    if ("result" in message || "error" in message) this.#answer(message);
    // Whatever belongs to no request has no stream to go to.
    else if (options?.relatedRequestId !== this.#id) return;
    else if (isJSONRPCRequest(message)) await this.#ask(message);
    else await this.#tell(message);
  }

  /** The engine counts its requests; the client's answer comes by itself, and must find its way back here. */
  async #ask(message: JSONRPCRequest): Promise<void> {
    if (this.#options.jsonOnly)
      throw new Error("This client takes no event stream (Accept), so it cannot be asked during a call.");
    const serverRequest = await this.#options.ask();
    this.#asked.set(message.id, serverRequest);
    if (this.#over) return this.#dropQuestions();
    await this.#options.running.doubt;
    await this.#write(event(JSON.stringify({ ...message, id: serverRequest.id })));
    void serverRequest.answer.then((answer) => {
      this.#asked.delete(message.id);
      if (answer !== undefined) this.engineEnd.onmessage?.(asResponse({ ...answer, id: message.id }));
    });
  }

  async #tell(message: JSONRPCMessage): Promise<void> {
    if (!("method" in message) || message.method !== "notifications/cancelled")
      return await this.#write(event(JSON.stringify(message)));
    // The engine cancels its server request; one that was not sent yet needs no cancellation.
    const serverRequest = this.#asked.get(message.params?.requestId);
    if (serverRequest === undefined) return;
    void serverRequest.drop();
    const params = { ...message.params, requestId: serverRequest.id };
    await this.#write(event(JSON.stringify({ ...message, params })));
  }

  keepAlive(): void {
    // A client that reads nothing has enough to read.
    if (!this.#res.writableNeedDrain) void this.#write(": keepalive\n\n");
  }

  end(ending: Ending): boolean {
    if (this.#over || !this.#streaming) return this.refuse(ending);
    this.#stop();
    this.#res.end(event(JSON.stringify(errorMessage(this.#id, ending))));
    return true;
  }

  refuse(ending: Ending): boolean {
    if (this.#over || this.#streaming) return false;
    this.#stop();
    this.#options.refuse(ending);
    return true;
  }

  /** MCP, Cancellation: the request itself is not answered. */
  #cancel(): void {
    if (this.#over) return;
    this.#stop();
    if (!this.#streaming) this.#res.statusCode = 202;
    this.#res.end();
  }

  /** Aborts what is running. What the client was asked needs no answer either. */
  #stop(): void {
    for (const { id } of this.#asked.values()) {
      const params = { requestId: id };
      void this.#write(event(JSON.stringify({ jsonrpc: "2.0", method: "notifications/cancelled", params })));
    }
    this.#over = true;
    this.#stopListening();
    void this.engineEnd.close();
    this.#dropQuestions();
  }

  #dropQuestions(): void {
    for (const serverRequest of this.#asked.values()) void serverRequest.drop();
  }

  #answer(message: JSONRPCMessage): void {
    this.#over = true;
    this.#answered = true;
    this.#stopListening();
    if (this.#streaming) this.#res.end(event(this.#textOf(message)));
    else {
      const text = this.#textOf(message);
      const headers = { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) };
      this.#res.writeHead(this.#statusOf(message), headers).end(text);
    }
  }

  /** MCP 2026-07-28 has one error of a handler that HTTP shall show: the client must declare more to be served. */
  #statusOf(message: JSONRPCMessage): number {
    const code = this.#revision !== undefined && "error" in message ? message.error.code : undefined;
    return code === ProtocolErrorCode.MissingRequiredClientCapability ? 400 : 200;
  }

  /** A tool may have returned what JSON cannot say; its caller must not wait for ever. */
  #textOf(message: JSONRPCMessage): string {
    try {
      return JSON.stringify(message);
    } catch (error) {
      this.#options.onerror(error as Error);
      const internal = { code: ProtocolErrorCode.InternalError, message: "Internal error" };
      return JSON.stringify({ jsonrpc: "2.0", id: this.#id, error: internal });
    }
  }

  async #write(text: string): Promise<void> {
    if (this.#over || this.#options.jsonOnly) return;
    if (!this.#streaming) {
      this.#streaming = true;
      this.#res.writeHead(200, {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
      });
    }
    if (!this.#res.write(text)) await drained(this.#res);
  }
}

/**
 * The engine tries each message as two kinds of answers first. What does not fit is an error with a stack trace that nobody reads, and
 * to collect these was a twentieth of a call. Handlers run later: what they throw has one.
 */
function withoutStackTraces(work: () => void): void {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    work();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** The engine drops an invalid result, and its caller would wait for ever. */
function asResponse(answer: { id: JSONRPCRequest["id"] }): JSONRPCMessage {
  if (isJSONRPCResponse(answer)) return answer;
  const error = { code: ProtocolErrorCode.InvalidRequest, message: "The answer is no JSON-RPC response." };
  return { jsonrpc: "2.0", id: answer.id, error };
}
