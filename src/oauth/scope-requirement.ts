/** What a tool, a resource or a prompt asks of its caller: every entry, each by any of its alternatives. */
import { isScopeToken } from "./scope.ts";

/** As it is declared: `["orders:read", anyOf("orders:write", "admin")]`. */
export type ScopeRequirement = ReadonlyArray<string | AnyOf>;

/** What {@link anyOf} makes. */
export interface AnyOf {
  readonly anyOf: readonly [string, ...string[]];
}

/** As it is checked: each entry lists its alternatives. */
export type RequiredScopes = ReadonlyArray<readonly [string, ...string[]]>;

/** One of these is enough. A client that has none of them is challenged for the first. */
export function anyOf(first: string, ...others: string[]): AnyOf {
  return { anyOf: [first, ...others] };
}

/** @throws Error naming the `owner` and its illegal scope */
export function requiredScopes(declared: ScopeRequirement, owner: string): RequiredScopes {
  const required = declared.map((entry): readonly [string, ...string[]] =>
    typeof entry === "string" ? [entry] : entry.anyOf,
  );
  const illegal = required.flat().find((scope) => typeof scope !== "string" || !isScopeToken(scope));
  if (illegal !== undefined)
    throw new Error(`${owner}: the scope "${illegal}" has illegal characters (RFC 6749 §3.3)`);
  return required;
}

/** The entries that nothing in `held` meets. */
export function unmetScopes(required: RequiredScopes, held: readonly string[]): RequiredScopes {
  return required.filter((alternatives) => !alternatives.some((scope) => held.includes(scope)));
}

/** For people: `a, b or c`. */
export function describeRequirement(required: RequiredScopes): string {
  return required.map((alternatives) => alternatives.join(" or ")).join(", ");
}
