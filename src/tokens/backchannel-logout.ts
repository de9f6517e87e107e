/** POST /auth/backchannel-logout: the identity provider says that somebody signed out (OpenID Connect Back-Channel Logout 1.0). */
import { OAuthError } from "../oauth/errors.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Records } from "../storage/store.ts";
import type { Surroundings } from "../surroundings.ts";
import { type IdentityProvider, type LogoutToken, UpstreamRefusal } from "../upstream/identity-provider.ts";
import type { Grant } from "./grant.ts";
import type { Grants } from "./grants.ts";

interface Rooms {
  grants: Grants;
  /** See TokenRooms. */
  sessions: { endOf(logout: LogoutToken): Promise<void> };
  identityProvider: IdentityProvider;
  /** Remembers which logout tokens were used. */
  records: Records;
}

// Logout tokens are accepted for this long after they were made, so they are remembered for as long.
const REPLAY_SECONDS = 600;

/**
 * Ends every grant of the login session that the token names, or of the user if it names no session (§2.4).
 * @throws OAuthError `invalid_request` for a token that is not a genuine, fresh one of the provider
 */
export async function endGrantsOfLogout(
  logoutToken: string,
  { grants, sessions, identityProvider, records, log }: Surroundings & Rooms,
): Promise<void> {
  const logout = await verify(logoutToken, identityProvider);
  if (!(await records.replace(`logout:${sha256(logout.jti)}`, undefined, "used", REPLAY_SECONDS)))
    throw new OAuthError("invalid_request", "This logout token was used before.", {
      reason: "logout_token_replayed",
    });
  await sessions.endOf(logout);
  const ended = await grantsOf(logout, grants);
  for (const { id } of ended) await grants.end(id, "backchannel_logout");
  log.info(
    { reason: "backchannel_logout", subject: logout.subject, grants: ended.length },
    "The user signed out at the identity provider",
  );
}

async function verify(logoutToken: string, identityProvider: IdentityProvider): Promise<LogoutToken> {
  try {
    return await identityProvider.verifyLogoutToken(logoutToken);
  } catch (cause) {
    if (!(cause instanceof UpstreamRefusal)) throw cause;
    throw new OAuthError("invalid_request", "The logout token is not valid.", {
      reason: "invalid_logout_token",
      cause,
    });
  }
}

async function grantsOf({ subject, sid }: LogoutToken, grants: Grants): Promise<Grant[]> {
  if (sid !== undefined) return grants.ofSession(sid);
  return subject === undefined ? [] : grants.ofSubject(subject);
}
