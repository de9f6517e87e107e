/** Whether a request to the token endpoint belongs to a live grant: known from its code or token, before its client is looked up. */

import { codeOf, type Grant } from "../grants/grant.ts";
import type { Grants } from "../grants/grants.ts";
import { belongsToFamily, type PresentedToken, readToken, type TokenKind } from "../grants/opaque-token.ts";
import type { Runtime } from "../runtime/runtime.ts";

/** Where a code or token may be in the body of a request to /token, /revoke or /introspect. */
const PLACES: ReadonlyArray<[field: string, kind: TokenKind]> = [
  ["code", "code"],
  ["refresh_token", "refresh"],
  ["token", "refresh"],
  ["token", "access"],
];

/**
 * True if the presented code or token is, or once was, one of a live grant of exactly this client: a code that was
 * redeemed and a refresh token that was replaced belong to it, too, because they end it.
 */
export async function belongsToLiveGrant(
  body: Readonly<Record<string, unknown>>,
  clientId: string,
  { grants, now }: Pick<Runtime, "now"> & { grants: Pick<Grants, "find"> },
): Promise<boolean> {
  for (const [field, kind] of PLACES) {
    const value = body[field];
    const presented = typeof value === "string" ? readToken(kind, value) : undefined;
    if (presented === undefined) continue;
    const grant = await grants.find(presented.grantId);
    if (grant === undefined || grant.client.id !== clientId || grant.expiresAt <= now()) return false;
    return isOf(grant, kind, presented);
  }
  return false;
}

function isOf(grant: Grant, kind: TokenKind, { value, hash }: PresentedToken): boolean {
  switch (kind) {
    case "code":
      return codeOf(grant)?.hash === hash;
    case "refresh":
      return belongsToFamily(value, grant.familyKey);
    case "access":
      return grant.accessTokens.some((token) => token.hash === hash);
  }
}
