/** Who is calling a protected resource, and what they may do. */
import type { Decision, NotAdmitted, PermissionSet } from "../access/permissions.ts";
import type { PrincipalFields, Requester } from "../access/principal.ts";
import type { JwtProblem } from "../issuers/jwt.ts";
import type { ApiRequest } from "../oauth/other-api.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import type { RequiredAuthentication, UserAuthentication } from "../oauth/required-authentication.ts";
import type { RequiredScopes } from "../oauth/scope-requirement.ts";

/** As a token was found to be when it was verified. Immutable: what is found later is another value. */
export interface Caller extends Requester, UserAuthentication {
  readonly resource: string;
  /** What was granted and everything that it includes, less what the policy denied. */
  readonly scopes: readonly string[];
  /** What was approved and the identity provider does not give. */
  readonly notGiven: readonly string[];
  /** What the caller may do, by the rules that are in force when it is read. */
  readonly permissions: PermissionSet;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
  /** Absent: the token is another issuer's, so there is no grant of this server's. */
  readonly grantId?: string;
  /** Tells the tokens of a grant apart, and is no credential. */
  readonly tokenId?: string;
  /**
   * Names the session, and is no credential: server requests, cancellations, log levels, states of multi-round-trip calls, and the
   * shares of running calls and of memory for bodies belong to it. That of a grant is its id; that of another issuer's tokens is
   * the same for all that it issues to one principal through one client.
   */
  readonly sessionKey: string;
  /** Their own access token at the identity provider, renewed if need be. Absent: they have none there. */
  upstreamToken?(): Promise<string>;
  /** Absent: they did not sign in at the identity provider. */
  readonly otherApis?: OtherApis;
}

/** Other APIs in the name of a user. */
export interface OtherApis {
  /** Those of an API's scopes that the resource has, too. */
  declaredHere(scopes: readonly string[]): readonly string[];
  tokenFor(api: ApiRequest): Promise<string>;
  /** The API answered that the token is worth nothing. */
  refused(api: ApiRequest, accessToken: string): Promise<void>;
}

/** Who a request turned out to be from. */
export interface AuthenticatedRequest {
  /** As last verified: the scopes may have become fewer since the request came. */
  readonly caller: Caller;
  /** What the token is worth now, which counts when it is accepted. */
  verify(): Promise<Verification>;
  accept(caller: Caller): void;
  /** Whether the caller holds what only turns out to be needed on the way; `required` has it from then on. */
  checkScopes(required: RequiredScopes): Decision;
  readonly required: Iterable<RequiredScopes>;
  /** Why the caller's sign-in is not enough for this; undefined if it is. It is decided once: a call may take longer. */
  checkAuthentication(required: RequiredAuthentication): AuthenticationRefusal | undefined;
}

export type AuthenticationRefusal = Extract<
  ReasonCode,
  "insufficient_user_authentication" | "no_user_authentication"
>;

/** Why an access token is not accepted. */
export type AccessTokenRefusal =
  | Extract<
      ReasonCode,
      | "malformed_access_token"
      | "grant_ended"
      | "unknown_access_token"
      | "expired_access_token"
      | "access_token_for_another_resource"
      | "client_credentials_removed"
    >
  | ForeignTokenRefusal
  | NotAdmitted["reason"];

/** What is wrong with an access token of another issuer. The rest of what may be wrong with a JWT concerns assertions. */
export type ForeignTokenRefusal = Exclude<
  JwtProblem,
  "assertion_claims" | "assertion_replayed" | "workload_not_named" | "jwt_lifetime_too_long"
>;

/** A refusal is a reason code for the log, and whose token it was, if that is certain. */
export type Verification =
  | { caller: Caller }
  | {
      refused: AccessTokenRefusal;
      whose?: { grantId?: string; clientId: string } & PrincipalFields;
      rule?: string;
    };
