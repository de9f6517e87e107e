/** One rule of the policy: whom it applies to, and what it allows or denies. */
import type { RequiredScopes } from "../oauth/scope-requirement.ts";
import { type Answer, emailAnswer, groupsAnswer, organizationAnswer } from "./claims.ts";
import type { Pattern } from "./pattern.ts";
import { claimsOf, isKnown, type Requester } from "./principal.ts";

/** Something that a caller may use: a tool, a resource, a prompt. */
export interface Feature {
  readonly kind: "tool" | "resource" | "prompt";
  readonly name: string;
  readonly scopes: RequiredScopes;
  /**
   * Whether a pattern is of another name that whoever has the feature may take for this one. Absent: nobody could take it for another.
   */
  isAlike?(pattern: Pattern): boolean;
}

/** A rule of the file, or its default where no rule speaks. */
export interface RuleName {
  readonly name: string;
  readonly line?: number;
}

export interface Rule extends RuleName {
  readonly effect: "allow" | "deny";
  /** All must match; none: everybody. */
  readonly for: Conditions;
  readonly about: "everything" | Subjects;
}

type Patterns = readonly Pattern[] | undefined;
type ConditionKey =
  | "kind"
  | "issuers"
  | "users"
  | "emails"
  | "groups"
  | "organizations"
  | "clients"
  | "redirect_uris";
/** Not of the requester: where they want something. */
type PlaceKey = "protected_resources";
type SubjectKey = "scopes" | "tools" | "resources" | "prompts";
export type Conditions = { readonly [Key in ConditionKey | PlaceKey]?: Patterns };
export type Subjects = { readonly [Key in SubjectKey]?: Patterns };

/** Where the identity provider says it: names of claims, or dotted paths. */
export interface ClaimNames {
  readonly groups: string;
  readonly organization: string;
}

/** What is known of the requester, for every condition that a rule may have. What it has not got is unknown. */
const ANSWERS: { [Key in ConditionKey]: (requester: Requester, claimNames: ClaimNames) => Answer } = {
  kind: ({ principal }) => ({ names: [principal.kind] }),
  issuers: ({ principal: { issuer } }) =>
    issuer === undefined ? { names: [], unknown: "iss" } : { names: [issuer] },
  users: ({ principal }) =>
    principal.kind === "user" ? { names: [principal.subject] } : { names: [], unknown: "sub" },
  emails: ({ principal }) => emailAnswer(claimsOf(principal)),
  groups: ({ principal }, { groups }) => groupsAnswer(claimsOf(principal), groups),
  organizations: ({ principal }, { organization }) => organizationAnswer(claimsOf(principal), organization),
  clients: ({ client }) => (isKnown(client) ? { names: [client.id] } : { names: [], unknown: "client_id" }),
  redirect_uris: ({ client: { redirectUri } }) =>
    redirectUri === undefined ? { names: [], unknown: "redirect_uri" } : { names: [redirectUri] },
};
const CONDITIONS = Object.keys(ANSWERS) as ConditionKey[];

/**
 * Whether a rule counts at a protected resource, by its path; undefined: nobody said at which one, and that counts against whoever
 * asks.
 */
export function isAt(
  { for: { protected_resources: places }, effect }: Rule,
  protectedResource: string | undefined,
): boolean {
  if (places === undefined) return true;
  if (protectedResource === undefined) return effect === "deny";
  return matching(places, protectedResource).length > 0;
}

/**
 * Whether every condition of a rule is true of the requester. What cannot be known counts against the requester: a rule that denies
 * treats it as true, one that allows as false.
 */
export function isFor(rule: Rule, requester: Requester, claimNames: ClaimNames): boolean {
  return CONDITIONS.every((key) => {
    const patterns = rule.for[key];
    if (patterns === undefined) return true;
    const { names, unknown } = ANSWERS[key](requester, claimNames);
    return matching(patterns, ...names).length > 0 || (rule.effect === "deny" && unknown !== undefined);
  });
}

/** What is unknown and leaves open whether a rule is for the requester. */
export function unknownClaims(rule: Rule, requester: Requester, claimNames: ClaimNames): string[] {
  return CONDITIONS.flatMap((key) => {
    const patterns = rule.for[key];
    if (patterns === undefined) return [];
    const { names, unknown } = ANSWERS[key](requester, claimNames);
    return unknown === undefined || matching(patterns, ...names).length > 0 ? [] : [unknown];
  });
}

/** The claims that a rule asks for. */
export function claimsAsked(rule: Rule, { groups, organization }: ClaimNames): string[] {
  return [
    ...(rule.for.groups ? [groups] : []),
    ...(rule.for.organizations ? [organization] : []),
    ...(rule.for.emails ? ["email", "email_verified"] : []),
  ];
}

/** Whether a rule says something about a scope. */
export function speaksOfScope({ about }: Rule, scope: string): boolean {
  return about === "everything" || matching(about.scopes, scope).length > 0;
}

/** Whether a rule names a tool, resource or prompt itself. */
export function namesFeature(rule: Rule, feature: Feature): boolean {
  return rule.about === "everything" || patternsOf(rule, feature).length > 0;
}

/** Those that name it. What is denied is denied in every spelling, and what is allowed is so as it is written. */
function patternsOf({ effect, about }: Rule, { kind, name, isAlike }: Omit<Feature, "scopes">) {
  if (about === "everything") return [];
  return (about[`${kind}s`] ?? []).filter(
    (pattern) => pattern.matches(name) || (effect === "deny" && isAlike?.(pattern) === true),
  );
}

/** The part of a rule that applies to a feature or a scope it needs, as written in the file; undefined if none does. */
export function whatItSays(
  rule: Rule,
  { scopes, ...feature }: Omit<Feature, "scopes"> & { scopes: ReadonlyArray<readonly string[]> },
): string | undefined {
  const { about } = rule;
  const { kind } = feature;
  if (about === "everything") return "everything";
  const named = patternsOf(rule, feature);
  const needed = matching(about.scopes, ...scopes.flat());
  const parts = [...written(`${kind}s`, named), ...written("scopes", needed)];
  return parts.length === 0 ? undefined : parts.join("; ");
}

function matching(patterns: Patterns, ...values: readonly string[]): readonly Pattern[] {
  return patterns?.filter(({ matches }) => values.some(matches)) ?? [];
}

function written(key: SubjectKey, patterns: readonly Pattern[]): string[] {
  return patterns.length === 0 ? [] : [`${key}: ${patterns.map(({ text }) => text).join(", ")}`];
}
