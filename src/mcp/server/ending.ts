/** Why a running call has to stop, and the error that its client gets. Pure. */

import type { Denial } from "../../access/permissions.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import type { RequiredAuthentication } from "../../oauth/required-authentication.ts";
import type { AccessTokenRefusal, AuthenticatedRequest, Verification } from "../../resource/caller.ts";
import type { UsedFeature } from "../authoring/features.ts";

export interface Ending {
  /** For the logs. */
  readonly reason: ReasonCode;
  /** For whoever called: what to do next. */
  readonly message: string;
  /**
   * What the client needs to call again: another access token, or what it {@link Lacking lacks}. Neither: what it asked for
   * is refused, and to sign in again would change nothing.
   */
  readonly needs?: { readonly token: true } | Lacking;
  /** Of the policy. */
  readonly rule?: string;
}

/** What the client can bring, and the call needs: scopes, or a user who signed in later, or more strongly. */
export type Lacking =
  | { readonly scopes: readonly string[] }
  | { readonly authentication: RequiredAuthentication };

/** What a call needs beside a token that is good. */
export interface Needs {
  /** The tools, resources and prompts that it uses. */
  readonly features: readonly UsedFeature[];
  /** See {@link AuthenticatedRequest.required}. */
  readonly required: AuthenticatedRequest["required"];
}

/** Undefined if what was true when the call began still is. */
export function endingOf(verification: Verification, { features, required }: Needs): Ending | undefined {
  if ("refused" in verification) return withoutToken(verification.refused, verification.rule);
  const { permissions } = verification.caller;
  for (const feature of features) {
    const decision = permissions.checkFeature(feature);
    if (!decision.allowed) return withdrawn(decision, `the ${feature.kind} ${feature.name}`);
  }
  for (const scopes of required) {
    const decision = permissions.checkScopes(scopes);
    if (!decision.allowed) return withdrawn(decision, "what this call does");
  }
  return undefined;
}

const NOT_OPEN =
  "This server is not open to you any more, so this call was stopped. Its operator can change that.";

const EXPIRED_TOKEN =
  "The access token that this call was made with has expired, so the call was stopped. Call again with a new one.";

const STOPPED = {
  expired_access_token: EXPIRED_TOKEN,
  unknown_access_token:
    "The access token that this call was made with was replaced, so the call was stopped. Call again with the new one.",
  grant_ended: "The session has ended, so this call was stopped. Sign in again.",
  access_token_for_another_resource: NOT_OPEN,
  client_credentials_removed: NOT_OPEN,
  malformed_access_token: NOT_OPEN,
  denied_by_policy: NOT_OPEN,
  email_not_verified: NOT_OPEN,
  wrong_email_domain: NOT_OPEN,
  wrong_organization: NOT_OPEN,
  jwt_malformed: NOT_OPEN,
  jwt_wrong_type: NOT_OPEN,
  jwt_algorithm: NOT_OPEN,
  jwt_wrong_issuer: NOT_OPEN,
  jwt_wrong_audience: NOT_OPEN,
  jwt_without_expiry: NOT_OPEN,
  jwt_expired: EXPIRED_TOKEN,
  jwt_not_yet_valid: NOT_OPEN,
  jwt_issued_in_future: NOT_OPEN,
  jwt_sender_constrained: NOT_OPEN,
  jwt_signature: NOT_OPEN,
  jwt_unknown_key: NOT_OPEN,
  token_claims: NOT_OPEN,
  token_inactive:
    "The access token that this call was made with was revoked, so the call was stopped. Sign in again.",
} satisfies Record<AccessTokenRefusal, string>;

function withoutToken(reason: AccessTokenRefusal, rule: string | undefined): Ending {
  return { reason, message: STOPPED[reason], needs: { token: true }, ...(rule !== undefined && { rule }) };
}

function withdrawn(denial: Denial, what: string): Ending {
  if (denial.because === "scopes")
    return {
      reason: "insufficient_scope",
      message: `The scope ${denial.missing.join(" ")}, which this call needs, was taken away, so it was stopped.`,
      needs: { scopes: denial.missing },
    };
  const { name } = denial.rule;
  return {
    reason: "denied_by_policy",
    message: `This server's policy does not let you use ${what} any more (rule "${name}"), so this call was stopped. Its operator can change that.`,
    rule: name,
  };
}

/** What only turned out on the way. */
export function lacks(needs: Lacking, message: string): Ending {
  const reason = "scopes" in needs ? "insufficient_scope" : "insufficient_user_authentication";
  return { reason, message, needs };
}

/** The access token's time is over; it is known without asking. */
export const EXPIRED = withoutToken("expired_access_token", undefined);

export function tookTooLong(seconds: number): Ending {
  return {
    reason: "call_too_long",
    message: `A call may take ${seconds} seconds here, so this one was stopped. Ask for less at once.`,
  };
}

// JSON-RPC 2.0 §5.1 leaves it to servers; MCP 2026-07-28 defines none of its own in this place.
const ERROR = -32_000;

/** The answer to a request that was stopped, or never begun. */
export function errorMessage(id: unknown, { message, reason }: Pick<Ending, "message" | "reason">): object {
  return { jsonrpc: "2.0", id: id ?? null, error: { code: ERROR, message, data: { reason } } };
}
