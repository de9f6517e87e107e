/** Sends what the SDK answers (a web `Response`) through express, no sooner than its first bytes are known. */

import type { Ending } from "../server/ending.ts";
import { drained } from "./event-stream.ts";
import { WatchedAnswer } from "./watched-answer.ts";

/**
 * The SDK decides for "200, a stream follows" before a tool has run. Nothing goes out until there is something to send,
 * so that a call which turns out to lack a scope can still be answered as HTTP 403.
 */
export class WebAnswer extends WatchedAnswer {
  #response: Response | undefined;
  #begun = false;

  async send(response: Response): Promise<void> {
    const { res } = this;
    const reader = response.body?.getReader();
    this.#response = response;
    try {
      for (let isDone = false; !isDone; ) {
        const chunk = await reader?.read();
        await this.doubt;
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
    if (response === undefined || !this.#isStream || this.gone.aborted || this.res.writableNeedDrain) return;
    this.#begin(response);
    this.res.write(": keepalive\n\n");
  }

  protected get isBegun(): boolean {
    return this.#begun;
  }

  protected breakOff(ending: Ending): void {
    if (this.#isStream) this.tellUnanswered(ending);
    this.res.end();
  }

  #begin(response: Response): void {
    if (this.#begun) return;
    this.#begun = true;
    // The SDK says keep-alive, also to a client that asked for the end of the connection, and from a server that stops.
    const { connection: _, ...headers } = Object.fromEntries(response.headers);
    this.res.writeHead(response.status, headers);
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
    for (const line of data) this.unanswered.delete(answeredBy(line.slice("data: ".length)));
  }
}

function answeredBy(text: string): unknown {
  const { id, method } = JSON.parse(text) as { id?: unknown; method?: unknown };
  return method === undefined ? id : undefined;
}
