/**
 * What somebody may do here, now: the scopes they hold, less what the policy denies. Asked when tokens are issued and
 * again at every call, so that a changed policy counts at once, for what was issued before as well.
 */
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import { type RequiredScopes, unmetScopes } from "../oauth/scope-requirement.ts";
import { type Membership, membershipProblem } from "./membership.ts";
import type { Asker, Feature, Policy, RuleName } from "./policy.ts";

/** Something that a caller may use: a tool, a resource, a prompt. */
export interface Protected extends Feature {
  readonly scopes: RequiredScopes;
}

/** Why somebody may not come in at all. The message is for them. */
export interface NotAdmitted {
  reason: string;
  message: string;
}

export type Decision =
  | { allowed: true }
  | { allowed: false; because: "policy"; rule: RuleName }
  /** `missing`: what a client has to ask for. */
  | { allowed: false; because: "scopes"; missing: string[] };

export interface Permissions {
  /** Undefined if this person may come in through this client. */
  refusal(asker: Asker): NotAdmitted | undefined;
  /** `scopes` without what the policy denies. */
  permitted(asker: Asker, scopes: readonly string[]): string[];
  /** Whether somebody who holds `held`, with everything that it includes, may use `feature`. */
  decide(asker: Asker, held: readonly string[], feature: Protected): Decision;
  /** The same for scopes that only turn out to be needed on the way. */
  decideScopes(asker: Asker, held: readonly string[], required: RequiredScopes): Decision;
}

interface Rooms {
  policy: Policy;
  catalogue: ScopeCatalogue;
  membership: Membership;
}

export function createPermissions({ policy, catalogue, membership }: Rooms): Permissions {
  /** The rule that takes this scope, or something that it includes. */
  function denyingRule(asker: Asker, scope: string): RuleName | undefined {
    for (const part of catalogue.expand([scope])) {
      const verdict = policy.scope(asker, part);
      if (!verdict.allowed) return verdict.rule;
    }
    return undefined;
  }

  function decideScopes(asker: Asker, held: readonly string[], required: RequiredScopes): Decision {
    const missing: string[] = [];
    for (const alternatives of unmetScopes(required, held)) {
      const toAskFor = alternatives.find((scope) => denyingRule(asker, scope) === undefined);
      // Asking for what the policy denies would only lead a client around in circles.
      if (toAskFor === undefined)
        return {
          allowed: false,
          because: "policy",
          rule: denyingRule(asker, alternatives[0]) ?? { name: "default" },
        };
      missing.push(toAskFor);
    }
    return missing.length === 0 ? { allowed: true } : { allowed: false, because: "scopes", missing };
  }

  return {
    refusal(asker) {
      const problem = membershipProblem(asker.claims, membership);
      if (problem !== undefined) return problem;
      if (policy.admits(asker).allowed) return undefined;
      return {
        reason: "denied_by_policy",
        message: "The policy of this server does not let you in with this application. Ask its operator.",
      };
    },
    permitted(asker, scopes) {
      const denied = catalogue.expand(scopes).filter((scope) => !policy.scope(asker, scope).allowed);
      return catalogue.without(scopes, denied);
    },
    decide(asker, held, feature) {
      const verdict = policy.feature(asker, feature);
      return verdict.allowed
        ? decideScopes(asker, held, feature.scopes)
        : { allowed: false, because: "policy", rule: verdict.rule };
    },
    decideScopes,
  };
}
