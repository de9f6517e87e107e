/** Sends what the SDK answers (a web `Response`) through express, no sooner than its first bytes are known. */

import { once } from "node:events";
import type { Response as ExpressResponse } from "express";
import { cutStalled } from "../../http/stalled-response.ts";
import { type Ending, errorMessage } from "../server/ending.ts";
import type { RunningCall, Serving } from "../server/running-calls.ts";

export interface WebAnswerOptions {
  /** Watches over it. Absent for what asks for nothing. */
  running: Pick<RunningCall, "servedBy" | "doubt"> | undefined;
  /** The ids of the requests that are to be answered. */
  ids: readonly unknown[];
  /** See {@link DirectTransportOptions}. */
  refuse(ending: Ending): void;
}

/**
 * The SDK decides for "200, a stream follows" before a tool has run. Nothing goes out until there is something to send,
 * so that a call which turns out to lack a scope can still be answered as HTTP 403.
 */
export class WebAnswer implements Serving {
  readonly #res: ExpressResponse;
  readonly #options: WebAnswerOptions;
  readonly #gone = new AbortController();
  readonly #unanswered: Set<unknown>;
  #response: Response | undefined;
  #begun = false;

  constructor(res: ExpressResponse, options: WebAnswerOptions) {
    this.#res = res;
    this.#options = options;
    this.#unanswered = new Set(options.ids);
    options.running?.servedBy(this);
    res.once("close", () => {
      if (!res.writableFinished) this.#gone.abort();
    });
  }

  /** Aborted when nobody waits for the answer any more. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  async send(response: Response): Promise<void> {
    const res = this.#res;
    const reader = response.body?.getReader();
    this.#response = response;
    try {
      for (let isDone = false; !isDone; ) {
        const chunk = await reader?.read();
        await this.#options.running?.doubt;
        if (this.gone.aborted) return;
        this.#begin(response);
        isDone = chunk?.done ?? true;
        if (chunk?.value === undefined) continue;
        this.#note(chunk.value);
        if (!res.write(chunk.value)) await drained(res);
      }
      if (!this.gone.aborted) res.end();
    } catch (error) {
      // The client went away while it was being sent to, or takes nothing any more.
      if (!this.gone.aborted && !res.destroyed) throw error;
    } finally {
      await reader?.cancel().catch(() => {});
    }
  }

  keepAlive(): void {
    const response = this.#response;
    if (response === undefined || !this.#isStream || this.gone.aborted || this.#res.writableNeedDrain) return;
    this.#begin(response);
    this.#res.write(": keepalive\n\n");
  }

  end(ending: Ending): boolean {
    const res = this.#res;
    if (!this.#begun || this.gone.aborted || res.writableEnded) return this.refuse(ending);
    for (const id of this.#isStream ? this.#unanswered : [])
      res.write(event(JSON.stringify(errorMessage(id, ending))));
    res.end();
    this.#gone.abort();
    return true;
  }

  refuse(ending: Ending): boolean {
    if (this.#begun || this.gone.aborted || this.#res.writableEnded) return false;
    this.#options.refuse(ending);
    this.#gone.abort();
    return true;
  }

  #begin(response: Response): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#res.writeHead(response.status, Object.fromEntries(response.headers));
  }

  get #isStream(): boolean {
    return this.#response?.headers.get("content-type")?.startsWith("text/event-stream") === true;
  }

  /** The SDK gives each event by itself. */
  #note(chunk: Uint8Array): void {
    if (!this.#isStream) return;
    const data = Buffer.from(chunk)
      .toString()
      .split("\n")
      .filter((line) => line.startsWith("data: {"));
    for (const line of data) this.#unanswered.delete(answeredBy(line.slice("data: ".length)));
  }
}

function answeredBy(text: string): unknown {
  const { id, method } = JSON.parse(text) as { id?: unknown; method?: unknown };
  return method === undefined ? id : undefined;
}

/** An event of a stream that carries a message (MCP, Streamable HTTP). */
export function event(data: string): string {
  return `event: message\ndata: ${data}\n\n`;
}

/** A client that does not read holds what waits for it in memory. */
export const STALL_MS = 60_000;

const draining = new WeakMap<ExpressResponse, Promise<void>>();

/** Resolves when what was written has been taken, or nobody takes it any more. */
export function drained(res: ExpressResponse, stallMs = STALL_MS): Promise<void> {
  const found = draining.get(res) ?? untilDrained(res, stallMs).finally(() => draining.delete(res));
  draining.set(res, found);
  return found;
}

async function untilDrained(res: ExpressResponse, stallMs: number): Promise<void> {
  const stalled = setTimeout(() => cutStalled(res), stallMs);
  const over = new AbortController();
  const abort = () => over.abort();
  res.once("close", abort);
  try {
    await once(res, "drain", { signal: over.signal });
  } catch {
    // The client went away.
  } finally {
    clearTimeout(stalled);
    res.off("close", abort);
  }
}
