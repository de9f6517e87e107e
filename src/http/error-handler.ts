/** Turns whatever was thrown into the answer its reader needs: a redirect, a page, JSON or JSON-RPC. */
import type { ErrorRequestHandler, Response } from "express";
import { html } from "hono/html";
import type { Logger } from "pino";
import {
  AuthorizationError,
  LoginFailedError,
  NotAdmittedError,
  OAuthError,
  type Said,
  SignInFailedError,
  SignInStoppedError,
  UntrustedRedirectError,
} from "../oauth/errors.ts";
import { destination } from "../oauth/redirect-uri.ts";
import type { Html, Pages } from "./pages.ts";

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

/** For endpoints that people see: back to the client where that is safe, otherwise a page (JSON for a program). */
export function pageErrors(log: Logger, issuer: string, pages: Pages): ErrorRequestHandler {
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
    const { title, body, onward } = errorPage(error, issuer, res.locals.requestId);
    // A client in a terminal waits for as long as nobody tells it, and not everybody follows a link.
    if (onward !== undefined) res.set("Refresh", `${onward.seconds}; url=${onward.url}`);
    await pages.send(res, error.status, title, body);
  };
}

/** Shown before the client hears of it, with the way back to it. */
function isForPerson(error: AuthorizationError): boolean {
  const kinds = [LoginFailedError, NotAdmittedError, SignInStoppedError, UntrustedRedirectError];
  return kinds.some((kind) => error instanceof kind);
}

/** Long enough to read a few sentences … */
const READING_SECONDS = 15;
/** … and to try once more. */
const TRYING_SECONDS = 45;

interface ErrorPage {
  title: string;
  body: Html;
  /** Where the page leads by itself after a while: only for a client that may be told without a click. */
  onward?: { url: string; seconds: number };
}

const TITLES = new Map([
  [404, "Page not found"],
  [429, "Too many requests"],
  [503, "Not available right now"],
]);

function errorPage(error: OAuthError, issuer: string, requestId: string): ErrorPage {
  const codes = html`<p class="codes">Error: <code>${error.code}</code>, reason <code>${error.reason}</code>, request <code>${requestId}</code></p>`;
  if (error instanceof LoginFailedError) {
    const { onward, link, notice } = wayBack(error, issuer, READING_SECONDS);
    return { ...loginFailed(error.said, codes, html`${link}`, notice), onward };
  }
  if (error instanceof SignInStoppedError) {
    const { tryAgain } = error;
    const seconds = tryAgain === undefined ? READING_SECONDS : TRYING_SECONDS;
    const { onward, link, notice } = wayBack(error, issuer, seconds);
    const again = tryAgain === undefined ? "" : html`<a href="${tryAgain}">Try again</a> · `;
    return {
      title: TITLES.get(error.status) ?? "Signing in failed",
      body: html`<p>${error.message}</p>
${notice}
<p class="back">${again}${link}</p>
${codes}`,
      onward,
    };
  }
  if (error instanceof UntrustedRedirectError) {
    const back = authorizationResponse(error.redirectUri, clientAnswer(error, issuer));
    const where = destination(error.redirectUri);
    return {
      title: TITLES.get(error.status) ?? "An application asked for something wrong",
      body: html`<p>${error.message}</p>
<p>An application sent you here, and nobody has verified which. If you did not start a sign-in just now, close this page.</p>
<p>If you did, go back: then your application knows what is wrong. This link leads to</p>
<p class="address">${where}</p>
<p class="back"><a href="${back}">Back to ${where}</a></p>
${codes}`,
    };
  }
  if (error instanceof SignInFailedError)
    return loginFailed(error.said, codes, html`<a href="${issuer}/connections">Try again</a>`);
  if (error instanceof NotAdmittedError) {
    const { onward, link, notice } = wayBack(error, issuer, READING_SECONDS);
    return {
      title: "This server is not open to you",
      body: html`<p>${error.message}</p>
<p>To use another account, <a href="${issuer}/logout">sign out</a> first and start again in your application.</p>
${notice}
<p class="back">${link}</p>
${codes}`,
      onward,
    };
  }
  const title = TITLES.get(error.status) ?? "This cannot go on";
  return { title, body: html`<p>${error.message}</p>${codes}` };
}

/** The link that tells the client, and the same by itself after `seconds`. */
function wayBack(error: AuthorizationError, issuer: string, seconds: number) {
  const url = authorizationResponse(error.redirectUri, clientAnswer(error, issuer));
  return {
    onward: { url, seconds },
    link: html`<a href="${url}">Back to your application</a>`,
    notice: html`<p class="soft">Your application does not know yet. In ${seconds} seconds this page takes you back to it.</p>`,
  };
}

function loginFailed(said: Said, codes: Html, wayOn: Html, notice: Html | "" = ""): ErrorPage {
  const who =
    said.found === undefined
      ? "The identity provider said:"
      : `This server did not accept the identity provider's answer: ${said.found}. To sign in once more may help.`;
  return {
    title: "Signing in failed",
    body: html`<p>${who}</p>
<p class="warn"><code>${said.code}</code> ${said.description ?? ""}</p>
<p>If this does not help you, the operator of this server can look up the request in its log.</p>
${notice}
<p class="back">${wayOn}</p>
${codes}`,
  };
}

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
function noted(thrown: unknown, res: Response, log: Logger): OAuthError {
  const error = thrown instanceof OAuthError ? thrown : (malformedPath(thrown) ?? unexpected(thrown, log));
  res.locals.reason = error.reason;
  res.locals.cause = error.cause;
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

/** Something that nobody foresaw, written down, as an error of ours that tells nothing of it. */
export function unexpected(thrown: unknown, log: Logger): OAuthError {
  log.error({ reason: "unexpected_error", err: thrown }, "Unexpected error");
  return new OAuthError("server_error", "Something unexpected went wrong here. The server's log says what.", {
    reason: "unexpected_error",
    cause: thrown,
  });
}
