/**
 * What the operator's policy decides about a caller: admission, which scopes they may be given, which tools, resources and
 * prompts they may use. Deny wins. Everything here is pure; policy-file.ts reads the rules.
 */
import type { ScopeHierarchy } from "../oauth/scope-catalogue.ts";
import type { Requester } from "./principal.ts";
import {
  type ClaimNames,
  claimsAsked,
  type Feature,
  isAt,
  isFor,
  namesFeature,
  type Rule,
  type RuleName,
  speaksOfScope,
  unknownClaims,
  whatItSays,
} from "./rule.ts";

export type { Feature, RuleName } from "./rule.ts";

/** A policy file, validated and ready to decide. */
export interface PolicyDocument {
  /** What applies where no rule does … */
  readonly default: "allow" | "deny";
  /** … and the line of the file that says so, if there is one. */
  readonly defaultLine?: number;
  readonly claims: ClaimNames;
  readonly rules: readonly Rule[];
}

export type Verdict = { readonly allowed: true } | { readonly allowed: false; readonly rule: RuleName };

export interface Explanation {
  readonly verdict: Verdict;
  /**
   * Every rule that matched the requester and speaks of the feature, in file order; `says` in the words of the file.
   * `unknown`: claims that could not tell whether it is for them, so that it denies.
   */
  readonly matched: ReadonlyArray<
    RuleName & { effect: "allow" | "deny"; says: string; unknown?: readonly string[] }
  >;
  readonly default: "allow" | "deny";
}

export interface Policy {
  /** The same policy at one protected resource, by its path: rules that are for others do not count. */
  at(protectedResource: string): Policy;
  /** Whether they may have anything to do with this server. */
  admits(requester: Requester): Verdict;
  /** Whether they may be given this scope, with everything that it includes. */
  scope(requester: Requester, scope: string): Verdict;
  /** Whether they may use this tool, resource or prompt, provided that they hold its scopes. */
  feature(requester: Requester, feature: Feature): Verdict;
  /**
   * Identifies the set of rules that match the caller. Callers with the same object get the same decisions; a changed policy makes
   * new objects.
   */
  ruleset(requester: Requester): object;
  /** Every rule that applies. */
  explain(requester: Requester, feature: Feature): Explanation;
  /** The claims that rules ask for, by name or dotted path: those of every protected resource. */
  claimsAsked(): string[];
  /**
   * Those of them that these claims leave open: missing, in part, or in a form that says nothing for certain. Rules that
   * deny by them apply, and rules that allow do not.
   */
  unansweredBy(claims: Readonly<Record<string, unknown>>): string[];
}

export const DEFAULT_CLAIMS: ClaimNames = { groups: "groups", organization: "org_id" };

/** Where every person has rules of their own. */
const MAX_RULESETS = 10_000;

const FLAT: ScopeHierarchy = { implies: () => [], impliedBy: () => [] };

/**
 * Decides by the rules of a file. Denying a scope also denies the scopes that include it; allowing a scope also allows the
 * scopes that it includes.
 */
export function createPolicy(document: PolicyDocument, hierarchy: ScopeHierarchy = FLAT): Policy {
  const places = new Map<string | undefined, Policy>();
  // Which rules count at a resource is found once, so that a decision costs the same however many there are.
  const at = (protectedResource?: string): Policy => {
    const before = places.get(protectedResource);
    if (before !== undefined) return before;
    const counting = document.rules.filter((rule) => isAt(rule, protectedResource));
    const policy = decidingBy(counting, document, hierarchy, at);
    places.set(protectedResource, policy);
    return policy;
  };
  return at();
}

