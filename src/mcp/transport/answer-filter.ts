/**
 * What a backend answers, on its way to the client: lists are filtered, everything else passes byte for byte, and no more than
 * a small part of it is in memory. JSON and event streams alike.
 */
import { BackendError } from "../backends/backend.ts";
import { MessageScan, type ScannedMessage } from "../backends/json-scan.ts";
import { type IsShown, withShownOnly } from "./shown-lists.ts";
import { repeatsName } from "./unambiguous.ts";

export interface AnswerFilterOptions {
  readonly isShown: IsShown;
  /** Refuses lists of which some would read another part than we: nothing of them could be told to be as it was approved. */
  readonly onlyUnambiguous: boolean;
  /** Of a JSON body, or of one event. */
  readonly maxBytes: number;
  /** Gets each message when it is complete. */
  onMessage(message: ScannedMessage): void;
}

export interface AnswerFilter {
  /**
   * @param out gets what may be sent on by now, also before an error
   * @throws BackendError if it is no answer that a client could be given
   */
  push(bytes: Buffer, out: Buffer[]): void;
  /** The same when nothing follows. */
  end(out: Buffer[]): void;
}

/** A message that is longer than this is sent on before it is complete, unless it has turned out to be a list by then. */
const HELD_BYTES = 262_144;
/** Lists are held to their end. */
const MAX_LIST_BYTES = 8_388_608;

/** One JSON text, as bytes: held until it is known to be no list. */
class HeldText {
  readonly scan = new MessageScan();
  #held: Buffer[] = [];
  #heldBytes = 0;
  #bytes = 0;
  #isPassing = false;
  readonly #options: AnswerFilterOptions;

  constructor(options: AnswerFilterOptions) {
    this.#options = options;
  }

  get isPassing(): boolean {
    return this.#isPassing;
  }

