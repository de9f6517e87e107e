/**
 * Keeps the user's tokens at the provider fresh. A refresh token upstream is spent by one process at a time, and
 * what comes back is stored before anything else can fail.
 */
import { setTimeout as delay } from "node:timers/promises";
import { OAuthError, UnavailableError } from "../oauth/errors.ts";
import type { Records } from "../storage/store.ts";
import type { Surroundings } from "../surroundings.ts";
import {
  type IdentityProvider,
  UpstreamRefusal,
  type UpstreamTokens,
} from "../upstream/identity-provider.ts";
import type { Grant } from "./grant.ts";
import type { Grants } from "./grants.ts";

export interface UpstreamRefresh {
  /**
   * Renews the grant's upstream tokens if they end before `until` (seconds since the epoch) and more than half of
   * their life is over: where the provider's tokens live shorter than ours, concurrent refreshes still renew once.
   * @returns the provider's tokens as they are then
   * @throws OAuthError `invalid_grant` on a definite "no", which ends the grant; UnavailableError on an outage, which
   * changes nothing
   */
  ensureFreshUntil(grant: Grant, until: number): Promise<UpstreamTokens>;
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
  log,
}: Surroundings & Rooms): UpstreamRefresh {
  const lockSeconds = timeoutSeconds * 2;

  /** The refresh token to spend, or undefined if nothing needs to be or can be done. */
  function dueRefreshToken({ upstream }: Grant, until: number): string | undefined {
    const { obtainedAt, expiresAt, refreshToken } = upstream;
    const fresh = expiresAt === undefined || expiresAt >= until || now() < (obtainedAt + expiresAt) / 2;
    return fresh ? undefined : refreshToken;
  }

  async function current(grantId: string): Promise<Grant> {
    const grant = await grants.find(grantId);
    if (grant !== undefined) return grant;
    throw new OAuthError("invalid_grant", "The grant has ended. Sign in again.", { reason: "unknown_grant" });
  }

  async function refreshOnce(grant: Grant, until: number): Promise<UpstreamTokens> {
    const refreshToken = dueRefreshToken(grant, until);
    if (refreshToken === undefined) return grant.upstream; // whoever held the lock before has done it
    try {
      const upstream = await identityProvider.refresh(refreshToken);
      await store(grant.id, refreshToken, upstream);
      return upstream;
    } catch (cause) {
      throw cause instanceof UpstreamRefusal ? await ended(grant, cause) : cause;
    }
  }

  /** Writes only over what was spent: a grant that ended or moved on in between is left alone. */
  async function store(grantId: string, spent: string, upstream: UpstreamTokens): Promise<void> {
    await grants.update(grantId, (grant) =>
      grant?.upstream.refreshToken === spent
        ? { write: { ...grant, upstream }, result: undefined }
        : { result: undefined },
    );
  }

  async function ended({ id, subject }: Grant, cause: UpstreamRefusal): Promise<OAuthError> {
    await grants.end(id);
    log.warn(
      { reason: "upstream_refused", grantId: id, subject, upstreamError: cause.message },
      "Grant ended: the identity provider refused to renew it",
    );
    return new OAuthError("invalid_grant", "The sign-in has ended at the identity provider. Sign in again.", {
      reason: "upstream_refused",
      cause,
    });
  }

  return {
    async ensureFreshUntil(grant, until) {
      const lock = `lock:upstream:${grant.id}`;
      const holder = randomBytes(16).toString("base64url");
      let seen = grant;
      for (let waited = 0; waited < lockSeconds * 1000; waited += POLL_MS) {
        if (dueRefreshToken(seen, until) === undefined) return seen.upstream;
        if (await records.replace(lock, undefined, holder, lockSeconds)) {
          try {
            return await refreshOnce(await current(grant.id), until);
          } finally {
            await records.deleteIf(lock, holder);
          }
        }
        await delay(POLL_MS);
        seen = await current(grant.id);
      }
      throw new UnavailableError("identity provider", { reason: "upstream_refresh_busy" });
    },
  };
}
