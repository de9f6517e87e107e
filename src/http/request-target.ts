/** What a request names (RFC 9112 §3.2), in the one form that routes, the log and metrics know. */
import type { RequestHandler } from "express";

const SCHEME_AND_AUTHORITY = /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i;

/**
 * RFC 9112 §3.2.2: the absolute form is as good as the origin form. Which host it names is nothing to us, like the Host
 * header: addresses come from the configuration.
 */
export const inOriginForm: RequestHandler = (req, _res, next) => {
  if (!req.url.startsWith("/")) {
    const rest = req.url.replace(SCHEME_AND_AUTHORITY, "");
    if (rest !== req.url) req.url = rest.startsWith("/") ? rest : `/${rest}`;
  }
  next();
};
