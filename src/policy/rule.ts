/** One rule of the policy: whom it is for, and what it speaks of. */
import type { RequiredScopes } from "../oauth/scope-requirement.ts";
import { claimAt, strings } from "./claims.ts";
import type { Pattern } from "./pattern.ts";

/** Who asks, through which client. */
export interface Asker {
  readonly subject: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly clientId: string;
  readonly redirectUri: string;
}

/** Something that a caller may use: a tool, a resource, a prompt. */
export interface Feature {
  readonly kind: "tool" | "resource" | "prompt";
  readonly name: string;
  readonly scopes: RequiredScopes;
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
type ConditionKey = "users" | "emails" | "groups" | "organizations" | "clients" | "redirect_uris";
type SubjectKey = "scopes" | "tools" | "resources" | "prompts";
export type Conditions = { readonly [Key in ConditionKey]?: Patterns };
export type Subjects = { readonly [Key in SubjectKey]?: Patterns };

/** Where the identity provider says it: names of claims, or dotted paths. */
export interface ClaimNames {
  readonly groups: string;
  readonly organization: string;
}

/** Whether all that a rule says of whom it is for is true of the asker. */
export function isFor({ effect, for: conditions }: Rule, asker: Asker, claimNames: ClaimNames): boolean {
  const { subject, claims, clientId, redirectUri } = asker;
  const values: Record<ConditionKey, () => string[]> = {
    users: () => [subject],
    emails: () => emails(claims, effect),
    groups: () => strings(claimAt(claims, claimNames.groups)),
    organizations: () => strings(claimAt(claims, claimNames.organization)),
    clients: () => [clientId],
    redirect_uris: () => [redirectUri],
  };
  return Object.entries(values).every(([key, valuesOf]) => {
    const patterns = conditions[key as ConditionKey];
    return patterns === undefined || valuesOf().some((value) => matching(patterns, value).length > 0);
  });
}

/**
 * Whoever can write any address into a profile must not gain by it; a rule that denies takes the address as it is
 * said, and every one of several.
 */
function emails(claims: unknown, effect: Rule["effect"]): string[] {
  const email = claimAt(claims, "email");
  if (effect === "deny") return strings(email);
  const verified = claimAt(claims, "email_verified");
  return typeof email === "string" && (verified === true || verified === "true") ? strings(email) : [];
}

/** Whether a rule says something about a scope. */
export function speaksOfScope({ about }: Rule, scope: string): boolean {
  return about === "everything" || matching(about.scopes, scope).length > 0;
}

/** Whether a rule names a tool, resource or prompt itself. */
export function namesFeature({ about }: Rule, { kind, name }: Feature): boolean {
  return about === "everything" || matching(about[`${kind}s`], name).length > 0;
}

/** What a rule says about a feature or a scope it needs, as it is written in the file; undefined: nothing. */
export function whatItSays(
  { about }: Rule,
  { kind, name, scopes }: Omit<Feature, "scopes"> & { scopes: ReadonlyArray<readonly string[]> },
): string | undefined {
  if (about === "everything") return "everything";
  const named = matching(about[`${kind}s`], name);
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
