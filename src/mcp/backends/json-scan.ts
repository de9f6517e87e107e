/**
 * Reads JSON-RPC messages as they stream by, in memory of constant size: which request each answers, how, and whether it is one
 * of the lists that are filtered. It makes no objects, so a result of any size costs what its bytes cost.
 */

/** The member of a result that makes it one of the lists. */
export const LISTS = ["tools", "resources", "resourceTemplates", "prompts"] as const;
export type ListName = (typeof LISTS)[number];
/** The member of a result in which a server introduces itself. */
export const CAPABILITIES = "capabilities";

/** The member of a result that says whose caches may keep it (MCP 2026-07-28). */
export const CACHE_SCOPE = "cacheScope";

export interface ScannedMessage {
  /** As it is written: 1, or "1". */
  id?: string;
  /** It answers a request: it has a result or an error, and no method. */
  isAnswer: boolean;
  isError: boolean;
  /** Of a request or a notification, as it is written: "ping", with its quotation marks. */
  method?: string;
}

const [QUOTE, BACKSLASH, COLON, COMMA] = [0x22, 0x5c, 0x3a, 0x2c];
const [OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];
/** What a request may have as its id, in characters. */
export const MAX_ID_LENGTH = 256;
/** Of a name or a value that is of interest; what is longer is none. Of an id each character may be escaped. */
const MAX_CAPTURED = 6 * MAX_ID_LENGTH + 2;
/** In one text: a batch has at most a hundred requests, and `[{},{},…` must not fill the memory. */
const MAX_MESSAGES = 1_000;

export class MessageScan {
  /** The first thousand of them. */
  readonly messages: ScannedMessage[] = [];
  /** Something that is filtered has been seen, complete or not: a list, or what a server can do. */
  isFiltered = false;
  /** Such a list, or the result around it, is called so only by clients that take no notice of case. */
  isMisspelled = false;
  /** A result says that a cache may give it to others, or something else than that it may not. */
  isShared = false;
  #depth = 0;
  /** 1 in a batch. */
  #base = 0;
  /** Nothing but one JSON object or array so far. */
  #isSound = true;
  #isClosed = false;
  #inString = false;
  #escaped = false;
  /** The next string is a name. */
  #expectsName = false;
  #name: string | undefined;
  /** Of the message, whose value is being read … */
  #member: string | undefined;
  /** … and of its result. */
  #inner: string | undefined;
  #members = new Set<string>();
  #captured: number[] | undefined;
  #message: ScannedMessage = { isAnswer: false, isError: false };

  /** Whether what was read is one whole JSON object or array, by its brackets. */
  get isComplete(): boolean {
    return this.#isSound && this.#isClosed;
  }

  /** Nothing but white space. */
  get isEmpty(): boolean {
    return this.#isSound && this.#depth === 0 && !this.#isClosed;
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) {
      if (this.#inString && this.#captured === undefined) at = this.#skipString(bytes, at);
      else if (this.#inString) this.#stringByte(bytes[at] as number);
      else this.#structureByte(bytes[at] as number);
    }
  }

  /** @returns the position of the last byte that was used */
  #skipString(bytes: Uint8Array, from: number): number {
    let at = from + (this.#escaped ? 1 : 0);
    for (; at < bytes.length; at++) {
      if (bytes[at] === QUOTE) {
        this.#inString = false;
        break;
      }
      if (bytes[at] === BACKSLASH) at++;
    }
    this.#escaped = at > bytes.length;
    return at;
  }

  #stringByte(byte: number): void {
    this.#captured?.push(byte);
    if ((this.#captured?.length ?? 0) > MAX_CAPTURED) {
      // Too long to be of interest: the rest of it is skipped.
      this.#escaped = !this.#escaped && byte === BACKSLASH;
      this.#captured = undefined;
      this.#name = undefined;
      return;
    }
    if (!this.#escaped && byte === QUOTE) {
      this.#inString = false;
      if (this.#expectsName) this.#name = decoded(this.#take());
      return;
    }
    this.#escaped = !this.#escaped && byte === BACKSLASH;
  }

  #structureByte(byte: number): void {
    if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) return;
    if (this.#isClosed || (this.#depth === 0 && byte !== OPEN_OBJECT && byte !== OPEN_ARRAY))
      this.#isSound = false;
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) this.#open(byte);
    else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) this.#close();
    else if (byte === COMMA) {
      this.#endValue();
      this.#expectsName = this.#level !== undefined;
    } else if (byte === COLON) this.#endName();
    else if (byte === QUOTE) {
      this.#inString = true;
      if (this.#expectsName || this.#isOfInterest) this.#captured = [QUOTE];
    } else if (this.#isOfInterest && (this.#captured?.length ?? 0) < MAX_CAPTURED) {
      this.#captured ??= [];
      this.#captured.push(byte);
    }
  }

