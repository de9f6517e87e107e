/** Normalizes the request target (RFC 9112 §3.2) to origin form, which routes, the log and metrics use. */
import type { RequestHandler } from "express";

const SCHEME_AND_AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i;

/**
 * RFC 9112 §3.2.2: the absolute form must be accepted too. Its host is ignored, like the Host header: addresses come from the
 * configuration.
 */
export const inOriginForm: RequestHandler = (req, _res, next) => {
  if (!req.url.startsWith("/")) {
    const rest = req.url.replace(SCHEME_AND_AUTHORITY, "");
    if (rest !== req.url) req.url = rest.startsWith("/") ? rest : `/${rest}`;
  }
  next();
};
