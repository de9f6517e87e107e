/** Reads the body of /mcp: one JSON-RPC message, or a batch (MCP 2025-03-26), within bounds, with errors of JSON-RPC. */

import { isJsonContentType } from "@modelcontextprotocol/server";
import type { Request, RequestHandler, Response } from "express";
import { type BodyBounds, readJson } from "../../http/body.ts";
import { requestFacts } from "../../http/request-facts.ts";
import { OAuthError, TooManyRequestsError, UnavailableError } from "../../oauth/errors.ts";
import { currentCaller } from "../../resource/access-token-context.ts";

/** What the SDK takes. */
const MAX_BATCH = 100;

// JSON-RPC 2.0 §5.1
const PARSE_ERROR = -32_700;
const INVALID_REQUEST = -32_600;
const SERVER_ERROR = -32_000;

/** Leaves it in `req.body`. Comes after the bearer check: bodies count for the session that sends them. */
export function messageBody(bounds: Omit<BodyBounds, "holder">): RequestHandler {
  return async (req, res, next) => {
    try {
      req.body = await readMessages(req, res, bounds);
    } catch (error) {
      return refuse(error, res);
    }
    next();
  };
}

/**
 * Without a body of ours the SDK would read the request itself, behind the scope gate: what this server did not parse,
 * by whichever disagreement over content types or ends of requests, goes no further.
 * @throws OAuthError
 */
async function readMessages(
  req: Request,
  res: Response,
  bounds: Omit<BodyBounds, "holder">,
): Promise<unknown> {
  const holder = currentCaller("mcp").sessionKey;
  const isJson = isJsonContentType(req.headers["content-type"]);
  const body = isJson ? await readJson(req, res, { ...bounds, holder }) : undefined;
  if (req.method === "POST" && body === undefined)
    throw new OAuthError("invalid_request", "Send one JSON-RPC message as application/json.", {
      reason: "no_json_body",
      status: 415,
    });
  // Before anything is decided about them, one by one.
  if (Array.isArray(body) && body.length > MAX_BATCH)
    throw new OAuthError(
      "invalid_request",
      `A batch has at most ${MAX_BATCH} messages: send fewer at once.`,
      {
        reason: "batch_too_large",
      },
    );
  return body;
}

function refuse(error: unknown, res: Response): void {
  if (!(error instanceof OAuthError)) throw error;
  const { status, reason, message } = error;
  requestFacts(res).reason = reason;
  let code = reason === "unreadable_body" ? PARSE_ERROR : INVALID_REQUEST;
  if (error instanceof TooManyRequestsError || error instanceof UnavailableError) {
    code = SERVER_ERROR;
    res.set("Retry-After", String(error.retryAfterSeconds));
  }
  res.status(status).json({ jsonrpc: "2.0", error: { code, message }, id: null });
}
