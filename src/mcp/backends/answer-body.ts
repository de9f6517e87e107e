/**
 * The body of a backend's answer on its way to one receiver: pushed as it comes, because most answers are one small piece, for which a
 * stream and its promises cost more than the piece itself.
 */
import type { Readable } from "node:stream";

export interface AnswerReceiver {
  /** It may pause the body meanwhile: nothing more comes then, not even the end. */
  take(bytes: Buffer): void;
  end(): void;
  fail(error: Error): void;
}

/** Whoever reads it from where it comes from. */
export interface AnswerSource {
  pause(): void;
  resume(): void;
  /** Nobody takes the rest. */
  stop(): void;
}

/** What may wait before its source is paused. */
const MAX_WAITING_BYTES = 65_536;

export class AnswerBody {
  readonly #source: AnswerSource;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #receiver: AnswerReceiver | undefined;
  #isPaused = true;
  #isSourcePaused = false;
  /** Nothing follows what waits: its end, or the error that ended it. */
  #last: { readonly error?: Error } | undefined;
  #isOver = false;

  constructor(source: AnswerSource) {
    this.#source = source;
  }

  /** Everything, from the beginning. For one receiver. */
  giveTo(receiver: AnswerReceiver): void {
    this.#receiver = receiver;
    this.resume();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    const receiver = this.#receiver;
    if (receiver === undefined) return;
    this.#isPaused = false;
    while (!this.#isPaused && !this.#isOver) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#waitingBytes -= next.length;
      receiver.take(next);
    }
    if (this.#isPaused || this.#isOver) return;
    if (this.#last !== undefined) this.#finish(receiver, this.#last.error);
    else if (this.#isSourcePaused) {
      this.#isSourcePaused = false;
      this.#source.resume();
    }
  }

  /** Ends it early; its receiver hears no more of it, but of an `error`. */
  destroy(error?: Error): void {
    if (this.#isOver) return;
    if (this.#last === undefined) this.#source.stop();
    this.#isOver = true;
    this.#waiting.length = 0;
    if (error !== undefined) this.#receiver?.fail(error);
  }

  /** For its source, as the next three. */
  push(bytes: Buffer): void {
    if (this.#isOver) return;
    if (!this.#isPaused && this.#waiting.length === 0) {
      this.#receiver?.take(bytes);
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes <= MAX_WAITING_BYTES || this.#isSourcePaused) return;
    this.#isSourcePaused = true;
    this.#source.pause();
  }

  end(): void {
    this.#endWith({});
  }

  /** What came before it is given first. */
  fail(error: Error): void {
    this.#endWith({ error });
  }

  #endWith(last: { readonly error?: Error }): void {
    if (this.#isOver || this.#last !== undefined) return;
    this.#last = last;
    if (this.#receiver !== undefined && !this.#isPaused) this.#finish(this.#receiver, last.error);
  }

  #finish(receiver: AnswerReceiver, error: Error | undefined): void {
    this.#isOver = true;
    if (error === undefined) receiver.end();
    else receiver.fail(error);
  }

  /** Piece by piece; who stops early ends it. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    let came: Buffer | undefined;
    let last: { readonly error?: Error } | undefined;
    let wake = () => {};
    this.giveTo({
      take: (bytes) => {
        came = bytes;
        this.pause();
        wake();
      },
      end: () => {
        last = {};
        wake();
      },
      fail: (error) => {
        last = { error };
        wake();
      },
    });
    try {
      for (;;) {
        if (came === undefined && last === undefined)
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        if (came !== undefined) {
          const bytes = came;
          came = undefined;
          yield bytes;
          this.resume();
        } else if (last?.error !== undefined) throw last.error;
        else if (last !== undefined) return;
      }
    } finally {
      this.destroy();
    }
  }
}

/** A body that is there. */
export function wholeBody(text: string): AnswerBody {
  const body = new AnswerBody({ pause() {}, resume() {}, stop() {} });
  if (text !== "") body.push(Buffer.from(text));
  body.end();
  return body;
}

/** @param stopped is told when nobody takes the rest */
export function bodyOf(stream: Readable, stopped = () => {}): AnswerBody {
  const body = new AnswerBody({
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    stop() {
      stream.destroy();
      stopped();
    },
  });
  stream.on("data", (bytes: Buffer) => body.push(bytes));
  stream.once("end", () => body.end());
  // One that is destroyed without an error has no end either.
  stream.once("close", () => body.fail(new Error("It was closed before its end.")));
  stream.on("error", (error) => body.fail(error));
  return body;
}

/** How long it may take to come to its end where nobody wants it: as long as a server may be in the middle of its answer. */
const DROPPED_MS = 10_000;

/** Read to its end if that is near, so that its connection serves the next request. A stream may have none. */
export function drop(body: AnswerBody, maxBytes = MAX_WAITING_BYTES): void {
  let size = 0;
  const late = setTimeout(() => body.destroy(), DROPPED_MS).unref();
  const over = () => clearTimeout(late);
  body.giveTo({
    take(bytes) {
      size += bytes.length;
      if (size <= maxBytes) return;
      over();
      body.destroy();
    },
    end: over,
    fail: over,
  });
}
