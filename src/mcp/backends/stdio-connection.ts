/**
 * The conversation with one process that speaks MCP over stdio. We introduce ourselves, once, and everybody's requests follow with
 * ids of ours. It is told of no capabilities of a client: whom should it ask, when several share it? It is started again when it ends.
 */
import { z } from "zod";
import { parseJsonObject } from "../../oauth/json.ts";
import { changed, placeOf, withValue } from "../../runtime/json-text.ts";
import type { Log } from "../../runtime/log.ts";
import { packageManifest } from "../../runtime/package.ts";
import type { Message } from "../authoring/features.ts";
import { BackendError } from "./backend.ts";
import { BackendProcess } from "./backend-process.ts";
import type { StdioReach } from "./backend-settings.ts";
import { METHOD_NOT_FOUND, VERSIONS, type WrittenRequest } from "./own-answers.ts";

export interface StdioConnectionOptions {
  /** Of the backend, in the log. */
  name: string;
  reach: StdioReach;
  /** Where programs are looked for. */
  searchPath: string;
  log: Log;
  /** Seconds. */
  now(): number;
  /** Whether it is kept running; otherwise it runs when somebody needs it. */
  isKeptRunning: boolean;
}

/** Who waits for the answer to a request. All they get is in the client's terms. */
export interface Waiting {
  progressed(message: string): void;
  answered(message: string): void;
  failed(error: BackendError): void;
}

/** What it said of itself. */
const Introduction = z.object({
  protocolVersion: z.string(),
  capabilities: z.record(z.string(), z.unknown()),
  serverInfo: z.record(z.string(), z.unknown()),
  instructions: z.string().optional(),
});
export type Introduction = z.infer<typeof Introduction>;

/** The program may have to be downloaded first, as by npx. */
const START_SECONDS = 60;
const FIRST_PAUSE_SECONDS = 0.5;
const LONGEST_PAUSE_SECONDS = 30;
/** Whoever ran so long did not fail to start. */
const SOUND_SECONDS = 60;

interface Pending extends Waiting {
  readonly request: WrittenRequest;
  readonly timer: NodeJS.Timeout;
}

export class StdioConnection {
  readonly #options: StdioConnectionOptions;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #process: BackendProcess | undefined;
  #introduction: Promise<Introduction> | undefined;
  #startedAt = 0;
  #notBefore = 0;
  #failures = 0;
  #howItEnded = "";
  #isClosed = false;
  #noise = 0;
  /** Who is about to ask: it must not be ended under their hands. */
  #arriving = 0;

  constructor(options: StdioConnectionOptions) {
    this.#options = options;
    if (options.isKeptRunning) this.introduced().catch(() => {}); // logged; whoever comes next starts it again
  }

  get isIdle(): boolean {
    return this.#pending.size === 0 && this.#arriving === 0;
  }

  /** What it said of itself; until then it is started. Whoever waits for that asks in the same turn. @throws BackendError */
  async introduced(): Promise<Introduction> {
    this.#arriving++;
    try {
      return await this.#introduced();
    } finally {
      setImmediate(() => this.#arriving--);
    }
  }

  async #introduced(): Promise<Introduction> {
    if (this.#introduction !== undefined) return this.#introduction;
    const seconds = Math.ceil(this.#notBefore - this.#options.now());
    if (this.#isClosed || seconds > 0)
      throw new BackendError(
        "backend_unreachable",
        `${this.#howItEnded} It is started again in ${seconds} s.`,
      );
    return this.#start();
  }

  /**
   * @param request with an id, and maybe a progress token, of its client's
   * @returns what tells it that nobody waits any more
   * @throws BackendError if it cannot be sent
   */
  ask(
    request: WrittenRequest,
    waiting: Waiting,
    timeoutSeconds = this.#options.reach.timeoutSeconds,
  ): () => void {
    const id = ++this.#lastId;
    const giveUp = () => {
      this.#cancel(id);
      waiting.failed(new BackendError("backend_too_slow", `It gave no sign within ${timeoutSeconds} s.`));
    };
    this.#sendRequest(withOurId(request, id));
    this.#pending.set(id, { ...waiting, request, timer: setTimeout(giveUp, timeoutSeconds * 1_000) });
    return () => this.#cancel(id);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#process?.stop();
  }

  kill(): void {
    this.#process?.kill();
  }

  #start(): Promise<Introduction> {
    this.#startedAt = this.#options.now();
    const process = this.#begun();
    this.#process = process;
    const introduction = this.#introduce();
    this.#introduction = introduction;
    introduction.catch(() => process.kill());
    return introduction;
  }

  /** @throws BackendError */
  #begun(): BackendProcess {
    try {
      return new BackendProcess({
        ...this.#options,
        ...this.#options.reach,
        onLine: (line) => this.#heard(line),
        onLongLine: (id) => this.#answeredTooMuch(id),
        onEnd: (how) => this.#ended(how),
      });
    } catch (error) {
      if (error instanceof BackendError) this.#ended(error.message);
      throw error;
    }
  }

  async #introduce(): Promise<Introduction> {
    const { version } = packageManifest();
    const params = {
      protocolVersion: VERSIONS.at(-1),
      capabilities: {},
      clientInfo: { name: "mcp-oidc-proxy", version },
    };
    const message = { jsonrpc: "2.0", id: 0, method: "initialize", params };
    const request = { text: JSON.stringify(message), message };
    const answer = await new Promise<string>((answered, failed) => {
      this.ask(request, { progressed() {}, answered, failed }, START_SECONDS);
    });
    const { data } = Introduction.safeParse(parseJsonObject(answer)?.result);
    if (data === undefined) throw new BackendError("backend_answer_unusable", "It did not introduce itself.");
    this.#send({ method: "notifications/initialized" });
    return data;
  }

