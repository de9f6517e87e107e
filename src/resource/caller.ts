/** Who is calling a protected resource, through which client, and what they may do. */
import type { Decision, PermissionSet } from "../access/permissions.ts";
import type { RequiredScopes } from "../oauth/scope-requirement.ts";
import type { AccessToken } from "./access-token.ts";

/** As a token was found to be when it was verified. Immutable: what is found later is another value. */
export interface Caller {
  readonly token: AccessToken;
  /** What the caller may do, by the rules that are in force when it is read. */
  readonly permissions: PermissionSet;
  /**
   * Names the session: server requests, cancellations, log levels, states of multi-round-trip calls, and the shares of running
   * calls and of memory for bodies belong to it. No credential. The same for all access tokens of a grant: it is the grant's id.
   */
  readonly sessionKey: string;
  /** The caller's own access token at the identity provider, renewed if need be; absent if they have none there. */
  upstreamToken?(): Promise<string>;
}

/** Who a request turned out to be from. */
export interface Authentication {
  /** As last verified: the scopes may have become fewer since the request came. */
  readonly caller: Caller;
  /** What the token is worth now, which counts when it is accepted. */
  verify(): Promise<Verification>;
  accept(caller: Caller): void;
  /** Whether the caller holds what only turns out to be needed on the way; `required` has it from then on. */
  checkScopes(required: RequiredScopes): Decision;
  readonly required: Iterable<RequiredScopes>;
}

/** A refusal is a reason code for the log, and whose token it was, if it was one. */
export type Verification =
  | { caller: Caller }
  | { refused: string; grant?: Pick<AccessToken, "subject" | "clientId" | "grantId">; rule?: string };
