/** Who is calling, for whoever is asked to act: set by the bearer check, read by tools, resources and prompts. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Denial } from "../access/permissions.ts";
import { claimsOf, subjectOf } from "../access/principal.ts";
import { AnotherSignInRequired } from "../grants/exchange-refusals.ts";
import { noUpstreamTokens } from "../grants/grant.ts";
import { type ApiRequest, apiRequest, type OtherApi } from "../oauth/other-api.ts";
import {
  type AuthenticationRequirement,
  authenticationIn,
  type RequiredAuthentication,
  requiredAuthentication,
  type UserAuthentication,
} from "../oauth/required-authentication.ts";
import {
  describeRequirement,
  type RequiredScopes,
  requiredScopes,
  type ScopeRequirement,
} from "../oauth/scope-requirement.ts";
import { waitingTime } from "../runtime/time-in-words.ts";
import type { AuthenticatedRequest, AuthenticationRefusal, Caller } from "./caller.ts";

/** Who is calling, through which client, and what they may do. Immutable. */
export interface AccessToken extends UserAuthentication {
  /** The user's `sub` at the identity provider, or other issuer; of a client that acts for itself, its id (RFC 9068 §2.2). */
  readonly subject: string;
  /** Who acts: a person, a client for itself, or a program of which its platform says who it is. */
  readonly kind: "user" | "client" | "workload";
  /** Who names the subject: two issuers may give the same one to different people. Absent: a client of this server's. */
  readonly issuer?: string;
  /** That of a client of another issuer is `<issuer>#<its id there>`. */
  readonly clientId: string;
  /** What may be done now: what was granted and everything that it includes, less what the policy denies. */
  readonly scopes: readonly string[];
  /** Scopes that the user approved and the identity provider did not give; its administrator can. */
  readonly notGiven: readonly string[];
  /** What the identity provider says of the user: ID token, userinfo and access token claims, in this order. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
  readonly resource: string;
  /** Absent: the token is another issuer's, so there is no session here. */
  readonly grantId?: string;
  /** Where the client receives its codes, if it does: distinguishes clients that registered themselves. */
  readonly redirectUri?: string;
}

/** Thrown by {@link requireScopes}. */
export class InsufficientScopeError extends Error {
  override readonly name = "InsufficientScopeError";
  readonly decision: Denial;

  constructor(required: RequiredScopes, decision: Denial) {
    super(
      decision.because === "scopes"
        ? `This needs the scope ${describeRequirement(required)}, which was not granted.`
        : `This needs the scope ${describeRequirement(required)}, which this server's policy does not give you (rule "${decision.rule.name}").`,
    );
    this.decision = decision;
  }
}

/** Thrown by {@link requireAuthentication}. */
export class InsufficientAuthenticationError extends Error {
  override readonly name = "InsufficientAuthenticationError";
  readonly required: RequiredAuthentication;
  readonly reason: AuthenticationRefusal;

  constructor(required: RequiredAuthentication, reason: AuthenticationRefusal) {
    super(
      reason === "no_user_authentication"
        ? "This needs a user who signed in, and this client acts without one."
        : `This needs ${inWords(required)}. Sign in again in your application, then call again.`,
    );
    this.required = required;
    this.reason = reason;
  }
}

function inWords({ maxAge, acrValues }: RequiredAuthentication): string {
  const age = maxAge === undefined ? "a sign-in" : `a sign-in that is at most ${waitingTime(maxAge)} old`;
  return acrValues === undefined ? age : `${age}, by ${acrValues.join(" or ")}`;
}

const authenticatedRequests = new AsyncLocalStorage<AuthenticatedRequest>();

/**
 * The verified access token of the request being handled.
 * @throws Error outside of an authenticated request, so that no code path can mistake "nobody" for somebody.
 */
export function getAccessToken(): AccessToken {
  const caller = currentCaller("getAccessToken");
  const { principal, client, scopes, notGiven, expiresAt, resource, grantId } = caller;
  const { id: clientId, redirectUri } = client;
  const token = {
    subject: subjectOf(principal),
    kind: principal.kind,
    ...(principal.issuer !== undefined && { issuer: principal.issuer }),
    clientId,
    scopes,
    notGiven,
    claims: claimsOf(principal),
    ...authenticationIn(caller),
    expiresAt,
    resource,
    ...(grantId !== undefined && { grantId }),
  };
  return Object.freeze(redirectUri === undefined ? token : { ...token, redirectUri });
}

/**
 * The user's own access token at the identity provider, for calling an API in their name; renewed if it is about to
 * end. Send it to the API that it is for (its audience), never back to the MCP client.
 * @throws OAuthError `invalid_grant` if the user's sign-in has ended there, UnavailableError on an outage: let them pass,
 * and the caller is told; Error outside of an authenticated request
 */
