/** Which web pages may call us from a browser (Fetch standard, CORS; MCP transport: Origin must be validated). */

import type { IncomingMessage } from "node:http";
import cors from "cors";
import type { RequestHandler } from "express";
import { OAuthError } from "../oauth/errors.ts";
import { isLoopbackHost } from "../oauth/redirect-uri.ts";

const EXPOSED = ["WWW-Authenticate", "MCP-Protocol-Version", "Mcp-Session-Id", "Retry-After", "X-Request-Id"];
const PREFLIGHT_SECONDS = 600;

/** Metadata, registration and tokens are for every client, in browsers too; no cookie opens anything there. */
export const openToAllOrigins: RequestHandler = cors({ exposedHeaders: EXPOSED, maxAge: PREFLIGHT_SECONDS });

/** No page can have sent it: a browser names the page's origin, and asks before it sends what a form could not. */
export function isByProgram({ method, headers }: IncomingMessage): boolean {
  return headers.origin === undefined && method !== "OPTIONS";
}

/**
 * `/mcp` answers pages of its own origin, of this computer (the MCP Inspector), and those that are configured; any
 * other page gets 403, so that a name rebound to this address cannot reach in. Programs send no Origin.
 */
export function allowedOriginsOnly(baseUrl: string, allowedOrigins: readonly string[]): RequestHandler {
  const known = new Set([new URL(baseUrl).origin, ...allowedOrigins]);
  const isAllowed = (origin: string) =>
    known.has(origin) || (URL.canParse(origin) && isLoopbackHost(new URL(origin).hostname));

  const answerPages = cors({ origin: true, exposedHeaders: EXPOSED, maxAge: PREFLIGHT_SECONDS });

  return (req, res, next) => {
    if (isByProgram(req)) return next();
    const { origin } = req.headers;
    if (origin === undefined || isAllowed(origin)) return answerPages(req, res, next);
    // Of a sandboxed frame or a local file: any page can have it.
    const hint =
      origin === "null"
        ? "Pages without an origin (null) may not call this server: serve the page from an address."
        : "Pages of this origin may not call this server: its operator can add the origin to ALLOWED_ORIGINS.";
    throw new OAuthError("invalid_request", hint, { reason: "foreign_origin", status: 403 });
  };
}
