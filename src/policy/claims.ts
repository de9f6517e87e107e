/** Reading what the identity provider said about a user, of whose shape nothing is certain. */

/**
 * The claim of this exact name or, if there is none, what lies at the dotted path: `realm_access.roles`. At every
 * step a name with dots in it comes before a path through it, so that `resource_access.my.client.roles` is found.
 * @returns undefined if there is no such claim
 */
export function claimAt(claims: unknown, path: string): unknown {
  if (typeof claims !== "object" || claims === null || Array.isArray(claims)) return undefined;
  if (Object.hasOwn(claims, path)) return (claims as Record<string, unknown>)[path];
  for (let dot = path.indexOf("."); dot !== -1; dot = path.indexOf(".", dot + 1)) {
    const name = path.slice(0, dot);
    if (!Object.hasOwn(claims, name)) continue;
    const found = claimAt((claims as Record<string, unknown>)[name], path.slice(dot + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A text is one, a list is its texts, and anything else says nothing. */
export function strings(value: unknown): string[] {
  const values: unknown[] = Array.isArray(value) ? value : [value];
  return values.filter((each): each is string => typeof each === "string" && each !== "");
}
