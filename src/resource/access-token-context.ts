/** Who is calling, for whoever is asked to act: set by the bearer check, read by tools, resources and prompts. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { ClientCapabilities } from "@modelcontextprotocol/server";
import type { Denial, PermissionSet } from "../access/permissions.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import {
  describeRequirement,
  type RequiredScopes,
  requiredScopes,
  type ScopeRequirement,
} from "../oauth/scope-requirement.ts";
import type { AccessToken, Verification } from "./access-token.ts";

export interface Caller {
  /** As it was found to be when it was last asked about: its scopes may have become fewer. */
  readonly token: AccessToken;
  /** The user's own access token at the identity provider, renewed if need be. */
  upstreamAccessToken(): Promise<string>;
  /** What the caller may do. */
  readonly permissionSet: PermissionSet;
  /** What a call turned out to need while it ran; answered with HTTP 403 if nothing was sent before. */
  lacking?: readonly string[];
  /** What {@link requireScopes} has let pass so far. */
  readonly required: Map<string, RequiredScopes>;
  /** What the token is worth now, which counts when it is accepted. */
  verify(): Promise<Verification>;
  accept(verified: Verified): void;
  /** The reason code for which what is done for this caller was stopped. */
  stopped?: ReasonCode;
  /** What can be asked of the client while it waits for its answer, in the 2025 generation. Absent: nothing. */
  clientCapabilities?(): ClientCapabilities;
}

export type Verified = Exclude<Verification, { refused: ReasonCode }>;

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

const callers = new AsyncLocalStorage<Caller>();

/**
 * The verified access token of the request being handled.
 * @throws Error outside of an authenticated request, so that no code path can mistake "nobody" for somebody.
 */
export function getAccessToken(): AccessToken {
  return currentCaller("getAccessToken").token;
}

/**
 * The user's own access token at the identity provider, for calling an API in their name; renewed if it is about to
 * end. Send it to the API that it is for (its audience), never back to the MCP client.
 * @throws OAuthError `invalid_grant` if the user's sign-in has ended there, UnavailableError on an outage: let them pass,
 * and the caller is told; Error outside of an authenticated request
 */
export async function getUpstreamAccessToken(): Promise<string> {
  return await currentCaller("getUpstreamAccessToken").upstreamAccessToken();
}

/**
 * For what depends on arguments: goes on only if the caller holds every one of these scopes. Call it before anything is
 * sent: the client is then answered with HTTP 403 and a challenge (RFC 6750 §3.1), asks the user, and calls again; later
 * it becomes an error in the result.
 * @throws InsufficientScopeError: let it pass; Error outside of an authenticated request
 */
export function requireScopes(...scopes: ScopeRequirement): void {
  const required = requiredScopes(scopes, "requireScopes()");
  const caller = currentCaller("requireScopes");
  const decision = caller.permissionSet.checkScopes(required);
  if (!decision.allowed) throw new InsufficientScopeError(required, decision);
  caller.required.set(describeRequirement(required), required);
}

/** @throws Error outside of an authenticated request */
export function currentCaller(asked: string): Caller {
  const found = callers.getStore();
  if (found === undefined)
    throw new Error(
      `${asked}() was called outside of an authenticated request: call it inside a tool's run().`,
    );
  return found;
}

/** Runs `work`, and everything it starts, on behalf of `caller`. */
export function withCaller<T>(caller: Caller, work: () => T): T {
  return callers.run(caller, work);
}
