/**
 * What a backend says that it offers when we ask it ourselves, as any client does: for whoever inspects it, and where its tools are
 * held to what was approved.
 */
import type { Caller } from "../../resource/caller.ts";
import { placeOf, placesIn, skipSpace } from "../../runtime/json-text.ts";
import { packageManifest } from "../../runtime/package.ts";
import { type Backend, type BackendAnswer, BackendError } from "./backend.ts";
import { METHOD_NOT_FOUND } from "./own-answers.ts";

/** An entry of a list, as a value and as it was written. */
export interface OfferedEntry {
  readonly value: unknown;
  readonly text: string;
}

/** The lists, each with the capability that a server has which offers it. */
const LISTS = {
  tools: { method: "tools/list", capability: "tools" },
  prompts: { method: "prompts/list", capability: "prompts" },
  resources: { method: "resources/list", capability: "resources" },
  resourceTemplates: { method: "resources/templates/list", capability: "resources" },
} as const;
export type ListName = keyof typeof LISTS;

export interface AskOptions {
  /** In whose name; absent: nobody's, and then a backend that wants to know who calls may refuse. */
  caller?: Caller;
  signal: AbortSignal;
}

/** Of the generation that begins with a handshake. */
const PROTOCOL_VERSION = "2025-11-25";
const SESSION_ID = "mcp-session-id";
/** Of all pages of one list, and of one answer. */
const MAX_PAGES = 100;
const MAX_CHARACTERS = 8_388_608;

/**
 * All pages of these lists; one of a capability that it does not have is empty.
 * @throws BackendError if it does not answer as an MCP server
 */
export async function offeredBy<Name extends ListName>(
  backend: Backend,
  lists: readonly Name[],
  options: AskOptions,
): Promise<Record<Name, OfferedEntry[]>> {
  const conversation = new Conversation(backend, options);
  try {
    const capabilities = await conversation.introduce();
    const found: Array<[Name, OfferedEntry[]]> = [];
    for (const list of lists) {
      const { method, capability } = LISTS[list];
      const isOffered = Object.hasOwn(capabilities, capability);
      found.push([list, isOffered ? await everyPage(conversation, list, method) : []]);
    }
    return Object.fromEntries(found) as Record<Name, OfferedEntry[]>;
  } finally {
    await conversation.end();
  }
}

async function everyPage(
  conversation: Conversation,
  list: ListName,
  method: string,
): Promise<OfferedEntry[]> {
  const entries: OfferedEntry[] = [];
  const seen = new Set<unknown>();
  let characters = 0;
  for (let cursor: unknown; ; ) {
    const answer = await conversation.ask(method, cursor === undefined ? {} : { cursor });
    if (answer === undefined) return entries;
    const { result, text } = answer;
    const values = result[list];
    if (!Array.isArray(values)) throw unusable(`What it answered ${method} is no list.`);
    characters += text.length;
    const [open] = placeOf(text, skipSpace(text, 0), ["result", list]);
    for (const [index, [from, to]] of placesIn(text, open).entries())
      entries.push({ value: values[index], text: text.slice(from, to) });
    cursor = result.nextCursor;
    if (cursor === undefined || cursor === null) return entries;
    // Every page would lead to the next for ever.
    if (seen.size === seen.add(cursor).size) throw unusable("Its list has no end: a cursor comes again.");
    if (seen.size > MAX_PAGES || characters > MAX_CHARACTERS) throw unusable("Its list is too long.");
  }
}

/** From the handshake to the end of its session, if it has one. */
class Conversation {
  readonly #backend: Backend;
  readonly #options: AskOptions;
  #lastId = 0;
  #headers: Record<string, string> = {};

  constructor(backend: Backend, options: AskOptions) {
    this.#backend = backend;
    this.#options = options;
  }

  /** @returns what it can do */
  async introduce(): Promise<object> {
    const introduction = await this.ask("initialize", {
      protocolVersion: PROTOCOL_VERSION,
      capabilities: {},
      clientInfo: { name: "mcp-oidc-proxy", version: packageManifest().version },
    });
    const { capabilities, protocolVersion } = introduction?.result ?? {};
    if (typeof capabilities !== "object" || capabilities === null || typeof protocolVersion !== "string")
      throw unusable("It does not answer a handshake of MCP.");
    this.#headers["mcp-protocol-version"] = protocolVersion;
    const { body } = await this.#send({ method: "notifications/initialized" });
    body.destroy();
    return capabilities;
  }

  /** Undefined: it does not know the method. @throws BackendError */
  async ask(
    method: string,
    params: object,
  ): Promise<{ result: Record<string, unknown>; text: string } | undefined> {
    this.#lastId++;
    const id = this.#lastId;
    const answer = await this.#send({ id, method, params });
    const session = answer.headers[SESSION_ID];
    if (session !== undefined) this.#headers[SESSION_ID] = session;
    const text = await answerIn(answer, id);
    const { result, error } = JSON.parse(text);
    if (error?.code === METHOD_NOT_FOUND) return undefined;
    if (typeof result !== "object" || result === null)
      throw unusable(`It refused ${method}: ${String(error?.message).slice(0, 200)}`);
    return { result, text };
  }

  /** It would keep what belongs to a session that nobody goes on with. */
  async end(): Promise<void> {
    if (this.#headers[SESSION_ID] === undefined) return;
    const { signal, ...rest } = this.#options;
    const sent = this.#backend.send({ ...rest, method: "DELETE", headers: this.#headers, signal });
    await sent.then(
      ({ body }) => body.destroy(),
      () => {}, // it may refuse that
    );
  }

  #send(message: object): Promise<BackendAnswer> {
    const headers = {
      ...this.#headers,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    };
    const body = Buffer.from(JSON.stringify({ jsonrpc: "2.0", ...message }));
    return this.#backend.send({ ...this.#options, method: "POST", headers, body });
  }
}

/** The message that answers a request, as it was written: in JSON, or as an event of a stream, of which nothing more is read. */
async function answerIn({ status, headers, body }: BackendAnswer, id: number): Promise<string> {
  const isStream = headers["content-type"]?.toLowerCase().startsWith("text/event-stream") === true;
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const chunk of body) {
      const piece = decoder.decode(chunk, { stream: true });
      text += piece;
      if (text.length > MAX_CHARACTERS) throw unusable("Its answer is too long.");
      // Looked for in what is new: an event that comes in small pieces is not read anew with each.
      if (!isStream || !BETWEEN_EVENTS.test(text.slice(-piece.length - 3))) continue;
      const events = text.split(BETWEEN_EVENTS);
      text = events.pop() ?? "";
      const found = events.map(dataOf).find((data) => isAnswerTo(data, id));
      if (found !== undefined) return found;
    }
  } catch (cause) {
    if (cause instanceof BackendError) throw cause;
    throw new BackendError("backend_unreachable", (cause as Error).message, { cause });
  }
  const rest = isStream ? dataOf(text) : text.replace(/^\ufeff/, "");
  if (!isAnswerTo(rest, id)) throw unusable(`It answered ${status}, and no message of MCP.`);
  return rest;
}

const BETWEEN_EVENTS = /\r\n\r\n|\n\n|\r\r/;

/** WHATWG HTML, §9.2. */
function dataOf(event: string): string {
  const lines = event.split(/\r\n|\n|\r/).filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice("data:".length).replace(/^ /, "")).join("\n");
}

function isAnswerTo(text: string, id: number): boolean {
  try {
    const message = JSON.parse(text);
    return message?.id === id && message.method === undefined;
  } catch {
    return false;
  }
}

function unusable(message: string): BackendError {
  return new BackendError("backend_answer_unusable", message);
}
