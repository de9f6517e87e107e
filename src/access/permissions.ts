/**
 * What a principal may do now: the scopes they hold, less what the policy denies. Evaluated when tokens are issued and
 * again at every call, so that a changed policy takes effect immediately, also for tokens that were issued before.
 */
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import { type RequiredScopes, unmetScopes } from "../oauth/scope-requirement.ts";
import type { Runtime } from "../runtime/runtime.ts";
import {
  claimsOfMembership,
  type Membership,
  type MembershipProblem,
  membershipOf,
  membershipProblem,
} from "./membership.ts";
import type { Feature, Policy, RuleName } from "./policy.ts";
import { type Requester, subjectOf } from "./principal.ts";

/** Why somebody may not come in at all. The message is for them. */
export interface NotAdmitted {
  reason: MembershipProblem["reason"] | "denied_by_policy";
  message: string;
  /** Of the policy. */
  rule?: RuleName;
}

export type Denial =
  | { allowed: false; because: "policy"; rule: RuleName }
  /** `missing`: what a client has to ask for. */
  | { allowed: false; because: "scopes"; missing: string[] };

export type Decision = { allowed: true } | Denial;

export interface Permissions {
  /** Undefined if this person may come in through this client. */
  checkAdmission(requester: Requester): NotAdmitted | undefined;
  /** The claims that membership and policy ask for, by name or dotted path. */
  claimsAsked(): string[];
  /** `scopes` without what the policy denies. */
  permitted(requester: Requester, scopes: readonly string[]): string[];
  /** See {@link Policy.ruleset}. */
  ruleset(requester: Requester): object;
  /** What somebody who holds `held`, with everything that it includes, may do. */
  permissionSet(requester: Requester, held: readonly string[]): PermissionSet;
}

/** What may be done by everybody who holds the same scopes and whom the same rules of the policy match. */
export interface PermissionSet {
  /** Whether they may use this tool, resource or prompt. The result is cached. */
  checkFeature(feature: Feature): Decision;
  /**
   * The same for scopes that only turn out to be needed on the way.
   * @throws Error if one is not declared: a client could never be granted it
   */
  checkScopes(required: RequiredScopes): Decision;
}

interface Dependencies {
  policy: Policy;
  catalogue: ScopeCatalogue;
  membership: Membership;
  /** Receives a warning, once for each claim, when rules ask for a claim that is not known of a user. Default: no warning. */
  log?: Pick<Runtime["log"], "warn">;
}

/** Of all rulesets together. Clients may ask for any part of the scopes; no real use has more combinations than this. */
const MAX_PERMISSION_SETS = 1_000;

export function createPermissions({ policy, catalogue, membership, log }: Dependencies): Permissions {
  const told = new Set<string>();
  // Keyed weakly: the permission sets of a ruleset that is no longer in force are collected with it.
  let permissionSets = new WeakMap<object, Map<string, PermissionSet>>();
  let made = 0;

  /** Logged early: otherwise an operator whose provider sends no groups sees people denied, and does not know why. */
  function tellOfUnknown({ principal }: Requester): void {
    const { claims } = principal;
    // Of a client of this server's that acts for itself nobody is asked.
    if (log === undefined || claims === undefined) return;
    for (const claim of policy.unansweredBy(claims).filter((each) => !told.has(each))) {
      told.add(claim);
      log.warn(
        { reason: "policy_claim_missing", claim, subject: subjectOf(principal) },
        "The policy asks for a claim that the identity provider did not send of this user, or not in full: for whoever that is so, rules that deny by it apply, and rules that allow by it do not. This is said once",
      );
    }
  }

  function decideScopes(requester: Requester, held: readonly string[], required: RequiredScopes): Decision {
    const missing: string[] = [];
    for (const alternatives of unmetScopes(required, held)) {
      const toAskFor = alternatives.find((scope) => policy.scope(requester, scope).allowed);
      const verdict = policy.scope(requester, alternatives[0]);
      // A client that is challenged for what the policy denies would ask for it again and again.
      if (toAskFor === undefined && !verdict.allowed)
        return { allowed: false, because: "policy", rule: verdict.rule };
      missing.push(toAskFor ?? alternatives[0]);
    }
    return missing.length === 0 ? { allowed: true } : { allowed: false, because: "scopes", missing };
  }

  function decide(requester: Requester, held: readonly string[], feature: Feature): Decision {
    const verdict = policy.feature(requester, feature);
    return verdict.allowed
      ? decideScopes(requester, held, feature.scopes)
      : { allowed: false, because: "policy", rule: verdict.rule };
  }

  function createPermissionSet(requester: Requester, held: readonly string[]): PermissionSet {
    const decided = new WeakMap<Feature, Decision>();
    return {
      checkFeature(feature) {
        const decision = decided.get(feature) ?? decide(requester, held, feature);
        decided.set(feature, decision);
        return decision;
      },
      checkScopes(required) {
        const undeclared = required.flat().find((scope) => !catalogue.names.includes(scope));
        if (undeclared !== undefined)
          throw new Error(
            `requireScopes() names the scope "${undeclared}", which is not declared in scopes.`,
          );
        return decideScopes(requester, held, required);
      },
    };
  }

  return {
    checkAdmission(requester) {
      tellOfUnknown(requester);
      // Membership is of people. Clients and workloads are named one by one by the operator.
      const { principal } = requester;
      const problem =
        principal.kind === "user"
          ? membershipProblem(principal.claims, membershipOf(principal.issuer, membership))
          : undefined;
      if (problem !== undefined) return problem;
      const verdict = policy.admits(requester);
      if (verdict.allowed) return undefined;
      return {
        reason: "denied_by_policy",
        message: "The policy of this server does not let you in with this application. Ask its operator.",
        rule: verdict.rule,
      };
    },
    claimsAsked: () => [...new Set([...policy.claimsAsked(), ...claimsOfMembership(membership)])],
    permitted(requester, scopes) {
      const denied = catalogue.expand(scopes).filter((scope) => !policy.scope(requester, scope).allowed);
      return catalogue.exclude(scopes, denied);
    },
    ruleset: policy.ruleset,
    permissionSet(requester, held) {
      const ruleset = policy.ruleset(requester);
      const scopes = held.join(" ");
      const known = permissionSets.get(ruleset)?.get(scopes);
      if (known !== undefined) return known;
      if (made >= MAX_PERMISSION_SETS) {
        permissionSets = new WeakMap();
        made = 0;
      }
      made++;
      const alike = permissionSets.get(ruleset) ?? new Map<string, PermissionSet>();
      const permissionSet = createPermissionSet(requester, held);
      permissionSets.set(ruleset, alike.set(scopes, permissionSet));
      return permissionSet;
    },
  };
}
