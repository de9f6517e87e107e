/** A backend over Streamable HTTP, on undici: what came is sent on as it came, and what it answers is passed on. */
import type { IncomingHttpHeaders } from "node:http";
import type { Dispatcher } from "undici";
import type { Caller } from "../../resource/caller.ts";
import { AnswerBody } from "./answer-body.ts";
import { type Backend, type BackendAnswer, BackendError, isEventStream } from "./backend.ts";
import type { HttpReach } from "./backend-settings.ts";

export interface HttpBackendOptions
  extends Omit<HttpReach, "audience" | "identity" | "health" | "maxAnswerBytes"> {
  name: string;
  /**
   * Headers that tell it who is calling: they replace whatever else has their names.
   * @throws what {@link getAccessTokenFor} throws
   */
  identity(caller: Caller): Promise<Readonly<Record<string, string>>>;
  /** It answered 401 to these. */
  identityRefused?(caller: Caller, headers: Readonly<Record<string, string>>): Promise<void>;
  /** Headers by which it continues the trace of the request that is being served. */
  traceHeaders(): Readonly<Record<string, string>>;
  /** Seconds since the epoch. */
  now(): number;
}

/** What a client may be told. */
const ANSWERED = ["content-type", "mcp-session-id", "allow"];
/** It would be a challenge of ours (401, 403, 407), or lead a client around us (3xx). */
const isRefusal = (status: number) => (status >= 300 && status < 400) || [401, 403, 407].includes(status);
const CONNECT_MS = 10_000;

export function httpBackend(options: HttpBackendOptions): Backend {
  const { name, url, headers, timeoutSeconds, identity, traceHeaders, now } = options;
  const { origin, pathname, search } = new URL(url);
  const path = pathname + search;
  const timeoutMs = timeoutSeconds * 1_000;
  // Half a second of loading, for those who have a backend.
  const opened = import("undici").then(
    ({ Agent }) =>
      new Agent({
        connect: { timeout: Math.min(CONNECT_MS, timeoutMs) },
        headersTimeout: timeoutMs,
        // Streams are silent for as long as they like.
        bodyTimeout: 0,
      }),
  );

  return {
    name,
    async send(request): Promise<BackendAnswer> {
      const agent = await opened;
      const identified = request.caller === undefined ? undefined : await identity(request.caller);
      const exchange = new Exchange(request.signal, timeoutSeconds);
      const sent = {
        origin,
        path,
        method: request.method,
        headers: {
          ...request.headers,
          "accept-encoding": "identity",
          ...traceHeaders(),
          ...headers,
          ...identified,
        },
        body: request.body ?? null,
        idempotent: false,
      };
      // Neither follows redirects nor tries again.
      agent.dispatch(sent, exchange);
      const { status, headers: received, body } = await exchange.answer;
      const retryAfterSeconds = retryAfter(received["retry-after"], now());
      const refuse = (reason: BackendError["reason"], message: string) => {
        body.destroy();
        return new BackendError(reason, message, { retryAfterSeconds });
      };
      if (status === 401 && request.caller !== undefined && identified !== undefined)
        await options.identityRefused?.(request.caller, identified).catch(() => {}); // an outage: it is kept
      if (isRefusal(status))
        throw refuse("backend_refused", `It answered ${status}${leadingTo(received.location, url)}.`);
      if (status === 503) throw refuse("backend_busy", "It answered 503.");
      if (status >= 500) throw refuse("backend_answer_unusable", `It answered ${status}.`);
      if ((received["content-encoding"] ?? "identity") !== "identity")
        throw refuse("backend_answer_unusable", "It compressed its answer, which nobody asked for.");
      const passed = passedOn(received);
      if (retryAfterSeconds !== undefined) passed["retry-after"] = String(retryAfterSeconds);
      // A stream may be silent for as long as its call takes; everything else has to come to an end.
      if (isEventStream({ status, headers: passed })) exchange.hasTime();
      return { status, headers: passed, body };
    },
    close: async () => (await opened).destroy(),
  };
}

interface Received {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: AnswerBody;
}

