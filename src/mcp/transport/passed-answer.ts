/** A backend's answer on its way to the client: as it came, but for what the caller may not see listed. */
import type { ServerResponse } from "node:http";
import { isJsonContentType } from "@modelcontextprotocol/server";
import { parseJson } from "../../oauth/json.ts";
import { type AnswerBody, drop } from "../backends/answer-body.ts";
import { type BackendAnswer, BackendError, isEventStream } from "../backends/backend.ts";
import type { ScannedMessage } from "../backends/json-scan.ts";
import { type Ending, errorMessage } from "../server/ending.ts";
import { type AnswerFilter, EventStreamFilter, jsonFilter } from "./answer-filter.ts";
import { drained } from "./event-stream.ts";
import type { IsShown } from "./shown-lists.ts";
import { WatchedAnswer, type WatchedAnswerOptions } from "./watched-answer.ts";

export interface PassedAnswerOptions extends WatchedAnswerOptions {
  isShown: IsShown;
  /** See {@link AnswerFilterOptions}. */
  onlyUnambiguous: boolean;
  maxBytes: number;
  /** Its client has a session there, without which it cannot ask for the rest of a stream. */
  isInSession: boolean;
  /** Called once for each id at most. */
  onAnswer(id: unknown, outcome: "ok" | "error"): void;
  /** What it says by itself. */
  onNotification(method: unknown): void;
}

/** By what its answer was judged, and nothing behind it: some clients look for a word in all of the header. */
const OF_JSON = { "content-type": "application/json" };
const OF_STREAMS = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};
const SESSION_ID = "mcp-session-id";
/** An answer that is not longer goes out as one text, in one write. */
const ONE_WRITE_BYTES = 16_384;

/** Its backend is told by hanging up when nobody waits for it any more. */
export class PassedAnswer extends WatchedAnswer {
  readonly #options: PassedAnswerOptions;
  /** Of a stream that has begun. */
  #stream: EventStreamFilter | undefined;
  #head: { readonly status: number; readonly headers: BackendAnswer["headers"] } | undefined;
  /** What came within this turn of the event loop leaves together: each write of its own costs as much as a short answer. */
  #gathered: Buffer[] = [];
  #leaving: NodeJS.Immediate | undefined;
  /** Whose answers are among it: they have not left. */
  #gatheredIds: unknown[] = [];
  /** Of an event a part has left. */
  #isCut = false;
  /** Something of it answers a request, whichever it is. */
  #answers = false;

  constructor(res: ServerResponse, options: PassedAnswerOptions) {
    super(res, options);
    this.#options = options;
  }

