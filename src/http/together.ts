/** What every request passes, in terms of Node.js alone: express, and its router, need not have seen it. */
import type { IncomingMessage, ServerResponse } from "node:http";

/** Of express as well, which adds to both. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void;

/** Several as one, in order, each when the one before has called `next`. For synchronous ones: a rejected promise would go unheard. */
export function together(...handlers: readonly Middleware[]): Middleware {
  return (req, res, next) => {
    const run = (index: number): void => {
      const handler = handlers[index];
      if (handler === undefined) next();
      else handler(req, res, (error?: unknown) => (error == null ? run(index + 1) : next(error)));
    };
    run(0);
  };
}
