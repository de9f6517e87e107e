/**
 * What the operator's policy decides about who asks: whether they may come in, which scopes they may be given, which
 * tools, resources and prompts they may use. Deny wins. Everything here is pure; policy-file.ts reads the rules.
 */
import {
  type Asker,
  type ClaimNames,
  type Feature,
  isFor,
  namesFeature,
  type Rule,
  type RuleName,
  speaksOfScope,
  whatItSays,
} from "./rule.ts";

export type { Asker, Feature, FeatureKind, RuleName } from "./rule.ts";

/** A policy file, validated and ready to decide. */
export interface PolicyDocument {
  /** What holds where no rule speaks … */
  readonly default: "allow" | "deny";
  /** … and where the file says so, if it does. */
  readonly defaultLine?: number;
  readonly claims: ClaimNames;
  readonly rules: readonly Rule[];
}

export type Verdict = { readonly allowed: true } | { readonly allowed: false; readonly rule: RuleName };

export interface Explanation {
  readonly verdict: Verdict;
  /** Every rule that matched the asker and speaks of the feature, in file order; `says` in the words of the file. */
  readonly matched: ReadonlyArray<RuleName & { effect: "allow" | "deny"; says: string }>;
  readonly default: "allow" | "deny";
}

export interface Policy {
  /** Whether they may have anything to do with this server. */
  admits(asker: Asker): Verdict;
  scope(asker: Asker, scope: string): Verdict;
  feature(asker: Asker, feature: Feature): Verdict;
  explain(asker: Asker, feature: Feature): Explanation;
}

export const DEFAULT_CLAIMS: ClaimNames = { groups: "groups", organization: "org_id" };

export function createPolicy(document: PolicyDocument): Policy {
  const { claims: claimNames, defaultLine } = document;
  const byDefault: RuleName = {
    name: "default",
    ...(defaultLine !== undefined && { line: defaultLine }),
  };
  const rulesFor = (asker: Asker) => document.rules.filter((rule) => isFor(rule, asker, claimNames));

  /** The rule that refuses what `speaks` picks out, or undefined: the first that denies, or the silence of all. */
  function refusal(rules: readonly Rule[], speaks: (rule: Rule) => boolean): RuleName | undefined {
    const speaking = rules.filter(speaks);
    const denying = speaking.find(({ effect }) => effect === "deny");
    if (denying !== undefined) return denying;
    return document.default === "deny" && speaking.length === 0 ? byDefault : undefined;
  }

  function scopeRefusal(rules: readonly Rule[], scope: string): RuleName | undefined {
    return refusal(rules, (rule) => speaksOfScope(rule, scope));
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
    // What no rule names is allowed by the scopes it needs, now known to be allowed; and by nothing if it needs none.
    const needsAllowedScopes = feature.scopes.length > 0 && feature.scopes.every(({ length }) => length > 0);
    return needsAllowedScopes ? undefined : byName;
  }

  return {
    admits: (asker) =>
      verdict(refusal(rulesFor(asker), ({ effect, about }) => effect === "allow" || about === "everything")),
    scope: (asker, scope) => verdict(scopeRefusal(rulesFor(asker), scope)),
    feature: (asker, feature) => verdict(featureRefusal(rulesFor(asker), feature)),
    explain(asker, feature) {
      const rules = rulesFor(asker);
      const matched = rules.flatMap((rule) => {
        const says = whatItSays(rule, feature);
        return says === undefined ? [] : [{ ...nameOf(rule), effect: rule.effect, says }];
      });
      return { verdict: verdict(featureRefusal(rules, feature)), matched, default: document.default };
    },
  };
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
