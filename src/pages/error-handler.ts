/** Turns a thrown error into a response: a redirect, a page, JSON or JSON-RPC. */

import type { ErrorRequestHandler, Response } from "express";
import { requestFacts } from "../http/request-facts.ts";
import {
  AuthorizationError,
  LoginFailedError,
  NotAdmittedError,
  OAuthError,
  SignInStoppedError,
  UntrustedRedirectError,
} from "../oauth/errors.ts";
import { destination } from "../oauth/redirect-uri.ts";
import type { Log } from "../runtime/log.ts";
import { errorPage, type WayBack } from "./error-page.ts";
import type { Pages } from "./shell.ts";

/** For endpoints that programs call: RFC 6749 §5.2. */
export function jsonErrors(log: Log): ErrorRequestHandler {
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
      .json({ error: error.code, error_description: onTheWire(error) });
  };
}

/** RFC 6749 §5.2 and §4.1.2.1 leave quotes, backslashes and everything beyond ASCII out of a description. */
function onTheWire(error: OAuthError): string {
  return error.message.replaceAll('"', "'").replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, "?");
}

function clientAnswer(error: AuthorizationError, issuer: string): Record<string, string | undefined> {
  return { error: error.code, error_description: onTheWire(error), state: error.state, iss: issuer };
}

const elsewhere = new WeakMap<Response, string>();

/** If this request fails, its page leads there as well: where the same sign-in begins with a choice of the identity provider. */
export function offerElsewhere(res: Response, url: string | undefined): void {
  if (url !== undefined) elsewhere.set(res, url);
}

const anew = new WeakMap<Response, string>();

/** If this request fails, its page leads there: where the same sign-in begins anew, for who may not go on with this one. */
export function offerAnew(res: Response, url: string): void {
  anew.set(res, url);
}

/** For endpoints that people see: back to the client where that is safe, otherwise a page (JSON for a program). */
export function pageErrors(log: Log, issuer: string, pages: Pages): ErrorRequestHandler {
  return async (thrown, req, res, next) => {
    if (res.headersSent) return next(thrown);
    const error = noted(thrown, res, log);
    res.set("Cache-Control", "no-store");
    if (error instanceof AuthorizationError && !isForPerson(error)) {
      const answer = clientAnswer(error, issuer);
      return res.redirect(
        req.method === "POST" ? 303 : 302,
        authorizationResponse(error.redirectUri, answer),
      );
    }
    if (req.accepts(["html", "json"]) === "json")
      return void res.status(error.status).json({ error: error.code, error_description: onTheWire(error) });
    const back = error instanceof AuthorizationError ? wayBack(error, issuer) : undefined;
    const { title, body } = errorPage(error, {
      requestId: requestFacts(res).requestId,
      baseUrl: issuer,
      homeUrl: pages.homeUrl,
      canReload: req.method === "GET",
      back,
      elsewhere: elsewhere.get(res),
      anew: anew.get(res),
    });
    // A client in a terminal waits until it gets an answer, and not everybody follows a link.
    if (back?.seconds !== undefined) res.set("Refresh", `${back.seconds}; url=${back.href}`);
    await pages.send(res, error.status, title, body);
  };
}

/** The way back to the client, which the page takes by itself after a while: not to a place that nobody vouches for. */
function wayBack(error: AuthorizationError, issuer: string): WayBack {
  const { redirectUri } = error;
  const href = authorizationResponse(redirectUri, clientAnswer(error, issuer));
  const where = destination(redirectUri);
  if (error instanceof UntrustedRedirectError) return { href, where };
  const mayTry = error instanceof SignInStoppedError && error.tryAgain !== undefined;
  return { href, where, seconds: mayTry ? TRYING_SECONDS : READING_SECONDS };
}

/** Shown before the redirect to the client, with a link to it. */
function isForPerson(error: AuthorizationError): boolean {
  const kinds = [LoginFailedError, NotAdmittedError, SignInStoppedError, UntrustedRedirectError];
  return kinds.some((kind) => error instanceof kind);
}

/** Long enough to read a few sentences … */
const READING_SECONDS = 15;
/** … and to try once more. */
const TRYING_SECONDS = 45;

/**
 * A redirect URI with the authorization response added to its query (RFC 6749 §4.1.2). The URI stays as registered. Spaces are
 * `%20`, which every client decodes: `+` is one in forms only (RFC 3986 §2.1), and some print it.
 */
export function authorizationResponse(
  redirectUri: string,
  parameters: Record<string, string | undefined>,
): string {
  const present = Object.entries(parameters).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  const query = new URLSearchParams(present).toString().replaceAll("+", "%20");
  return `${redirectUri}${redirectUri.includes("?") ? "&" : "?"}${query}`;
}

/** The error as one of ours, with what the request's log line needs put aside. */
function noted(thrown: unknown, res: Response, log: Log): OAuthError {
  const error = thrown instanceof OAuthError ? thrown : (malformedPath(thrown) ?? unexpected(thrown, log));
  requestFacts(res).reason = error.reason;
  requestFacts(res).cause = error.cause;
  if (error.retryAfterSeconds !== undefined) res.set("Retry-After", String(error.retryAfterSeconds));
  return error;
}

/** What express throws of a path that is not percent-encoded (RFC 3986 §2.1). */
function malformedPath(thrown: unknown): OAuthError | undefined {
  if (!(thrown instanceof URIError)) return undefined;
  return new OAuthError("invalid_request", "The path is not percent-encoded UTF-8.", {
    reason: "malformed_request",
  });
}

/** Logs an unforeseen error, and turns it into one of ours that reveals nothing of it. */
export function unexpected(thrown: unknown, log: Log): OAuthError {
  log.error({ reason: "unexpected_error", err: thrown }, "Unexpected error");
  return new OAuthError("server_error", "Something unexpected went wrong here. The server's log says what.", {
    reason: "unexpected_error",
    cause: thrown,
  });
}