/** @param counting the rules that do */
function decidingBy(
  counting: readonly Rule[],
  document: PolicyDocument,
  hierarchy: ScopeHierarchy,
  at: Policy["at"],
): Policy {
  const { claims: claimNames, defaultLine } = document;
  const byDefault: RuleName = {
    name: "default",
    ...(defaultLine !== undefined && { line: defaultLine }),
  };
  // A list needs the decision on many features for one caller, and the same rules match many callers.
  const known = new WeakMap<Requester, readonly Rule[]>();
  const rulesets = new Map<string, readonly Rule[]>();
  function rulesFor(requester: Requester): readonly Rule[] {
    const before = known.get(requester);
    if (before !== undefined) return before;
    const matching = counting.filter((rule) => isFor(rule, requester, claimNames));
    const names = matching.map((rule) => counting.indexOf(rule)).join();
    const rules = rulesets.get(names) ?? matching;
    if (rulesets.size >= MAX_RULESETS) rulesets.clear();
    rulesets.set(names, rules);
    known.set(requester, rules);
    return rules;
  }

  /** The scopes by which a rule can speak of this one. */
  const heard = ({ effect }: Rule, scope: string) => [
    scope,
    ...(effect === "deny" ? hierarchy.implies(scope) : hierarchy.impliedBy(scope)),
  ];

  /** The rule that refuses what `speaks` selects: the first that denies, or the default if none allows; undefined if nothing refuses. */
  function refusal(rules: readonly Rule[], speaks: (rule: Rule) => boolean): RuleName | undefined {
    const speaking = rules.filter(speaks);
    const denying = speaking.find(({ effect }) => effect === "deny");
    if (denying !== undefined) return denying;
    return document.default === "deny" && speaking.length === 0 ? byDefault : undefined;
  }

  function scopeRefusal(rules: readonly Rule[], scope: string): RuleName | undefined {
    return refusal(rules, (rule) => heard(rule, scope).some((each) => speaksOfScope(rule, each)));
  }

  /** A scope is needed that cannot be given: the refusal of the first alternative. */
  function needRefusal(rules: readonly Rule[], alternatives: readonly string[]): RuleName | undefined {
    const refusals = alternatives.map((scope) => scopeRefusal(rules, scope));
    return refusals.every((each) => each !== undefined) ? refusals[0] : undefined;
  }

  function featureRefusal(rules: readonly Rule[], feature: Feature): RuleName | undefined {
    const byName = refusal(rules, (rule) => namesFeature(rule, feature));
    if (byName !== undefined && byName !== byDefault) return byName;
    const unmet = feature.scopes
      .map((alternatives) => needRefusal(rules, alternatives))
      .find((each) => each !== undefined);
    if (unmet !== undefined) return unmet;
    // With `default: deny`, a feature that no rule names is allowed if the scopes that it needs are; without scopes it is denied.
    return feature.scopes.length > 0 ? undefined : byName;
  }

  return {
    at,
    admits: (requester) =>
      verdict(
        refusal(rulesFor(requester), ({ effect, about }) => effect === "allow" || about === "everything"),
      ),
    scope: (requester, scope) => verdict(scopeRefusal(rulesFor(requester), scope)),
    feature: (requester, feature) => verdict(featureRefusal(rulesFor(requester), feature)),
    ruleset: rulesFor,
    claimsAsked: () => unique(document.rules.flatMap((rule) => claimsAsked(rule, claimNames))),
    unansweredBy(claims) {
      const principal = { kind: "user", issuer: "", subject: "", claims } as const;
      const requester = { principal, client: { id: "", redirectUri: "" } };
      return unique(counting.flatMap((rule) => unknownClaims(rule, requester, claimNames)));
    },
    explain(requester, feature) {
      const rules = rulesFor(requester);
      const matched = rules.flatMap((rule) => {
        const scopes = feature.scopes.map((alternatives) =>
          alternatives.flatMap((each) => heard(rule, each)),
        );
        const says = whatItSays(rule, { ...feature, scopes });
        const unknown = unknownClaims(rule, requester, claimNames);
        return says === undefined
          ? []
          : [{ ...nameOf(rule), effect: rule.effect, says, ...(unknown.length > 0 && { unknown }) }];
      });
      return { verdict: verdict(featureRefusal(rules, feature)), matched, default: document.default };
    },
  };
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}

function verdict(refusal: RuleName | undefined): Verdict {
  return refusal === undefined ? { allowed: true } : { allowed: false, rule: nameOf(refusal) };
}

/** Without the rest of the rule. */
function nameOf({ name, line }: RuleName): RuleName {
  return { name, ...(line !== undefined && { line }) };
}

/** The policy where no file is configured. */
export const allowEverything: Policy = createPolicy({ default: "allow", claims: DEFAULT_CLAIMS, rules: [] });
