/** Scope strings (RFC 6749 §3.3): space-delimited, case-sensitive, order without meaning. */

const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]+$/;

/** True for one legal scope-token: printable ASCII without space, quote and backslash. */
export function isScopeToken(value: string): boolean {
  return SCOPE_TOKEN.test(value);
}

/** The distinct scopes of a scope string, in their order; undefined if one of them is not a scope-token. */
export function parseScope(scope: string): string[] | undefined {
  const tokens = scope.split(" ").filter((token) => token !== "");
  return tokens.every(isScopeToken) ? [...new Set(tokens)] : undefined;
}

/** Those of `wanted` that `available` contains. */
export function intersect(wanted: readonly string[], available: readonly string[]): string[] {
  return wanted.filter((scope) => available.includes(scope));
}

/** Those of `required` that `granted` lacks. */
export function missingScopes(required: readonly string[], granted: readonly string[]): string[] {
  return required.filter((scope) => !granted.includes(scope));
}

export function union(...lists: ReadonlyArray<readonly string[]>): string[] {
  return [...new Set(lists.flat())];
}

// Clients add these OpenID Connect scopes to every request. They concern the identity provider: never shown, granted or refused
// here.
const HABITUAL = ["openid", "profile", "email", "address", "phone", "offline_access"];

/** The scopes of a request without the OpenID Connect scopes that clients add; undefined if one is not a scope-token. */
export function parseRequestedScope(scope: string): string[] | undefined {
  return parseScope(scope)?.filter((token) => !HABITUAL.includes(token));
}
