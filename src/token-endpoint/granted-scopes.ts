/** The scopes of a token for which no user is asked: what the request names, as far as its ceiling reaches. */
import { OAuthError } from "../oauth/errors.ts";
import { parseRequestedScope } from "../oauth/scope.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";

/**
 * Nothing asked for: all of the ceiling.
 * @param beyond the error for a request of which nothing is left
 * @throws OAuthError `invalid_scope`
 */
export function grantedScopes(
  asked: string | undefined,
  ceiling: readonly string[],
  catalogue: Pick<ScopeCatalogue, "limitTo">,
  beyond: () => OAuthError,
): string[] {
  const requested = asked === undefined ? [] : parseRequestedScope(asked);
  if (requested === undefined)
    throw new OAuthError("invalid_scope", "The parameter scope is not a list of scopes.", {
      reason: "malformed_scope",
    });
  if (requested.length === 0) return [...ceiling];
  const granted = catalogue.limitTo(requested, ceiling);
  if (granted.length === 0) throw beyond();
  return granted;
}