  /** @throws BackendError if it is none that could be passed on, and nothing was sent yet */
  async send({ status, headers, body }: BackendAnswer): Promise<void> {
    const type = headers["content-type"];
    try {
      if (isEventStream({ status, headers })) return await this.#events(headers, body);
      if (isJsonContentType(type)) return await this.#json(status, headers, body);
      drop(body);
      this.#headAlone(status, headers, type ?? "nothing");
      await this.#leave({ isLast: true });
    } catch (error) {
      body.destroy();
      // What came before belongs to a client that reads events, and to no JSON that will not end.
      if (this.#stream === undefined) this.#gathered = [];
      else await this.#leave({ isLast: false });
      clearImmediate(this.#leaving);
      if (this.gone.aborted || this.res.destroyed) return;
      const problem = error instanceof BackendError ? error : lost(error);
      this.breakOff(problem);
      throw problem;
    }
  }

  keepAlive(): void {
    if (this.#stream === undefined || this.#isCut || this.isOver || this.res.writableNeedDrain) return;
    this.#begin();
    this.res.write(": keepalive\n\n");
  }

  protected get isBegun(): boolean {
    return this.res.headersSent || this.#stream !== undefined;
  }

  async #json(status: number, headers: BackendAnswer["headers"], body: AnswerBody): Promise<void> {
    this.#head = { status, headers: { ...headers, ...OF_JSON } };
    await this.#pass(body, jsonFilter(this.#filterOptions));
    // Python's SDK calls it JSON where it accepts a notification.
    if (this.#gathered.length === 0 && !this.isBegun) this.#headAlone(status, headers, "no body");
    // Whoever waits would do so until their own time is over. An id may be another, which some clients do not mind.
    else if (status < 300 && this.unanswered.size > 0 && !this.#answers && !this.isBegun)
      throw new BackendError(
        "backend_answer_unusable",
        `It answered ${status} with JSON that answers nothing.`,
      );
    await this.#leave({ isLast: true });
  }

  /**
   * What it says beside the status is not passed on. Whoever waits is told more than a number.
   * @throws BackendError if somebody waits for what such an answer does not say
   */
  #headAlone(
    status: number,
    { "content-type": _, ...headers }: BackendAnswer["headers"],
    instead: string,
  ): void {
    if (status < 300 && this.unanswered.size > 0)
      throw new BackendError("backend_answer_unusable", `It answered ${status} with ${instead}.`);
    const refused = [...this.unanswered].map((id) => errorMessage(id, refusedWith(status)));
    this.#head = { status, headers: refused.length > 0 ? { ...headers, ...OF_JSON } : headers };
    if (refused.length === 0) return;
    for (const id of this.unanswered) this.#options.onAnswer(id, "error");
    this.#gathered.push(Buffer.from(JSON.stringify(refused.length > 1 ? refused : refused[0])));
  }

  async #events(headers: BackendAnswer["headers"], body: AnswerBody): Promise<void> {
    if (this.doubt !== undefined) await this.doubt;
    if (this.gone.aborted) return body.destroy();
    this.#head = { status: 200, headers: { ...headers, ...OF_STREAMS } };
    const filter = new EventStreamFilter(this.#filterOptions);
    this.#stream = filter;
    // Its beginning is an answer by itself, to a client that waits for what is said much later.
    this.#leaveSoon(body);
    await this.#pass(body, filter);
    // Without an id and a session its client has nothing to ask for the rest by, and would wait for ever.
    const isResumable = filter.isResumable && (this.#options.isInSession || SESSION_ID in headers);
    if (this.unanswered.size > 0 && !isResumable && !this.gone.aborted)
      throw new BackendError("backend_broke_off", "It ended its stream before it had answered.");
    await this.#leave({ isLast: true });
  }

  /** Until its end, or until nobody waits for it any more. What comes before an error is sent, too. */
  #pass(body: AnswerBody, filter: AnswerFilter): Promise<void> {
    return new Promise((resolve, reject) => {
      const pass = (fill: (out: Buffer[]) => void): void => {
        try {
          fill(this.#gathered);
        } finally {
          if (this.#gathered.length > 0) this.#leaveSoon(body);
        }
      };
      body.giveTo({
        take: (bytes) => {
          if (this.gone.aborted) return resolve(body.destroy());
          try {
            pass((out) => filter.push(bytes, out));
          } catch (error) {
            body.destroy(error as Error);
          }
        },
        end: () => {
          try {
            pass((out) => filter.end(out));
            resolve();
          } catch (error) {
            reject(error);
          }
        },
        fail: reject,
      });
    });
  }

  #leaveSoon(body: AnswerBody): void {
    this.#leaving ??= setImmediate(() => {
      this.#leaving = undefined;
      const sent = this.#leave({ isLast: false });
      if (sent === undefined) return;
      // No faster than its client reads.
      body.pause();
      void sent.then(() => body.resume());
    });
  }

  /** What was gathered. @returns when it has left, if that is not at once */
  #leave({ isLast }: { isLast: boolean }): Promise<void> | undefined {
    // Its session is being looked at again.
    if (this.doubt !== undefined) return this.doubt.then(() => this.#leave({ isLast }));
    clearImmediate(this.#leaving);
    this.#leaving = undefined;
    if (this.gone.aborted || this.isOver) return undefined;
    const gathered = this.#gathered;
    this.#gathered = [];
    this.#gatheredIds = [];
    this.#isCut = this.#stream?.isBetweenEvents === false;
    if (isLast) return void this.#end(gathered);
    this.#begin();
    if (gathered.length === 0) this.res.flushHeaders();
    this.res.cork();
    for (const bytes of gathered) this.res.write(bytes);
    this.res.uncork();
    return this.res.writableNeedDrain ? drained(this.res) : undefined;
  }

  #end(gathered: Buffer[]): void {
    this.#begin();
    const [first, ...others] = gathered;
    const rest = first !== undefined && others.length === 0 ? first : Buffer.concat(gathered);
    // The same bytes: as a text they share a write with the headers.
    if (rest.length <= ONE_WRITE_BYTES) this.res.end(rest.toString("latin1"), "latin1");
    else this.res.end(rest);
  }

  #begin(): void {
    if (this.res.headersSent || this.#head === undefined) return;
    this.res.writeHead(this.#head.status, this.#head.headers);
  }

  get #filterOptions(): ConstructorParameters<typeof EventStreamFilter>[0] {
    const { isShown, onlyUnambiguous, maxBytes } = this.#options;
    return { isShown, onlyUnambiguous, maxBytes, onMessage: (message) => this.#note(message) };
  }

  #note({ isAnswer, isError, id: written, method }: ScannedMessage): void {
    if (method !== undefined && written === undefined) this.#options.onNotification(parseJson(method));
    const id = written === undefined ? undefined : parseJson(written);
    this.#answers ||= isAnswer;
    if (!isAnswer || !this.unanswered.delete(id)) return;
    this.#gatheredIds.push(id);
    this.#options.onAnswer(id, isError ? "error" : "ok");
  }

  /** Whoever still waits is told in the stream; where there is none, by whoever catches what is thrown. */
  protected breakOff(why: Pick<Ending, "message" | "reason">): void {
    // What was announced as JSON cannot become an error any more: its client sees that it was cut off.
    if (this.#stream === undefined && this.res.headersSent) this.res.destroy();
    if (this.#stream === undefined) return;
    this.#begin();
    // Ends the event of which a part was sent, so that another can follow: its client cannot read that one.
    if (this.#isCut) this.res.write("\n\n");
    for (const id of this.#gatheredIds) this.unanswered.add(id);
    this.tellUnanswered(wordsFor(why));
    this.res.end();
  }
}

const WORDS = {
  backend_unreachable:
    "The server behind this one cannot be reached. Call again later; its operator can see why.",
  backend_broke_off:
    "The server behind this one was lost before it had answered. What was asked may have been done: look, before you call again.",
  backend_busy: "The server behind this one takes no requests at the moment. Call again later.",
  backend_too_slow:
    "The server behind this one took too long to answer. What was asked may be done all the same: look, before you call again, or ask for less at once.",
  backend_answer_unusable:
    "The server behind this one gave no answer that could be passed on. Its operator can see why.",
  backend_processes_used:
    "More people use the server behind this one than it can be started for at once. Call again later.",
  backend_refused: "The server behind this one does not accept requests from here. Its operator can see why.",
} satisfies Record<BackendError["reason"], string>;

/** For whoever called: what a backend's address or answer was is for the log. */
export function wordsFor(why: Pick<Ending, "message" | "reason">): Pick<Ending, "message" | "reason"> {
  return why instanceof BackendError ? { reason: why.reason, message: WORDS[why.reason] } : why;
}

function refusedWith(status: number): Pick<Ending, "message" | "reason"> {
  const message = `The server behind this one refused the request with HTTP ${status}, and said no more that could be passed on. Its operator can see why.`;
  return { reason: "mcp_protocol_error", message };
}

function lost(cause: unknown): BackendError {
  const { message } = cause as Error;
  return new BackendError("backend_broke_off", message, { cause });
}
