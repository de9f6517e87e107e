/** Normalizes the request target (RFC 9112 §3.2) to origin form, which routes, the log and metrics use. */
import type { IncomingMessage } from "node:http";
import type { Middleware } from "./together.ts";

const SCHEME_AND_AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]+/i;

/**
 * RFC 9112 §3.2.2: the absolute form must be accepted too. Its host is ignored, like the Host header: addresses come from the
 * configuration.
 */
export const inOriginForm: Middleware = (req, _res, next) => {
  const { url = "/" } = req;
  if (!url.startsWith("/")) {
    const rest = url.replace(SCHEME_AND_AUTHORITY, "");
    if (rest !== url) req.url = rest.startsWith("/") ? rest : `/${rest}`;
  }
  next();
};

/** The path of a request whose target is in origin form, as express's `req.path`. */
export function pathOfRequest({ url = "/" }: IncomingMessage): string {
  const end = url.search(/[?#]/);
  return end === -1 ? url : url.slice(0, end);
}