  /** Whether something of it, which is whole, is not for its reader as it came. */
  get isToBeFiltered(): boolean {
    return this.scan.isFiltered || (this.scan.isShared && !this.#isPassing);
  }

  /** Its bytes as they came; of an event those around the text, too. @returns what may be sent on by now */
  push(bytes: Buffer): Buffer[] {
    this.#bytes += bytes.length;
    const { maxBytes, onlyUnambiguous } = this.#options;
    if (this.#bytes > maxBytes)
      throw new BackendError("backend_answer_unusable", `It has more than ${maxBytes} bytes in one answer.`);
    if (onlyUnambiguous && this.scan.isMisspelled)
      throw new BackendError("backend_answer_unusable", "It spells a list as only some clients read it.");
    if (this.#isPassing) {
      // Nothing of it can be taken back; a list that begins so late would be shown whole.
      if (this.scan.isFiltered)
        throw new BackendError("backend_answer_unusable", "It sent a list behind other things of a result.");
      return [bytes];
    }
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes <= HELD_BYTES) return [];
    if (!this.scan.isFiltered) {
      this.#isPassing = true;
      return this.take();
    }
    if (this.#heldBytes > MAX_LIST_BYTES)
      throw new BackendError(
        "backend_answer_unusable",
        `It has more than ${MAX_LIST_BYTES} bytes in one list.`,
      );
    return [];
  }

  take(): Buffer[] {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    return held;
  }

  /** The messages in it. */
  tell(): void {
    for (const message of this.scan.messages) this.#options.onMessage(message);
  }
}

/** @throws BackendError */
function filtered(
  text: string,
  { isFiltered }: MessageScan,
  { isShown, onlyUnambiguous }: AnswerFilterOptions,
): string {
  if (isFiltered && onlyUnambiguous && repeatsName(text))
    throw new BackendError("backend_answer_unusable", "It has a name twice in a list of its tools.");
  const found = withShownOnly(text, isShown);
  if (found === undefined) throw notJson();
  return found;
}

function notJson(): BackendError {
  return new BackendError("backend_answer_unusable", "What it sent as JSON is no JSON.");
}

/** A whole body of JSON. */
export function jsonFilter(options: AnswerFilterOptions): AnswerFilter {
  const text = new HeldText(options);
  return {
    push(bytes, out) {
      text.scan.push(bytes);
      out.push(...text.push(bytes));
    },
    end(out) {
      const held = text.take();
      if (!text.scan.isComplete) {
        if (!text.isPassing && isNothing(held)) return;
        throw notJson();
      }
      if (text.isToBeFiltered) out.push(Buffer.from(filtered(textOf(held), text.scan, options)));
      else out.push(...held);
      text.tell();
    },
  };
}

/** White space, or what frameworks write where there is nothing to say. */
function isNothing(held: readonly Buffer[]): boolean {
  return /^\s*(null\s*)?$/.test(textOf(held));
}

const [LF, CR, SPACE] = [0x0a, 0x0d, 0x20];
const NEW_LINE = Buffer.from("\n");
const END_OF_EVENT = Buffer.from("\n\n");
const DATA = "data:";
const ID = "id:";
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/** Server-sent events (WHATWG HTML, §9.2): the lines of each event, of which those of `data` are the message. */
export class EventStreamFilter implements AnswerFilter {
  readonly #options: AnswerFilterOptions;
  #event: HeldText;
  #hasData = false;
  /** The beginning of a line, until it tells which field it is. */
  #prefix: string | undefined = "";
  #isData = false;
  #isAfterColon = false;
  #afterCr = false;
  /** What came of the stream, until it tells whether that is a byte order mark. */
  #start: Buffer | undefined = Buffer.alloc(0);
  /** The last thing was the end of an event. */
  #isBetween = true;
  /** Its client can ask for the rest of it (`Last-Event-ID`). */
  isResumable = false;

  constructor(options: AnswerFilterOptions) {
    this.#options = options;
    this.#event = new HeldText(options);
  }

  /** Whether what we say now would not get into an event of which a part was sent. */
  get isBetweenEvents(): boolean {
    return !this.#event.isPassing;
  }

  push(bytes: Buffer, out: Buffer[]): void {
    const start = this.#start && Buffer.concat([this.#start, bytes]);
    const hasMark = start?.subarray(0, BOM.length).equals(BOM) === true;
    // It may come byte by byte, too: its client leaves it out all the same.
    const isUndecided = start !== undefined && !hasMark && BOM.subarray(0, start.length).equals(start);
    this.#start = isUndecided ? start : undefined;
    if (!isUndecided) this.#read(start ?? bytes, hasMark ? BOM.length : 0, out);
  }

  /** @param mark how many bytes at the beginning belong to no line */
  #read(bytes: Buffer, mark: number, out: Buffer[]): void {
    // Where the next of each kind is: looked for once, not for every line.
    let nextLf = bytes.indexOf(LF);
    let nextCr = bytes.indexOf(CR);
    for (let at = 0; at < bytes.length; ) {
      if (nextLf !== -1 && nextLf < at) nextLf = bytes.indexOf(LF, at);
      if (nextCr !== -1 && nextCr < at) nextCr = bytes.indexOf(CR, at);
      const lf = nextLf === -1 ? bytes.length : nextLf;
      const end = nextCr === -1 || lf < nextCr ? lf : nextCr;
      const isRestOfBreak = this.#afterCr && end === at && bytes[at] === LF;
      this.#afterCr = bytes[end] === CR;
      if (isRestOfBreak) {
        const rest = bytes.subarray(at, at + 1);
        out.push(...(this.#isBetween ? [rest] : this.#event.push(rest)));
        at++;
        continue;
      }
      this.#readLine(bytes.subarray(at === 0 ? mark : at, end));
      const isWhole = end < bytes.length;
      const isEmpty = isWhole && this.#prefix === "";
      this.#isBetween = false;
      out.push(...this.#event.push(bytes.subarray(at, isWhole ? end + 1 : end)));
      if (isWhole) this.#endLine();
      if (isEmpty) out.push(...this.#endEvent());
      at = end + 1;
    }
  }

  end(out: Buffer[]): void {
    if (this.#start !== undefined) out.push(this.#start);
    if (this.#isBetween) return;
    const isMessage = this.#hasData && this.#event.scan.isComplete;
    out.push(...this.#endEvent());
    // A client takes no notice of an event that nothing ended (WHATWG HTML, §9.2.6), and would wait for ever.
    if (isMessage) out.push(END_OF_EVENT);
  }

  /** A part of a line, without its end. */
  #readLine(bytes: Buffer): void {
    let at = 0;
    if (this.#prefix !== undefined) {
      at = Math.min(DATA.length - this.#prefix.length, bytes.length);
      this.#prefix += bytes.toString("latin1", 0, at);
      if (this.#prefix.length < DATA.length) return;
      this.#isData = this.#prefix === DATA;
      this.#noteField();
      // Lines of one event are one text.
      if (this.#isData && this.#hasData) this.#event.scan.push(NEW_LINE);
      if (this.#isData) this.#hasData = true;
      this.#isAfterColon = true;
    }
    if (!this.#isData || at === bytes.length) return;
    if (this.#isAfterColon && bytes[at] === SPACE) at++;
    this.#isAfterColon = false;
    this.#event.scan.push(bytes.subarray(at));
  }

  #noteField(): void {
    if (this.#prefix?.startsWith(ID)) this.isResumable = true;
    this.#prefix = undefined;
  }

  #endLine(): void {
    this.#noteField();
    this.#prefix = "";
    this.#isData = false;
  }

  #endEvent(): Buffer[] {
    const event = this.#event;
    const hadData = this.#hasData;
    this.#event = new HeldText(this.#options);
    this.#hasData = false;
    this.#isBetween = true;
    const held = event.take();
    if (!hadData || event.scan.isEmpty) return held;
    if (!event.scan.isComplete) {
      // Not every event is a message of MCP.
      if (isOfAnotherKind(held)) return held;
      this.#event = event;
      throw notJson();
    }
    const sent = event.isToBeFiltered ? [Buffer.from(this.#rewritten(textOf(held), event.scan))] : held;
    event.tell();
    return sent;
  }

  /** The same event with another text: what else it says (`id`, `event`, `retry`) stays. */
  #rewritten(event: string, scan: MessageScan): string {
    const lines = linesOf(event);
    const text = lines
      .filter(isData)
      .map((line) => line.slice(DATA.length).replace(/^ /, ""))
      .join("\n");
    const data = linesOf(filtered(text, scan, this.#options)).map((line) => `${DATA} ${line}`);
    const others = lines.filter((line) => line !== "" && !isData(line));
    return `${[...others, ...data].join("\n")}\n\n`;
  }
}

function textOf(held: readonly Buffer[]): string {
  return Buffer.concat(held)
    .toString("utf8")
    .replace(/^\ufeff/, "");
}

function linesOf(text: string): string[] {
  return text.split(/\r\n|\n|\r/);
}

function isData(line: string): boolean {
  return line.startsWith(DATA);
}

function isOfAnotherKind(held: readonly Buffer[]): boolean {
  return linesOf(textOf(held)).some((line) => line.startsWith("event:") && !/^event: ?message$/.test(line));
}
