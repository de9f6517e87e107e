/** Turns whatever was thrown into the answer its reader needs: a redirect, a page, JSON or JSON-RPC. */
import type { ErrorRequestHandler, Response } from "express";
import { html } from "hono/html";
import type { Logger } from "pino";
import { AuthorizationError, OAuthError, TooManyRequestsError, UnavailableError } from "../oauth/errors.ts";
import type { Pages } from "./pages.ts";

/** For endpoints that programs call: RFC 6749 §5.2. */
export function jsonErrors(log: Logger): ErrorRequestHandler {
  return (thrown, req, res, next) => {
    if (res.headersSent) return next(thrown);
    const error = noted(thrown, res, log);
    // RFC 6749 §5.2: only a client that tried the header is asked to use it properly.
    if (error.code === "invalid_client" && req.get("authorization") !== undefined)
      res.set("WWW-Authenticate", 'Basic realm="mcp-oidc-proxy"');
    if (error.code === "invalid_token") res.set("WWW-Authenticate", 'Bearer error="invalid_token"');
    res
      .status(error.status)
      .set("Cache-Control", "no-store")
      .json({ error: error.code, error_description: error.message });
  };
}

/** For endpoints that people see: back to the client where that is safe, otherwise a page (JSON for a program). */
export function pageErrors(log: Logger, issuer: string, pages: Pages): ErrorRequestHandler {
  return async (thrown, req, res, next) => {
    if (res.headersSent) return next(thrown);
    const error = noted(thrown, res, log);
    if (error instanceof AuthorizationError) {
      const answer = { error: error.code, error_description: error.message, state: error.state, iss: issuer };
      return res.redirect(
        req.method === "POST" ? 303 : 302,
        authorizationResponse(error.redirectUri, answer),
      );
    }
    if (req.accepts(["html", "json"]) === "json")
      return void res.status(error.status).json({ error: error.code, error_description: error.message });
    await pages.send(
      res,
      error.status,
      error instanceof UnavailableError ? "Not available right now" : "This cannot go on",
      html`<p>${error.message}</p><p class="soft">Error: <code>${error.code}</code>, reason <code>${error.reason}</code>, request <code>${res.locals.requestId}</code></p>`,
    );
  };
}

/** A redirect URI with the authorization response added to its query (RFC 6749 §4.1.2). The URI stays as registered. */
export function authorizationResponse(
  redirectUri: string,
  parameters: Record<string, string | undefined>,
): string {
  const present = Object.entries(parameters).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return `${redirectUri}${redirectUri.includes("?") ? "&" : "?"}${new URLSearchParams(present)}`;
}

/** The error as one of ours, with what the request's log line needs put aside. */
function noted(thrown: unknown, res: Response, log: Logger): OAuthError {
  const error = thrown instanceof OAuthError ? thrown : (bodyError(thrown) ?? unexpected(thrown, log));
  res.locals.reason = error.reason;
  res.locals.cause = error.cause;
  if (error instanceof UnavailableError || error instanceof TooManyRequestsError)
    res.set("Retry-After", String(error.retryAfterSeconds));
  return error;
}

/** What express's body parsers throw: a body that is too large, cut off, or not what its type says. */
export function bodyError(thrown: unknown): OAuthError | undefined {
  const status =
    thrown instanceof Error && "status" in thrown && "type" in thrown ? Number(thrown.status) : 0;
  if (status < 400 || status > 499) return undefined;
  const description =
    status === 413 ? "The body is too large." : "The body is not what its content type says.";
  return new OAuthError("invalid_request", description, { reason: "unreadable_body", status, cause: thrown });
}

function unexpected(thrown: unknown, log: Logger): OAuthError {
  log.error({ reason: "unexpected_error", err: thrown }, "Unexpected error");
  return new OAuthError("server_error", "Something unexpected went wrong here. The server's log says what.", {
    reason: "unexpected_error",
    cause: thrown,
  });
}
