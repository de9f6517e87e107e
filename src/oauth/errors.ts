/**
 * Every error this server answers with, and the HTTP status of each code. A description goes on the wire; the
 * reason code and the cause go to the log only.
 */
import type { ReasonCode } from "./reason-codes.ts";
import type { ValidatedRedirectUri } from "./redirect-uri.ts";

/** Error codes of RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, RFC 7591 §3.2.2, RFC 8707 §2, RFC 9470 §5, and their HTTP status. */
const STATUS = {
  access_denied: 403,
  insufficient_scope: 403,
  interaction_required: 400,
  invalid_client: 401,
  invalid_client_metadata: 400,
  invalid_grant: 400,
  invalid_redirect_uri: 400,
  invalid_request: 400,
  invalid_scope: 400,
  invalid_target: 400,
  invalid_token: 401,
  request_not_supported: 400,
  request_uri_not_supported: 400,
  server_error: 500,
  temporarily_unavailable: 503,
  unauthorized_client: 400,
  unmet_authentication_requirements: 403,
  unsupported_grant_type: 400,
  unsupported_response_type: 400,
} as const;

export type OAuthErrorCode = keyof typeof STATUS;

export interface ErrorDetail {
  /** For the log: which check refused. */
  reason: ReasonCode;
  cause?: unknown;
  /** Overrides the code's default HTTP status (405, 413, 415). */
  status?: number;
  /** When to come again, where that is known. */
  retryAfterSeconds?: number;
  /** Whom it is about, for the audit log. */
  about?: {
    subject?: string;
    principalKind?: "user" | "client" | "workload";
    issuer?: string;
    grantId?: string;
    protectedResource?: string;
    rule?: string | undefined;
  };
}

export class OAuthError extends Error {
  readonly code: OAuthErrorCode;
  readonly reason: ReasonCode;
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;
  readonly about: NonNullable<ErrorDetail["about"]>;

  constructor(code: OAuthErrorCode, description: string, detail: ErrorDetail) {
    super(description, { cause: detail.cause });
    this.name = new.target.name;
    this.code = code;
    this.reason = detail.reason;
    this.status = detail.status ?? STATUS[code];
    this.retryAfterSeconds = detail.retryAfterSeconds;
    this.about = detail.about ?? {};
  }
}

/** An error that may be sent to the client through the browser, because its redirect URI was validated. */
export class AuthorizationError extends OAuthError {
  readonly redirectUri: ValidatedRedirectUri;
  readonly state: string | undefined;

  constructor(
    code: OAuthErrorCode,
    description: string,
    to: { redirectUri: ValidatedRedirectUri; state?: string | undefined },
    detail: ErrorDetail,
  ) {
    super(code, description, detail);
    this.redirectUri = to.redirectUri;
    this.state = to.state;
  }
}

interface MayTryAgain extends ErrorDetail {
  /** Where the person may try once more, from the page that says so; undefined where that cannot help. */
  tryAgain?: string | undefined;
}

/** One that the person sees on a page, before or instead of the client. */
export abstract class ShownAuthorizationError extends AuthorizationError {
  readonly tryAgain: string | undefined;

  constructor(
    code: OAuthErrorCode,
    description: string,
    to: { redirectUri: ValidatedRedirectUri; state?: string | undefined },
    detail: MayTryAgain,
  ) {
    super(code, description, to, detail);
    this.tryAgain = detail.tryAgain;
  }
}

/**
 * An error before the user was asked, for an address that nobody vouches for: it is shown to the person, who decides whether
 * to go there (RFC 9700 §4.11.2).
 */
export class UntrustedRedirectError extends ShownAuthorizationError {}

/** Why nobody was signed in: what the identity provider said, or what our own check of its answer found. */
export interface Said {
  /** An error code of the provider, or of our check. */
  code: string;
  /** What the provider added to it: redacted and bounded. */
  description?: string | undefined;
  /** What our check found, in words that complete "This server did not accept the answer: …"; undefined if the provider refused. */
  found?: string | undefined;
}

/**
 * The sign-in failed: a page says why, and leads back to the client a moment later. The client gets our own
 * description, and nothing of what the provider said.
 */
export class LoginFailedError extends AuthorizationError {
  readonly said: Said;

  constructor(
    code: OAuthErrorCode,
    description: string,
    to: { redirectUri: ValidatedRedirectUri; state?: string | undefined },
    detail: ErrorDetail & { said: Said },
  ) {
    super(code, description, to, detail);
    this.said = detail.said;
  }
}

/** The same of a login that no client waits for: the person may try again. */
export class SignInFailedError extends OAuthError {
  readonly said: Said;

  constructor(code: OAuthErrorCode, description: string, detail: ErrorDetail & { said: Said }) {
    super(code, description, detail);
    this.said = detail.said;
  }
}

/** The user is authenticated but not admitted: a page says so, and leads back to the client afterwards. */
export class NotAdmittedError extends AuthorizationError {}

/**
 * Something here or at the provider stopped a sign-in whose request was valid. The person sees a page, and the client gets
 * its answer a moment later.
 */
export class SignInStoppedError extends ShownAuthorizationError {}

/** Somebody asks too often: 429 with `Retry-After` (RFC 6585 §4). */
export class TooManyRequestsError extends OAuthError {
  declare readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds: number, reason: ReasonCode) {
    super("temporarily_unavailable", `Too many requests. Try again in ${retryAfterSeconds} seconds.`, {
      reason,
      status: 429,
      retryAfterSeconds,
    });
  }
}

/** Something we depend on is out of reach: always 503 with `Retry-After`, and nothing was consumed. */
export class UnavailableError extends OAuthError {
  declare readonly retryAfterSeconds: number;
  /** It lasts until the operator repairs something: to try again soon does not help. */
  readonly untilRepaired: boolean;

  /** @param detail.retryAfterSeconds where it is known; 5 otherwise */
  constructor(
    what:
      | "storage"
      | "identity provider"
      | "issuer of the token"
      | "authorization server"
      | "application's web site"
      | "server",
    detail: {
      reason: ReasonCode;
      cause?: unknown;
      description?: string;
      retryAfterSeconds?: number;
      untilRepaired?: boolean;
    },
  ) {
    const outOfReach = `The ${what} cannot be reached right now. Try again in a moment.`;
    super("temporarily_unavailable", detail.description ?? outOfReach, { retryAfterSeconds: 5, ...detail });
    this.untilRepaired = detail.untilRepaired ?? false;
  }
}

/**
 * An outage after the identity provider's code was exchanged: a code is good once, so the same callback would be refused, and
 * another sign-in may succeed.
 */
export class CodeSpentError extends UnavailableError {
  constructor(outage: UnavailableError) {
    const { reason, cause, message: description, retryAfterSeconds, untilRepaired } = outage;
    super("identity provider", { reason, cause, description, retryAfterSeconds, untilRepaired });
  }
}

/** An error and what caused it in one line, for the log. */
export function causes(error: unknown): string {
  const messages: string[] = [];
  let cause = error;
  for (; cause instanceof Error; cause = cause.cause) messages.push(cause.message);
  if (cause instanceof Response) messages.push(`HTTP ${cause.status}`);
  return messages.join(": ");
}
