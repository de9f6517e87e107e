/** Errors that stop a sign-in after its request was validated: the client, which waits for an answer, gets one. */

import type { AuthorizationRequest } from "../login/transaction.ts";
import {
  AuthorizationError,
  type ErrorDetail,
  OAuthError,
  type OAuthErrorCode,
  SignInStoppedError,
  TooManyRequestsError,
  UnavailableError,
  UntrustedRedirectError,
} from "../oauth/errors.ts";
import { unexpected } from "../pages/error-handler.ts";
import type { Log } from "../runtime/log.ts";

/** A link to the page that it stands on, whatever a proxy made of the URL. */
export const SAME_PAGE = "";

interface Circumstances {
  /** Where the person may try again if it was an outage. */
  tryAgain: string;
  /** False for a client that nobody vouches for and nobody approved yet: see trusted-redirect.ts. */
  mayReturn: boolean;
  log: Log;
}

/**
 * The error to throw instead of `thrown`. What knows its way to the client already, or has no business there, such as the
 * removal of that client, stays as it is.
 */
export function stopped(
  thrown: unknown,
  request: Pick<AuthorizationRequest, "redirectUri" | "state">,
  { tryAgain, mayReturn, log }: Circumstances,
): unknown {
  if (thrown instanceof AuthorizationError) return thrown;
  const isOutage = thrown instanceof UnavailableError || thrown instanceof TooManyRequestsError;
  if (thrown instanceof OAuthError && !isOutage) return thrown;
  const error = thrown instanceof OAuthError ? thrown : unexpected(thrown, log);
  const { reason, status, cause, retryAfterSeconds } = error;
  const detail: ErrorDetail = { reason, status, cause, ...(retryAfterSeconds && { retryAfterSeconds }) };
  const code = codeOf(error);
  const helps = isOutage && code !== "server_error";
  const Stopped = mayReturn ? SignInStoppedError : UntrustedRedirectError;
  return new Stopped(code, error.message, request, { ...detail, ...(helps && { tryAgain }) });
}

/** RFC 6749 §4.1.2.1. What the operator has to repair is not temporary, although it is a 503 for everybody. */
function codeOf(error: OAuthError): OAuthErrorCode {
  return error instanceof UnavailableError && error.untilRepaired ? "server_error" : error.code;
}
