/**
 * Keeps the user's tokens at the provider fresh. A refresh token upstream is spent by one process at a time, and
 * what comes back is stored before anything else can fail.
 */
import { setTimeout as delay } from "node:timers/promises";
import { OAuthError, UnavailableError } from "../oauth/errors.ts";
import type { Records } from "../storage/store.ts";
import type { Surroundings } from "../surroundings.ts";
import type { IdentityProvider, UpstreamTokens } from "../upstream/identity-provider.ts";
import type { Grants } from "./grant.ts";

export interface UpstreamRefresh {
  /**
   * Renews the grant's upstream tokens if they end before `until` (seconds since the epoch) and more than half of
   * their life is over: where the provider's tokens live shorter than ours, concurrent refreshes still renew once.
   * @throws UpstreamRefusal on a definite "no"; UnavailableError on an outage
   */
  ensureFreshUntil(grantId: string, until: number): Promise<void>;
}

interface Rooms {
  grants: Grants;
  identityProvider: IdentityProvider;
  /** Keeps the locks. */
  records: Records;
  /** How long one refresh may take; the lock outlives it. */
  timeoutSeconds: number;
}

const POLL_MS = 50;

export function createUpstreamRefresh({
  grants,
  identityProvider,
  records,
  timeoutSeconds,
  now,
  randomBytes,
}: Surroundings & Rooms): UpstreamRefresh {
  const lockSeconds = timeoutSeconds * 2;

  /** The refresh token to spend, or undefined if nothing needs to be or can be done. */
  async function dueRefreshToken(grantId: string, until: number): Promise<string | undefined> {
    const grant = await grants.find(grantId);
    if (grant === undefined)
      throw new OAuthError("invalid_grant", "The grant has ended. Sign in again.", {
        reason: "unknown_grant",
      });
    const { obtainedAt, expiresAt, refreshToken } = grant.upstream;
    const fresh = expiresAt === undefined || expiresAt >= until || now() < (obtainedAt + expiresAt) / 2;
    return fresh ? undefined : refreshToken;
  }

  async function refreshOnce(grantId: string, until: number): Promise<void> {
    const refreshToken = await dueRefreshToken(grantId, until); // whoever held the lock before may have done it
    if (refreshToken === undefined) return;
    const upstream = await identityProvider.refresh(refreshToken);
    await store(grantId, refreshToken, upstream);
  }

  /** Writes only over what was spent: a grant that ended or moved on in between is left alone. */
  async function store(grantId: string, spent: string, upstream: UpstreamTokens): Promise<void> {
    await grants.update(grantId, (grant) =>
      grant?.upstream.refreshToken === spent
        ? { write: { ...grant, upstream }, result: undefined }
        : { result: undefined },
    );
  }

  return {
    async ensureFreshUntil(grantId, until) {
      const lock = `lock:upstream:${grantId}`;
      const holder = randomBytes(16).toString("base64url");
      for (let waited = 0; waited < lockSeconds * 1000; waited += POLL_MS) {
        if ((await dueRefreshToken(grantId, until)) === undefined) return;
        if (await records.replace(lock, undefined, holder, lockSeconds)) {
          try {
            return await refreshOnce(grantId, until);
          } finally {
            await records.deleteIf(lock, holder);
          }
        }
        await delay(POLL_MS);
      }
      throw new UnavailableError("identity provider", { reason: "upstream_refresh_busy" });
    },
  };
}