/** One request and its answer: the backend is told by hanging up when it is aborted, or its time is over. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly answer: Promise<Received>;
  readonly #body: AnswerBody;
  readonly #signal: AbortSignal;
  readonly #timeoutSeconds: number;
  readonly #timer: NodeJS.Timeout;
  readonly #aborted = () => this.#stop(this.#signal.reason);
  #controller: Dispatcher.DispatchController | undefined;
  #stopped: Error | undefined;
  #resolve!: (received: Received) => void;
  #reject!: (error: Error) => void;
  #hasBegun = false;

  constructor(signal: AbortSignal, timeoutSeconds: number) {
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#body = new AnswerBody({
      pause: () => this.#controller?.pause(),
      resume: () => this.#controller?.resume(),
      // Not while undici is giving something.
      stop: () => queueMicrotask(() => this.#hangUp(new Error("Nobody takes the rest of it."))),
    });
    this.#signal = signal;
    this.#timeoutSeconds = timeoutSeconds;
    // Beside undici's own, which each interim answer (RFC 9110 §15.2) would begin anew.
    this.#timer = setTimeout(() => this.#late(), timeoutSeconds * 1_000);
    if (signal.aborted) this.#aborted();
    else signal.addEventListener("abort", this.#aborted, { once: true });
  }

  /** However long the rest of it takes. */
  hasTime(): void {
    clearTimeout(this.#timer);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // Before there was a connection for it.
    if (this.#stopped !== undefined) controller.abort(this.#stopped);
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return;
    this.#hasBegun = true;
    this.#timer.refresh();
    this.#resolve({ status, headers, body: this.#body });
  }

  onResponseData(_: Dispatcher.DispatchController, bytes: Buffer): void {
    this.#body.push(bytes);
  }

  onResponseEnd(): void {
    this.#settle();
    this.#body.end();
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#settle();
    if (this.#hasBegun) this.#body.fail(error);
    else this.#fail(error);
  }

  #late(): void {
    const what = this.#hasBegun ? "Its answer had no end" : "It gave no answer";
    this.#stop(new BackendError("backend_too_slow", `${what} within ${this.#timeoutSeconds} seconds.`));
  }

  #stop(why: Error): void {
    this.#hangUp(why);
    if (this.#hasBegun) this.#body.destroy(why);
    else this.#fail(why);
  }

  #fail(why: Error): void {
    this.#reject(why instanceof BackendError ? why : problemOf(why));
  }

  #hangUp(why: Error): void {
    this.#settle();
    this.#stopped = why;
    this.#controller?.abort(why);
  }

  #settle(): void {
    clearTimeout(this.#timer);
    this.#signal.removeEventListener("abort", this.#aborted);
  }
}

function passedOn(received: IncomingHttpHeaders): Record<string, string> {
  const passed: Record<string, string> = {};
  for (const name of ANSWERED) {
    const value = received[name];
    if (typeof value === "string") passed[name] = value;
  }
  return passed;
}

/** For its operator, who may have left out a slash. A query is not for the log. */
function leadingTo(location: unknown, from: string): string {
  if (typeof location !== "string" || !URL.canParse(location, from)) return "";
  const { origin, pathname } = new URL(location, from);
  return `, and leads to ${origin}${pathname.slice(0, 200)}`;
}

const MAX_RETRY_AFTER_SECONDS = 86_400;

/** RFC 9110 §10.2.3, in seconds; undefined for what is neither of its two forms. */
function retryAfter(said: unknown, now: number): number | undefined {
  if (typeof said !== "string") return undefined;
  const seconds = /^\d{1,9}$/.test(said) ? Number(said) : Math.ceil(Date.parse(said) / 1000) - now;
  return Number.isNaN(seconds) ? undefined : Math.min(Math.max(seconds, 0), MAX_RETRY_AFTER_SECONDS);
}

/** There was no connection, so nothing can have left. */
const WITHOUT_CONNECTION =
  /^(UND_ERR_CONNECT_TIMEOUT|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EADDRNOTAVAIL|EPROTO|ERR_TLS_.*|ERR_SSL_.*|CERT_.*|UNABLE_TO_.*|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN)$/;

/** What became of a request that got no answer. Where that is not certain, it may have been done. */
export function problemOf(cause: unknown): BackendError {
  const { code = "", name, message } = cause as { code?: string; name: string; message: string };
  const problem = (reason: BackendError["reason"]) => new BackendError(reason, message || code, { cause });
  if (code === "UND_ERR_HEADERS_TIMEOUT") return problem("backend_too_slow");
  if (name === "HTTPParserError" || code === "UND_ERR_HEADERS_OVERFLOW")
    return problem("backend_answer_unusable");
  return problem(WITHOUT_CONNECTION.test(code) ? "backend_unreachable" : "backend_broke_off");
}
