/**
 * POST /auth/backchannel-logout: the identity provider, or an issuer whose assertions name people, says that somebody signed out
 * (OpenID Connect Back-Channel Logout 1.0).
 */

import { claimsOf } from "../access/principal.ts";
import type { StoredUsers } from "../access/stored-users.ts";
import { endGrants } from "../grants/end-grant.ts";
import type { Endings } from "../grants/endings.ts";
import type { Grant } from "../grants/grant.ts";
import type { Grants } from "../grants/grants.ts";
import { type LogoutToken, UpstreamRefusal } from "../identity/identity-provider.ts";
import { causes, OAuthError } from "../oauth/errors.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { KeyValueStore } from "../storage/store.ts";

interface Dependencies {
  grants: Grants;
  endings: Pick<Endings, "markSignOut">;
  /** The sessions at /connections. */
  sessions: { endOf(logout: LogoutToken): Promise<void> };
  /** By the rules of the issuer that it names. @throws UpstreamRefusal if it is not a genuine, fresh one; UnavailableError */
  verifyLogoutToken(token: string): Promise<LogoutToken>;
  /** Remembers which logout tokens were used. */
  records: KeyValueStore;
  users: StoredUsers;
}

// Logout tokens are accepted for this long after they were made, so they are remembered for as long.
const REPLAY_SECONDS = 600;

/**
 * Ends the grants of the login session or the user that the token names (§2.7), see {@link grantsOf}.
 * @throws OAuthError `invalid_request` for a token that is not a genuine, fresh one of the provider; UnavailableError if
 * that cannot be known yet, so that the provider says it again
 */
export async function endGrantsOfLogout(
  logoutToken: string,
  { grants, endings, sessions, verifyLogoutToken, records, users, log }: Pick<Runtime, "log"> & Dependencies,
): Promise<void> {
  const logout = await verified(logoutToken, verifyLogoutToken);
  // Of each issuer for itself: the identifiers of one must not use up those of another.
  const mark = `logout:${sha256(users.unique(logout.issuer, logout.jti))}`;
  if ((await records.get(mark)) !== undefined)
    throw new OAuthError("invalid_request", "This logout token was used before.", {
      reason: "logout_token_replayed",
    });
  const ended = await endAll(logout, { grants, endings, sessions });
  // Last, so that the provider may repeat the token after a failure: a session that goes on after a sign-out would be worse than
  // a logout token that is used twice.
  await records.put(mark, "used", REPLAY_SECONDS).catch((cause) => {
    log.warn(
      { reason: "logout_token_not_remembered", cause: causes(cause) },
      "The sign-out was done all the same",
    );
  });
  log.info(
    { reason: "backchannel_logout", subject: logout.subject, issuer: logout.issuer, grants: ended },
    "The user signed out at the identity provider",
  );
}

async function verified(
  logoutToken: string,
  verifyLogoutToken: Dependencies["verifyLogoutToken"],
): Promise<LogoutToken> {
  try {
    return await verifyLogoutToken(logoutToken);
  } catch (cause) {
    if (!(cause instanceof UpstreamRefusal)) throw cause;
    throw new OAuthError("invalid_request", "The logout token is not valid.", {
      reason: "invalid_logout_token",
      cause,
    });
  }
}

/** @returns how many grants that were */
async function endAll(
  logout: LogoutToken,
  { grants, endings, sessions }: Pick<Dependencies, "grants" | "endings" | "sessions">,
): Promise<number> {
  await endings.markSignOut(logout);
  const found = await grantsOf(logout, grants);
  const ids = found.map(({ id }) => id);
  const ended = await endGrants(ids, "backchannel_logout", grants);
  // After the grants, whose end needs no room: a full store refuses this note, and the provider says it again.
  await sessions.endOf(logout);
  return ended.length;
}

/**
 * With `sub` and `sid`: the user's grants of that session, and those of which no session is known. If none is of that
 * session, all of the user's (§2.7): what was granted under an earlier version may have the `sid` of an access token, and
 * a sign-out that ends nothing is worse than one that ends too much. A `sid` that is somebody else's matches nothing.
 */
async function grantsOf({ issuer, subject, sid }: LogoutToken, grants: Grants): Promise<Grant[]> {
  if (subject === undefined) return sid === undefined ? [] : grants.ofSession({ issuer, sid });
  const theirs = await grants.ofSubject({ issuer, subject });
  const isOfSession = ({ principal }: Grant) => claimsOf(principal).sid === sid;
  if (sid === undefined || !theirs.some(isOfSession)) return theirs;
  return theirs.filter((grant) => isOfSession(grant) || !hasSession(grant));
}

function hasSession({ principal }: Grant): boolean {
  const { sid } = claimsOf(principal);
  return typeof sid === "string" && sid !== "";
}
