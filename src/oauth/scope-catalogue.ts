/** The scopes that this server knows, each described once in words that a person understands. */
import { isScopeToken } from "./scope.ts";

/** `"weather:read": "Read the current weather"`, or the long form for a scope that cannot be unticked. */
export type ScopeDeclarations = Readonly<
  Record<string, string | { description: string; required?: boolean }>
>;

export interface DeclaredScope {
  name: string;
  description: string;
  /** True if a user who approves at all approves this. */
  required: boolean;
}

export interface ScopeCatalogue {
  /** In the order of their declaration. */
  readonly names: readonly string[];
  /** The declarations of those names that are known. */
  pick(names: readonly string[]): DeclaredScope[];
}

/**
 * @param uses who needs which scopes: every one of them must be declared
 * @throws Error naming the scope, and who uses it, that is undeclared or illegal
 */
export function scopeCatalogue(
  declarations: ScopeDeclarations,
  uses: ReadonlyArray<{ name: string; scopes: readonly string[] }>,
): ScopeCatalogue {
  const declared = Object.entries(declarations).map(([name, declaration]): DeclaredScope => {
    if (!isScopeToken(name)) throw new Error(`The scope "${name}" has illegal characters (RFC 6749 §3.3).`);
    return typeof declaration === "string"
      ? { name, description: declaration, required: false }
      : { name, description: declaration.description, required: declaration.required ?? false };
  });
  const names = declared.map(({ name }) => name);
  for (const { name, scopes } of uses)
    for (const scope of scopes)
      if (!names.includes(scope))
        throw new Error(
          `The ${name} names the scope "${scope}", which is not declared: describe it in scopes (src/tools/index.ts).`,
        );
  return { names, pick: (wanted) => declared.filter(({ name }) => wanted.includes(name)) };
}
