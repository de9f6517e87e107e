/** Several middlewares as one: the router's overhead for each is a good part of the cost of a short request. */
import type { RequestHandler } from "express";

/** In order, each when the one before has called `next`. For synchronous ones: a rejected promise would go unheard. */
export function together(...handlers: readonly RequestHandler[]): RequestHandler {
  return (req, res, next) => {
    const run = (index: number): void => {
      const handler = handlers[index];
      if (handler === undefined) next();
      else void handler(req, res, (error?: unknown) => (error == null ? run(index + 1) : next(error)));
    };
    run(0);
  };
}
