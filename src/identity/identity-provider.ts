/** The interface to the identity provider, of which this server is a confidential client. */
import { z } from "zod";
import type { User, UserId } from "../access/principal.ts";
import type { ApiRequest } from "../oauth/other-api.ts";
import { readableName } from "../oauth/readable-name.ts";
import type { RequiredAuthentication, UserAuthentication } from "../oauth/required-authentication.ts";

/** What the provider gave us for one user. Never leaves this process except encrypted. */
export const UpstreamTokens = z.object({
  accessToken: z.string(),
  refreshToken: z.string().optional(),
  /** Seconds since the epoch. */
  obtainedAt: z.number(),
  /** Seconds since the epoch; absent if the provider did not say. */
  expiresAt: z.number().optional(),
  /** Kept only where it is exchanged for other authorization servers. */
  idToken: z.object({ token: z.string(), expiresAt: z.number() }).optional(),
});
export type UpstreamTokens = z.infer<typeof UpstreamTokens>;

/** A login session at a provider, by its `sid`. */
export interface LoginSession {
  issuer: string;
  sid: string;
}

/** Which authentication at the provider a login stands for, by its ID token alone. Most providers say when the user signed in only if they are asked for a maximum age. */
export interface Authentication extends UserId, UserAuthentication {
  /** The login session there. */
  sid?: string;
}

/** A finished login: who it was, what the provider says of them, and which scopes they really have. */
export interface UpstreamLogin extends Authentication {
  claims: Record<string, unknown>;
  /** The names of claims that a renewal reads again, so that one which is missing then is removed. */
  renewable: string[];
  scopes: string[];
  tokens: UpstreamTokens;
}

/** Whose tokens are renewed. */
export type RenewedLogin = Pick<UpstreamLogin, "issuer" | "subject" | "renewable">;

/** Renewed tokens, and what was learned of the user by the way. */
export interface UpstreamRenewal {
  tokens: UpstreamTokens;
  /**
   * The scopes the user still has; undefined if the provider did not say. It did not where scopes come from a claim
   * and this time that claim was not to be seen: not at all, or only in an ID token.
   */
  scopes: string[] | undefined;
  /**
   * What the provider says of the user now, to be laid over what it said before (`mergeClaims`); `sub` is the sign-in's,
   * and `sid` is left out. Undefined if it could not be learned, and then nothing has changed.
   */
  claims: Record<string, unknown> | undefined;
}

/** Who signed out, or which login session ended: at least one of the two. */
export interface LogoutToken {
  /** The configured one of the provider that says so. */
  issuer: string;
  jti: string;
  subject?: string;
  sid?: string;
  /** Seconds since the epoch, by the provider's clock. */
  issuedAt?: number;
}

/** A token for another API in a user's name. Never leaves this process except encrypted, or to that API. */
export const ExchangedToken = z.object({
  accessToken: z.string(),
  /** What the provider says that it is good for; undefined if it did not say. */
  scopes: z.array(z.string()).optional(),
  /** Seconds since the epoch. */
  obtainedAt: z.number(),
  expiresAt: z.number(),
});
export type ExchangedToken = z.infer<typeof ExchangedToken>;

/** A login that asks for the person alone: no API, and nothing that outlasts it. */
export interface IdentificationRequest {
  redirectUri: string;
  state: string;
  nonce: string;
  codeVerifier: string;
}

export interface LoginRequest extends IdentificationRequest {
  /** Scopes of our tools that the client asked for. */
  scopes: readonly string[];
  /** Claims that decide about the user, by name or dotted path: one that the tokens leave out is asked for. */
  deciding?: readonly string[];
  /** Asked for; whether the user signed in so is for the caller to check. */
  authentication?: RequiredAuthentication | undefined;
}

/** Who it was, by their ID token. */
export type Identity = Authentication & Pick<UpstreamLogin, "claims">;

/** Thrown on a definite "no": what was presented will never be accepted. Everything else is UnavailableError. */
export class UpstreamRefusal extends Error {
  /** The provider's OAuth error code. */
  readonly code: string;
  /** What the provider added to it, as people can see it. */
  readonly description: string | undefined;
  /** Which sign-in it wants, where it says so. */
  readonly required: RequiredAuthentication | undefined;

