/** The scopes that this server knows, each described once in words that a person understands, and what includes what. */
import { isScopeToken, union } from "./scope.ts";
import type { RequiredScopes } from "./scope-requirement.ts";

/** `"weather:read": "Read the current weather"`, or the long form. */
export type ScopeDeclarations = Readonly<Record<string, string | ScopeDeclaration>>;

/** What a scope means, and when it is asked for. */
export interface ScopeDeclaration {
  /** For the consent page. */
  description: string;
  /** A user who approves at all approves this: it cannot be unticked. */
  required?: boolean;
  /** Who has this scope has those too: names, or `weather:*` for every declared scope that begins so. */
  includes?: readonly string[];
  /** Asked for only when a call needs it, not at every sign-in (step-up). */
  whenNeeded?: boolean;
}

export interface DeclaredScope {
  name: string;
  description: string;
  required: boolean;
  /** Everything that it includes, directly or not. */
  includes: readonly string[];
}

export interface ScopeCatalogue extends ScopeHierarchy {
  /** In the order of their declaration. */
  readonly names: readonly string[];
  /** What a sign-in asks for when a client names nothing. */
  readonly defaultScopes: readonly string[];
  /** The declarations of those names that are known. */
  pick(names: readonly string[]): DeclaredScope[];
  /** `scopes` with everything that they include. */
  expand(scopes: readonly string[]): string[];
  /**
   * What is left of `scopes` without the refused ones: whatever includes a refused one goes with it, and its other
   * parts stay.
   */
  exclude(scopes: readonly string[], refused: readonly string[]): string[];
  /** What somebody who holds `held` gets of what is `wanted`. */
  limitTo(wanted: readonly string[], held: readonly string[]): string[];
}

export interface ScopeHierarchy {
  /** Everything that it includes. */
  implies(scope: string): readonly string[];
  /** Everything that includes it. */
  impliedBy(scope: string): readonly string[];
}

/** Somebody who needs scopes, for the message about one that is not declared. */
export interface ScopeUse {
  name: string;
  scopes: RequiredScopes;
}

/**
 * @param uses who needs which scopes: every one of them must be declared
 * @throws Error naming the scope, and who uses it, that is undeclared or illegal, or includes itself
 */
export function scopeCatalogue(declarations: ScopeDeclarations, uses: readonly ScopeUse[]): ScopeCatalogue {
  const declared = Object.entries(declarations).map(
    ([name, declaration]): ScopeDeclaration & { name: string } =>
      typeof declaration === "string" ? { name, description: declaration } : { name, ...declaration },
  );
  const names = declared.map(({ name }) => name);
  const illegal = names.find((name) => !isScopeToken(name));
  if (illegal !== undefined)
    throw new Error(`The scope "${illegal}" has illegal characters (RFC 6749 §3.3).`);
  for (const { name, scopes } of uses)
    for (const scope of scopes.flat())
      if (!names.includes(scope))
        throw new Error(
          `The ${name} names the scope "${scope}", which is not declared: describe it in scopes, beside the list of tools.`,
        );

  const parts = new Map(
    declared.map(({ name, includes = [] }) => [name, directParts(name, includes, names)]),
  );
  const closures = new Map(names.map((name) => [name, closure(name, parts)]));
  const implies = (scope: string) => closures.get(scope) ?? [];
  const expand = (scopes: readonly string[]) => union(scopes, ...scopes.map(implies));

  function exclude(scopes: readonly string[], refused: readonly string[]): string[] {
    if (refused.length === 0) return [...scopes];
    const kept = expand(scopes).filter((scope) => !expand([scope]).some((part) => refused.includes(part)));
    const isImplied = (scope: string) => kept.some((whole) => implies(whole).includes(scope));
    return kept.filter((scope) => scopes.includes(scope) || !isImplied(scope));
  }

  return {
    names,
    implies,
    impliedBy: (scope) => names.filter((whole) => implies(whole).includes(scope)),
    defaultScopes: declared.filter(({ whenNeeded }) => whenNeeded !== true).map(({ name }) => name),
    pick: (wanted) =>
      declared
        .filter(({ name }) => wanted.includes(name))
        .map(({ name, description, required = false }) => ({
          name,
          description,
          required,
          includes: implies(name),
        })),
    expand,
    exclude,
    limitTo(wanted, held) {
      const reach = expand(held);
      return exclude(
        wanted,
        expand(wanted).filter((scope) => !reach.includes(scope)),
      );
    },
  };
}

/** What the declaration names, with `weather:*` spelled out. */
function directParts(name: string, includes: readonly string[], names: readonly string[]): string[] {
  return includes.flatMap((entry) => {
    const found = entry.endsWith("*")
      ? names.filter((other) => other !== name && other.startsWith(entry.slice(0, -1)))
      : names.filter((other) => other === entry);
    if (found.length === 0)
      throw new Error(
        `The scope "${name}" includes "${entry}", which is not declared: describe it in scopes.`,
      );
    return found;
  });
}

function closure(name: string, parts: ReadonlyMap<string, readonly string[]>): string[] {
  const found = new Set<string>();
  const pending = [...(parts.get(name) ?? [])];
  for (let part = pending.shift(); part !== undefined; part = pending.shift()) {
    if (part === name)
      throw new Error(`The scope "${name}" includes itself: take it out of what it includes.`);
    if (found.has(part)) continue;
    found.add(part);
    pending.push(...(parts.get(part) ?? []));
  }
  return [...found];
}
