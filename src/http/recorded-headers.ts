/** Headers that are the same on every response, computed once. */
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Middleware } from "./together.ts";

/**
 * Runs a middleware once, records the headers that it sets, and sets them on every response. For a synchronous middleware whose
 * headers do not depend on the request.
 */
export function recordedHeaders(middleware: Middleware): Middleware {
  const req = new IncomingMessage(new Socket());
  const res = new ServerResponse(req);
  let isDone = false;
  middleware(req, res, () => {
    isDone = true;
  });
  if (!isDone) throw new Error("This middleware sets its headers later, or none: it cannot be recorded.");
  const headers = Object.entries(res.getHeaders()).filter((entry): entry is [string, string] =>
    Boolean(entry[1]),
  );
  return (_req, res, next) => {
    for (const [name, value] of headers) res.setHeader(name, value);
    next();
  };
}
