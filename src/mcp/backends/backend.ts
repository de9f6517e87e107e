/**
 * A backend: an MCP server in any language that stays as it is, behind a protected resource of this one. It is spoken to in the
 * terms of Streamable HTTP.
 */
import type { Caller } from "../../resource/caller.ts";
import type { AnswerBody } from "./answer-body.ts";

/** A request of a caller whom the gate let through, or of ours. */
export interface BackendRequest {
  readonly method: "POST" | "GET" | "DELETE";
  /**
   * Of the client's headers those that a backend may see, names in lower case. Never `Authorization`, `Cookie`, what is
   * hop-by-hop, or what could be taken for an identity; `mcp-session-id` is the backend's own, not the client's.
   */
  readonly headers: Readonly<Record<string, string>>;
  /** The body as the client sent it, byte for byte. Absent for GET and DELETE. */
  readonly body?: Uint8Array;
  /** Absent: we ask, in nobody's name. */
  readonly caller?: Caller;
  /** Aborted when the client is gone, or the call was stopped: the backend is told within a second. */
  readonly signal: AbortSignal;
}

/** What a backend answers. */
export interface BackendAnswer {
  readonly status: number;
  /** Names in lower case; hop-by-hop headers are left out. */
  readonly headers: Readonly<Record<string, string>>;
  /** Read with backpressure; destroyed by whoever has read enough. It may fail half-way. */
  readonly body: AnswerBody;
}

/** The type alone, and no second one behind it: of two some take the last, which may be a page. */
export function isEventStream({ status, headers }: Omit<BackendAnswer, "body">): boolean {
  return status === 200 && /^text\/event-stream\s*(;[^,]*)?$/i.test(headers["content-type"] ?? "");
}

export interface Backend {
  /** In the log, metrics and traces. */
  readonly name: string;
  /** Those that are one here, each by what is before its names. */
  readonly servers?: ReadonlyMap<string, Backend>;
  /** @throws BackendError if there is no answer that a client could be given */
  send(request: BackendRequest): Promise<BackendAnswer>;
  /** Ends what it runs: connections, processes. */
  close(): Promise<void>;
}

/** Why a backend gave no usable answer: a reason for the log, and which status a client gets. */
export class BackendError extends Error {
  override name = "BackendError";
  /** 502: it is down, or what it says is no MCP; 503: there is no room for it; 504: it took too long (RFC 9110 §15.6). */
  readonly status: 502 | 503 | 504;
  readonly reason:
    | "backend_unreachable"
    /** The request had left: it may have been done. */
    | "backend_broke_off"
    | "backend_busy"
    | "backend_too_slow"
    | "backend_answer_unusable"
    | "backend_refused"
    | "backend_processes_used";

  /** When to come again, if it said so. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    reason: BackendError["reason"],
    message: string,
    options: ErrorOptions & { retryAfterSeconds?: number | undefined } = {},
  ) {
    super(message, options);
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.reason = reason;
    this.status = STATUS[reason] ?? 502;
  }
}

const STATUS: { readonly [Reason in BackendError["reason"]]?: BackendError["status"] } = {
  backend_busy: 503,
  backend_too_slow: 504,
  backend_processes_used: 503,
};
