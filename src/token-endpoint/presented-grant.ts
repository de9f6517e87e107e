/** The grant of the code or token that a request to the token endpoint presents, before its client is known. */

import { codeOf, type Grant } from "../grants/grant.ts";
import type { Grants } from "../grants/grants.ts";
import { belongsToFamily, type PresentedToken, readToken, type TokenKind } from "../grants/opaque-token.ts";
import type { Runtime } from "../runtime/runtime.ts";

type Places = ReadonlyArray<[field: string, kind: TokenKind]>;

/** Where a code or token may be in the body of a request to /token … */
const AT_TOKEN: Places = [
  ["code", "code"],
  ["refresh_token", "refresh"],
];

/** … and where to /revoke or /introspect as well. */
const PLACES: Places = [...AT_TOKEN, ["token", "refresh"], ["token", "access"]];

function* presentedIn(body: Readonly<Record<string, unknown>>, places: Places) {
  for (const [field, kind] of places) {
    const value = body[field];
    const token = typeof value === "string" ? readToken(kind, value) : undefined;
    if (token !== undefined) yield { kind, token };
  }
}

export type FindGrant = Grants["find"];

/**
 * Begins to read the grants of what a request to /token presents: neither they nor its client need the other's answer.
 * @returns finds a grant by its id, as it was read then; it may have changed since
 */
export function readAhead(body: Readonly<Record<string, unknown>>, grants: { find: FindGrant }): FindGrant {
  const begun = new Map<string, Promise<Grant | undefined>>();
  for (const { token } of presentedIn(body, AT_TOKEN)) {
    const { grantId } = token;
    const found = grants.find(grantId);
    // Where the client is refused first, nobody waits for it.
    found.catch(() => {});
    begun.set(grantId, found);
  }
  return (id) => begun.get(id) ?? grants.find(id);
}

/**
 * True if the presented code or token is, or once was, one of a live grant of exactly this client: a code that was
 * redeemed and a refresh token that was replaced belong to it, too, because they end it.
 */
export async function belongsToLiveGrant(
  body: Readonly<Record<string, unknown>>,
  clientId: string,
  { grants, now }: Pick<Runtime, "now"> & { grants: Pick<Grants, "find"> },
): Promise<boolean> {
  for (const { kind, token } of presentedIn(body, PLACES)) {
    const grant = await grants.find(token.grantId);
    if (grant === undefined || grant.client.id !== clientId || grant.expiresAt <= now()) return false;
    return isOf(grant, kind, token);
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