  /** 1 for members of a message, 2 for those of its result: no others are of interest. */
  get #level(): 1 | 2 | undefined {
    const level = this.#depth - this.#base;
    if (level === 1) return 1;
    return level === 2 && this.#member === "result" ? 2 : undefined;
  }

  get #isOfInterest(): boolean {
    if (this.#level === 1) return this.#member === "id" || this.#member === "method";
    return this.#level === 2 && (this.#inner === "isError" || this.#inner === CACHE_SCOPE);
  }

  #endName(): void {
    const name = this.#name ?? "";
    this.#name = undefined;
    this.#expectsName = false;
    if (this.#level === 1) {
      this.#member = name;
      if (MESSAGE_MEMBERS.has(name)) this.#members.add(name);
      if (name !== "result" && foldCase(name) === "result") this.isMisspelled = true;
    } else if (this.#level === 2) {
      this.#inner = name;
      if (!isListName(name) && LISTS_FOLDED.has(foldCase(name))) this.isMisspelled = true;
    }
  }

  #endValue(): void {
    const text = this.#captured && this.#take();
    if (this.#level === 1) {
      if (this.#member === "id" && text !== undefined) this.#message.id = text;
      if (this.#member === "method" && text !== undefined) this.#message.method = text;
      this.#member = undefined;
    } else if (this.#level === 2) {
      if (this.#inner === "isError") this.#message.isError = text === "true";
      if (this.#inner === CACHE_SCOPE && text !== '"private"') this.isShared = true;
      this.#inner = undefined;
    }
  }

  #open(byte: number): void {
    if (this.#depth === 0 && byte === OPEN_ARRAY) this.#base = 1;
    if (this.#level === 2 && byte === OPEN_ARRAY && isListName(this.#inner)) this.isFiltered = true;
    if (this.#level === 2 && byte === OPEN_OBJECT && this.#inner === CAPABILITIES) this.isFiltered = true;
    this.#depth++;
    if (this.#depth === this.#base + 1) {
      this.#message = { isAnswer: false, isError: false };
      this.#members = new Set();
      this.#member = undefined;
    }
    if (this.#level === 2) this.#inner = undefined;
    this.#expectsName = byte === OPEN_OBJECT && this.#level !== undefined;
  }

  #close(): void {
    this.#endValue();
    if (this.#depth === this.#base + 1) {
      const message = this.#message;
      message.isAnswer =
        (this.#members.has("result") || this.#members.has("error")) && !this.#members.has("method");
      if (this.#members.has("error")) message.isError = true;
      if (this.messages.length < MAX_MESSAGES) this.messages.push(message);
    }
    this.#depth--;
    if (this.#depth <= 0) this.#isClosed = true;
    this.#expectsName = false;
  }

  #take(): string {
    const text = Buffer.from(this.#captured ?? []).toString("utf8");
    this.#captured = undefined;
    return text;
  }
}

/** As parsers do that take no notice of case, Go's for one, to which a long s is an s. */
export function foldCase(name: string): string {
  return name.toUpperCase().toLowerCase();
}

const LISTS_FOLDED: ReadonlySet<string> = new Set(LISTS.map(foldCase));
const MESSAGE_MEMBERS = new Set(["id", "method", "result", "error"]);

/** @param text a string, as it is written */
function decoded(text: string): string | undefined {
  try {
    return String(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function isListName(name: string | undefined): boolean {
  return LISTS.some((list) => list === name);
}