export async function getUpstreamAccessToken(): Promise<string> {
  const { upstreamToken } = currentCaller("getUpstreamAccessToken");
  if (upstreamToken === undefined) throw noUpstreamTokens();
  return await upstreamToken();
}

/**
 * An access token for another API in the user's name. The identity provider exchanges the user's own for it (RFC 8693; Entra's
 * on-behalf-of; Auth0's ways), or another authorization server issues it for the identity provider's assertion of the user (ID-JAG).
 * It is kept for the session until it is about to end, so ask whenever you need it. A scope that this server declares too is required
 * of the caller first, as by {@link requireScopes}. Name the API in your code, never from a tool's input. Send the token to that API,
 * never back to the MCP client.
 * @throws InsufficientScopeError; InsufficientAuthenticationError if the provider says which sign-in it wants; OAuthError that says
 * what the user can do if it refuses otherwise, or `invalid_grant` if their sign-in has ended; UnavailableError on an outage: let them pass, and the caller is told; Error outside of an authenticated
 * request, or if the API is not named in one way
 */
export async function getAccessTokenFor(api: OtherApi): Promise<string> {
  return await accessTokenFor(apiRequest(api, "getAccessTokenFor()"));
}

/** The same for a request that was checked. */
export async function accessTokenFor(request: ApiRequest): Promise<string> {
  const { otherApis } = currentCaller("getAccessTokenFor");
  if (otherApis === undefined) throw noUpstreamTokens();
  requireScopes(...otherApis.declaredHere(request.scopes));
  try {
    return await otherApis.tokenFor(request);
  } catch (error) {
    // Once: who signed in so, and is refused all the same, is told in words.
    const problem =
      error instanceof AnotherSignInRequired && authenticationProblem(error.required, "getAccessTokenFor");
    throw problem ? noted(problem) : error;
  }
}

/**
 * For what depends on arguments: goes on only if the caller holds every one of these scopes. Call it before anything is
 * sent: the client is then answered with HTTP 403 and a challenge (RFC 6750 §3.1), asks the user, and calls again; later
 * it becomes an error in the result.
 * @throws InsufficientScopeError: let it pass; Error outside of an authenticated request
 */
export function requireScopes(...scopes: ScopeRequirement): void {
  const required = requiredScopes(scopes, "requireScopes()");
  const decision = authenticatedRequest("requireScopes").checkScopes(required);
  if (decision.allowed) return;
  throw noted(new InsufficientScopeError(required, decision));
}

/**
 * For what depends on arguments: goes on only if the user signed in at the identity provider lately enough, and in one of
 * these ways. Call it before anything is sent: the client is then answered with HTTP 401 and a challenge (RFC 9470), has
 * the user sign in again, and calls again; later it becomes an error in the result.
 * @throws InsufficientAuthenticationError: let it pass; Error outside of an authenticated request, or for what nobody can
 * meet
 */
export function requireAuthentication(requirement: AuthenticationRequirement): void {
  const required = requiredAuthentication(requirement, "requireAuthentication()");
  const error = authenticationProblem(required, "requireAuthentication");
  if (error !== undefined) throw noted(error);
}

/** @throws Error outside of an authenticated request */
export function authenticationProblem(
  required: RequiredAuthentication,
  asked: string,
): InsufficientAuthenticationError | undefined {
  const reason = authenticatedRequest(asked).checkAuthentication(required);
  return reason && new InsufficientAuthenticationError(required, reason);
}

type Refusal = InsufficientScopeError | InsufficientAuthenticationError;

function noted<Thrown extends Refusal>(error: Thrown): Thrown {
  const noting = refusals.getStore();
  if (noting !== undefined) noting.latest = error;
  return error;
}

/** Where {@link notingRefusal} looks for what was thrown. */
const refusals = new AsyncLocalStorage<{ latest?: Refusal }>();

/**
 * Runs `work`; with its result comes what {@link requireScopes} or {@link requireAuthentication}
 * threw meanwhile, whatever became of that.
 */
export async function notingRefusal<Result>(
  work: () => Promise<Result>,
): Promise<{ result: Result; refusal: Refusal | undefined }> {
  const noting: { latest?: Refusal } = {};
  const result = await refusals.run(noting, work);
  return { result, refusal: noting.latest };
}

/** @throws Error outside of an authenticated request */
export function currentCaller(asked: string): Caller {
  return authenticatedRequest(asked).caller;
}

/** @throws Error outside of an authenticated request */
function authenticatedRequest(asked: string): AuthenticatedRequest {
  const found = authenticatedRequests.getStore();
  if (found === undefined)
    throw new Error(
      `${asked}() was called outside of an authenticated request: call it inside a tool's run().`,
    );
  return found;
}

/** Runs `work`, and everything it starts, on behalf of the caller. */
export function withAuthenticatedRequest<T>(authenticated: AuthenticatedRequest, work: () => T): T {
  return authenticatedRequests.run(authenticated, work);
}