  constructor(
    code: string,
    options: {
      description?: string | undefined;
      required?: RequiredAuthentication | undefined;
      cause?: unknown;
    } = {},
    what = "The identity provider refused",
  ) {
    super(`${what}: ${redacted(`${code} ${options.description ?? ""}`)}`, { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    // An empty one was left out (RFC 6749 §3.1).
    this.description = readableName(redacted(options.description ?? ""));
    this.required = options.required;
  }
}

/** It is not the identity provider that refuses, but another authorization server: by this issuer. */
export class RefusedElsewhere extends UpstreamRefusal {
  readonly issuer: string;

  constructor(issuer: string, { code, description }: UpstreamRefusal) {
    super(code, { description }, `The authorization server ${issuer} refused`);
    this.issuer = issuer;
  }
}

/** The provider said yes, and our own check does not accept how: the code is ours. */
export class UnacceptableAnswer extends UpstreamRefusal {
  constructor(code: string, options: { cause?: unknown } = {}) {
    super(code, options, "The identity provider's answer was not accepted here");
  }
}

/** Providers quote what they were sent; anything that could be a token or secret stays out of logs and pages. */
function redacted(text: string): string {
  return text
    .trim()
    .slice(0, 500)
    .replace(/[\w.~+/-]{24,}/g, "[redacted]");
}

/**
 * @throws every method throws UnavailableError when the provider cannot be reached or does not answer sensibly.
 */
export interface IdentityProvider {
  /** Where to send the browser. */
  authorizationUrl(request: LoginRequest): Promise<URL>;
  /**
   * Exchanges the code of a callback and validates everything that came with it.
   * @throws UpstreamRefusal; CodeSpentError on an outage after the code was exchanged
   */
  finishLogin(callbackParameters: URLSearchParams, request: LoginRequest): Promise<UpstreamLogin>;
  /**
   * Where to send a browser of which only the person is asked for.
   * @param another whoever is signed in there already is asked who they want to be
   */
  identificationUrl(request: IdentificationRequest, another: boolean): Promise<URL>;
  /**
   * The same as {@link finishLogin} for such a login. No token of it is kept.
   * @throws UpstreamRefusal
   */
  identify(callbackParameters: URLSearchParams, request: IdentificationRequest): Promise<Identity>;
  /**
   * Spends the refresh token and validates what comes back.
   * @param subject whose it is
   * @throws UpstreamRefusal when the refresh token is no longer good
   */
  refresh(refreshToken: string, login: RenewedLogin): Promise<UpstreamRenewal>;
  /**
   * Exchanges the user's access token for one for another API, and checks that it is what was asked for.
   * @param user whose it is
   * @throws UpstreamRefusal, of which an UnacceptableAnswer's code is a reason code
   */
  exchange(
    accessToken: string,
    api: ApiRequest,
    user: Pick<User, "issuer" | "subject" | "claims">,
  ): Promise<ExchangedToken>;
  /**
   * Exchanges the user's ID token for an assertion by which another authorization server knows them (ID-JAG).
   * @throws UpstreamRefusal, of which an UnacceptableAnswer's code is a reason code
   */
  assertionFor(
    idToken: string,
    api: ApiRequest & { authorizationServer: string },
    user: Pick<User, "issuer">,
  ): Promise<string>;
  /** Revokes a token that it gave, where the provider can. Default: a refresh token. */
  revoke(token: string, kind?: "refresh_token" | "access_token"): Promise<void>;
  /**
   * Verifies a logout token (OpenID Connect Back-Channel Logout §2.6). Its key may be too new to be known here, which is
   * an UnavailableError that says when to come again.
   * @throws UpstreamRefusal if it is not a genuine, fresh one
   */
  verifyLogoutToken(token: string): Promise<LogoutToken>;
  /** Where to send a browser that wants to sign out there too; undefined if the provider has no such place. */
  endSessionUrl(): Promise<URL | undefined>;
  /** Those of the tools' scopes that no sign-in asks the provider for, although that is how a user would get them. */
  unaskedScopes(toolScopes: readonly string[]): Promise<readonly string[]>;
  /** Resolves once discovery succeeded. */
  ready(): Promise<void>;
}