  #ended(how: string): void {
    const { name, log, now, isKeptRunning } = this.#options;
    this.#process = undefined;
    this.#introduction = undefined;
    this.#howItEnded = how;
    if (now() - this.#startedAt > SOUND_SECONDS) this.#failures = 0;
    const pause = Math.min(FIRST_PAUSE_SECONDS * 2 ** this.#failures, LONGEST_PAUSE_SECONDS);
    this.#failures++;
    this.#notBefore = now() + pause;
    for (const id of [...this.#pending.keys()]) {
      const waiting = this.#take(id);
      const isIntroduction = waiting?.request.message.method === "initialize";
      // What it was asked may have been done.
      waiting?.failed(new BackendError(isIntroduction ? "backend_unreachable" : "backend_broke_off", how));
    }
    if (this.#isClosed) return;
    log.warn(
      { reason: "backend_unreachable", backend: name, cause: how, seconds: pause },
      "A backend's process has ended",
    );
    if (isKeptRunning) setTimeout(() => this.introduced().catch(() => {}), pause * 1_000).unref();
  }

  #heard(line: string): void {
    const message = parseJsonObject(line) as Message | undefined;
    const { method, id } = message ?? {};
    const isAnswer = method === undefined && "result" in (message ?? {}) !== "error" in (message ?? {});
    if (message?.jsonrpc !== "2.0" || (method === undefined && !isAnswer)) this.#noteNoise();
    else if (isAnswer) this.#answered(id, line);
    else if (id !== undefined) this.#answer(method, line.slice(...placeOf(line, 0, ["id"])));
    else if (method === "notifications/progress") this.#progressed(message.params?.progressToken, line);
    // Of what else it tells nobody knows whom it concerns.
  }

  #answered(id: unknown, line: string): void {
    const waiting = this.#take(id);
    if (waiting !== undefined) waiting.answered(withValue(line, ["id"], idOf(waiting.request)));
  }

  #answeredTooMuch(id: string | undefined): void {
    const { maxAnswerBytes } = this.#options.reach;
    const error = new BackendError(
      "backend_answer_unusable",
      `It has more than ${maxAnswerBytes} bytes in one answer.`,
    );
    this.#take(Number(id))?.failed(error);
  }

  /** It asks something of a client. */
  #answer(method: unknown, id: string): void {
    const answer =
      method === "ping"
        ? '"result":{}'
        : `"error":{"code":${METHOD_NOT_FOUND},"message":"There is no client here who could be asked."}`;
    this.#sendIfPossible(`{"jsonrpc":"2.0","id":${id},${answer}}`);
  }

  #progressed(token: unknown, line: string): void {
    const waiting = typeof token === "number" ? this.#pending.get(token) : undefined;
    if (waiting === undefined || progressTokenOf(waiting.request.message) === undefined) return;
    waiting.timer.refresh();
    const { text } = waiting.request;
    const theirs = text.slice(...placeOf(text, 0, PROGRESS_TOKEN));
    waiting.progressed(withValue(line, ["params", "progressToken"], theirs));
  }

  #take(id: unknown): Pending | undefined {
    const waiting = this.#pending.get(id as number);
    if (waiting === undefined) return undefined;
    clearTimeout(waiting.timer);
    this.#pending.delete(id as number);
    return waiting;
  }

  #cancel(id: number): void {
    if (this.#take(id) !== undefined)
      this.#send({
        method: "notifications/cancelled",
        params: { requestId: id, reason: "Nobody waits for it." },
      });
  }

  #send(notification: { method: string; params?: object }): void {
    this.#sendIfPossible(JSON.stringify({ jsonrpc: "2.0", ...notification }));
  }

  /** For what nobody waits for. */
  #sendIfPossible(message: string): void {
    try {
      this.#sendRequest(message);
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
    }
  }

  #sendRequest(message: string): void {
    if (this.#process === undefined) throw new BackendError("backend_unreachable", this.#howItEnded);
    this.#process.send(message);
  }

  /** Some programs greet on stdout. */
  #noteNoise(): void {
    const { name, log } = this.#options;
    this.#noise++;
    if (Number.isInteger(Math.log10(this.#noise)))
      log.warn(
        { reason: "backend_answer_unusable", backend: name, lines: this.#noise },
        "A backend wrote to stdout what is no message of MCP",
      );
  }
}

const PROGRESS_TOKEN = ["params", "_meta", "progressToken"];

function progressTokenOf({ params }: Message): unknown {
  return (params?._meta as { progressToken?: unknown } | undefined)?.progressToken;
}

function withOurId({ text, message }: WrittenRequest, id: number): string {
  const paths = [["id"], ...(progressTokenOf(message) === undefined ? [] : [PROGRESS_TOKEN])];
  const changes = paths.map((path) => {
    const [from, to] = placeOf(text, 0, path);
    return { from, to, by: String(id) };
  });
  return changed(text, changes);
}

function idOf({ text }: WrittenRequest): string {
  return text.slice(...placeOf(text, 0, ["id"]));
}
