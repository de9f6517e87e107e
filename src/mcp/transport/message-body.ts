/** Reads the body of /mcp: one JSON-RPC message, or a batch (MCP 2025-03-26), within bounds, with errors of JSON-RPC. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { isJsonContentType } from "@modelcontextprotocol/server";
import { type BodyBounds, type ReadJson, readJson } from "../../http/body.ts";
import { requestFacts } from "../../http/request-facts.ts";
import { sendJson } from "../../http/send-json.ts";
import { OAuthError, TooManyRequestsError, UnavailableError } from "../../oauth/errors.ts";
import { currentCaller } from "../../resource/access-token-context.ts";

/** What the SDK takes. */
const MAX_BATCH = 100;

// JSON-RPC 2.0 §5.1
const PARSE_ERROR = -32_700;
const INVALID_REQUEST = -32_600;
const SERVER_ERROR = -32_000;

/**
 * What it says, and its bytes as they came: undefined if it has none, which only methods other than POST may. Comes after the
 * bearer check: bodies count for the session that sends them.
 */
export async function messageBody(
  req: IncomingMessage,
  res: ServerResponse,
  bounds: Omit<BodyBounds, "holder">,
): Promise<ReadJson | "refused" | undefined> {
  try {
    return await readMessages(req, res, bounds);
  } catch (error) {
    refuse(error, res);
    return "refused";
  }
}

/** The same for what has to have a body. Undefined: it was refused, and answered. */
export async function rawMessageBody(
  req: IncomingMessage,
  res: ServerResponse,
  bounds: Omit<BodyBounds, "holder">,
): Promise<ReadJson | undefined> {
  const body = await messageBody(req, res, bounds);
  return body === "refused" ? undefined : body;
}

/**
 * Without a body of ours the SDK would read the request itself, behind the scope gate: what this server did not parse,
 * by whichever disagreement over content types or ends of requests, goes no further.
 * @throws OAuthError
 */
async function readMessages(
  req: IncomingMessage,
  res: ServerResponse,
  bounds: Omit<BodyBounds, "holder">,
): Promise<ReadJson | undefined> {
  const holder = currentCaller("mcp").sessionKey;
  const isJson = isJsonContentType(req.headers["content-type"]);
  const body = isJson ? await readJson(req, res, { ...bounds, holder }) : undefined;
  if (req.method === "POST" && body === undefined)
    throw new OAuthError("invalid_request", "Send one JSON-RPC message as application/json.", {
      reason: "no_json_body",
      status: 415,
    });
  // Before anything is decided about them, one by one.
  if (Array.isArray(body?.value) && body.value.length > MAX_BATCH)
    throw new OAuthError(
      "invalid_request",
      `A batch has at most ${MAX_BATCH} messages: send fewer at once.`,
      {
        reason: "batch_too_large",
      },
    );
  return body;
}

function refuse(error: unknown, res: ServerResponse): void {
  if (!(error instanceof OAuthError)) throw error;
  const { status, reason, message } = error;
  requestFacts(res).reason = reason;
  let code = reason === "unreadable_body" ? PARSE_ERROR : INVALID_REQUEST;
  if (error instanceof TooManyRequestsError || error instanceof UnavailableError) {
    code = SERVER_ERROR;
    res.setHeader("Retry-After", String(error.retryAfterSeconds));
  }
  sendJson(res, status, { jsonrpc: "2.0", error: { code, message }, id: null });
}
