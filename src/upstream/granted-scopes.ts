/** Which scopes a user really has at the provider, by everything the provider said about it. */

interface Evidence {
  /** `scope` of the token response; absent means "as requested" (RFC 6749 §5.1). */
  responseScope: string | undefined;
  /** What silence means; undefined where it means nothing. */
  requested: readonly string[] | undefined;
  /** Verified claims of the access token, if it is a JWT. */
  claims: Readonly<Record<string, unknown>> | undefined;
}

// `scope` is RFC 9068's; `scp` is Entra's and Okta's; `permissions` is Auth0's (RBAC).
const SCOPE_CLAIMS = ["scope", "scp", "permissions"] as const;

/**
 * The union of what the provider named. Only where it named nothing at all does its silence mean what was requested.
 */
export function grantedScopes(evidence: Evidence & { requested: readonly string[] }): string[];
export function grantedScopes(evidence: Evidence): string[] | undefined;
export function grantedScopes({ responseScope, requested, claims }: Evidence): string[] | undefined {
  const named = [responseScope, ...SCOPE_CLAIMS.map((name) => claims?.[name])].filter(
    (value) => value !== undefined && value !== null,
  );
  if (named.length === 0) return requested && [...requested];
  return [...new Set(named.flatMap(scopesOf))];
}

/** Providers send a space-delimited string or an array; anything else grants nothing. */
function scopesOf(value: unknown): string[] {
  if (typeof value === "string") return value.split(" ").filter((scope) => scope !== "");
  return Array.isArray(value) ? value.filter((scope) => typeof scope === "string") : [];
}
