/** `needs` of a resource in CONFIG_FILE: which scopes the tools, resources and prompts of a backend need, by their names. */
import { z } from "zod";
import { isScopeToken } from "../oauth/scope.ts";
import { type RequiredScopes, requiredScopes } from "../oauth/scope-requirement.ts";
import { type Mistake, mistakesIn } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import { entriesOf, listed, unknownKeys } from "./file-keys.ts";

const text = z.string().min(1);
export const Scope = text.refine(isScopeToken, {
  error: "write one word, such as docs:read, for each",
  params: { problem: "is no scope (RFC 6749 §3.3)" },
});
const Needed = z.record(text, z.array(Scope)).default({});
const Needs = z.object({ tools: Needed, resources: Needed, prompts: Needed });

type NeededScopes = ReadonlyMap<string, RequiredScopes>;

/** What is wrong with those of an entry, if it has any. */
export function needsMistakes({ needs, scopes }: Record<string, unknown>, entry: Path): Mistake[] {
  if (needs === undefined) return [];
  const at = [...entry, "needs"];
  return [
    ...unknownKeys(needs, at, { known: Object.keys(Needs.shape) }),
    ...below(at, mistakesIn(needs, Needs)),
    ...entriesOf(needs).flatMap(([kind, byName]) =>
      entriesOf(byName).flatMap(([name, needed]) => undeclared(needed, scopes, [...at, kind, name])),
    ),
  ];
}

/** Those in which nothing is wrong. */
export function neededScopes(needs: unknown): Record<"tools" | "resources" | "prompts", NeededScopes> {
  const { tools, resources, prompts } = Needs.parse(needs);
  return { tools: byName(tools), resources: byName(resources), prompts: byName(prompts) };
}

function byName(needed: Record<string, string[]>): NeededScopes {
  return new Map(Object.entries(needed).map(([name, each]) => [name, requiredScopes(each, name)]));
}

/**
 * A client could never be granted a scope that nobody described.
 * @param scopes those of the resource, with their descriptions
 */
export function undeclared(needed: unknown, scopes: unknown, at: Path): Mistake[] {
  const declared = entriesOf(scopes).map(([name]) => name);
  return listed(needed).flatMap((scope, index) =>
    typeof scope !== "string" || declared.includes(scope)
      ? []
      : [
          {
            at: [...at, index],
            problem: `names the scope "${scope}", which is not described`,
            remedy: "describe it in scopes, in words for people who are asked to allow it",
          },
        ],
  );
}

/** Mistakes in a part, as those of the whole. */
export function below(at: Path, mistakes: readonly Mistake[]): Mistake[] {
  return mistakes.map((mistake) => ({
    ...mistake,
    at: [...at, ...mistake.at],
    ...(mistake.in && { in: [...at, ...mistake.in] }),
  }));
}
