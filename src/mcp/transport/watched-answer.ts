/** An answer on its way, which the sweep over all running calls keeps open, and may end or refuse while nothing was sent. */
import type { ServerResponse } from "node:http";
import { type Ending, errorMessage } from "../server/ending.ts";
import type { RunningCall, Serving } from "../server/running-calls.ts";
import { event } from "./event-stream.ts";

export interface WatchedAnswerOptions {
  /** Watches over it. Absent for what asks for nothing. */
  running: Pick<RunningCall, "servedBy" | "doubt"> | undefined;
  /** The ids of the requests that are to be answered. */
  ids: readonly unknown[];
  /** Answers what is stopped before anything was sent. */
  refuse(ending: Ending): void;
}

export abstract class WatchedAnswer implements Serving {
  protected readonly res: ServerResponse;
  protected readonly unanswered: Set<unknown>;
  readonly #options: WatchedAnswerOptions;
  readonly #gone = new AbortController();

  constructor(res: ServerResponse, options: WatchedAnswerOptions) {
    this.res = res;
    this.unanswered = new Set(options.ids);
    this.#options = options;
    options.running?.servedBy(this);
    res.once("close", () => {
      if (!res.writableFinished) this.#gone.abort();
    });
  }

  /** Aborted when nobody waits for the answer any more. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  abstract keepAlive(): void;

  /** Whether something of it was sent. */
  protected abstract get isBegun(): boolean;

  /** Ends what has begun: whoever waits is told, as far as the answer has a place for that. */
  protected abstract breakOff(why: Pick<Ending, "message" | "reason">): void;

  end(ending: Ending): boolean {
    if (this.isOver || !this.isBegun) return this.refuse(ending);
    this.breakOff(ending);
    this.#gone.abort();
    return true;
  }

  refuse(ending: Ending): boolean {
    if (this.isOver || this.isBegun) return false;
    this.#options.refuse(ending);
    this.#gone.abort();
    return true;
  }

  protected get isOver(): boolean {
    return this.gone.aborted || this.res.writableEnded;
  }

  /** Whether the session is being looked at again: see {@link RunningCall.doubt}. */
  protected get doubt(): Promise<unknown> | undefined {
    return this.#options.running?.doubt;
  }

  /** An error in the stream for each request that waits. */
  protected tellUnanswered(why: Pick<Ending, "message" | "reason">): void {
    for (const id of this.unanswered) this.res.write(event(JSON.stringify(errorMessage(id, why))));
  }
}
