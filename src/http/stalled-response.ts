/** A client that does not take its answer to the end holds it in memory. */

import type { ServerResponse } from "node:http";
import { requestFacts } from "./request-facts.ts";
import type { Middleware } from "./together.ts";

/**
 * Cuts the connection when what is left of a response that is complete makes no progress for so long. Until then whoever
 * writes it waits for the client (`drained` in mcp/transport/event-stream.ts). Afterwards node:http sets the time for the next request.
 */
export function cutWhenStalled(milliseconds: number): Middleware {
  return (_req, res, next) => {
    // A socket's time-out begins anew when the client takes something or sends something. Node.js asks what was taken when
    // the time is over, so what a client took at the beginning counts once more: it is cut after twice the time at most.
    res.once("prefinish", () => res.setTimeout(milliseconds, () => cutStalled(res)));
    next();
  };
}

/** For whoever found out that nobody takes it; the request's line in the log says so. */
export function cutStalled(res: ServerResponse): void {
  requestFacts(res).reason = "answer_not_taken";
  res.destroy();
}
