/**
 * Keeps the user's tokens at the provider fresh. A refresh token upstream is spent by one process at a time, and
 * what comes back is stored before anything else can fail. In each process at most one renewal of a grant is under way,
 * for everybody who asks: it holds the lock of the grant, or waits for the change that another process publishes.
 */
import { EventEmitter, once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { KeepClaims } from "../identity/bounded-claims.ts";
import {
  type IdentityProvider,
  UpstreamRefusal,
  type UpstreamRenewal,
} from "../identity/identity-provider.ts";
import { afterRenewal } from "../identity/oidc/user-claims.ts";
import { OAuthError, UnavailableError } from "../oauth/errors.ts";
import { missingScopes } from "../oauth/scope.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Shutdown } from "../runtime/shutdown.ts";
import type { KeyValueStore } from "../storage/store.ts";
import {
  about,
  allowedScopes,
  type Grant,
  isSignedIn,
  notGiven,
  type SignedInGrant,
  whose,
  withScopes,
} from "./grant.ts";
import type { GrantChange, Grants } from "./grants.ts";
import { createLocks, type Lock } from "./lock.ts";
import type { UpstreamRevocations } from "./upstream-revocations.ts";

export interface UpstreamRefresh {
  /**
   * Renews the grant's upstream tokens if they end before `until` (seconds since the epoch) and more than half of
   * their life is over: where the provider's tokens live shorter than ours, concurrent refreshes still renew once. A grant of
   * who did not sign in there has none, and stays as it is.
   * @returns the grant as it is then
   * @throws OAuthError `invalid_grant` on a definite "no", which ends the grant; UnavailableError on an outage, which
   * changes nothing
   */
  ensureFreshUntil(grant: Grant, until: number): Promise<Grant>;
}

interface Dependencies {
  grants: Grants;
  identityProviders: { ofIssuer(issuer: string): IdentityProvider | undefined };
  revocations: UpstreamRevocations;
  /** Keeps the locks. */
  records: KeyValueStore;
  keepClaims: KeepClaims;
  /** The scopes of the resource that a grant is for. */
  catalogueOf(resource: string): ScopeCatalogue;
  /** Waits for what was begun. */
  shutdown: Pick<Shutdown, "waitUntil">;
  /** How long a caller waits. */
  timeoutSeconds: number;
}

// A change of the grant is published. The end of a lock whose holder died or failed is not, and a message may be lost.
const LOOK_MS = 1_000;
// The lock must outlast a process that gets no processor for a while, and a Redis that is away for a while: twice spent, a
// rotating refresh token ends the session. So long others wait after its holder died.
const LEAST_LOCK_SECONDS = 30;
const STORE_ATTEMPTS = 60;
const STORE_RETRY_MS = 500;
const GRANT = "grant";
/** For a request that is made right away with the provider's token; its clock may be a little off. */
export const UPSTREAM_MARGIN_SECONDS = 60;

export function createUpstreamRefresh({
  grants,
  identityProviders,
  revocations,
  records,
  keepClaims,
  catalogueOf,
  shutdown,
  timeoutSeconds,
  now,
  monotonicNow = now,
  randomBytes,
  log,
}: Runtime & Dependencies): UpstreamRefresh {
  const lockSeconds = Math.max(LEAST_LOCK_SECONDS, timeoutSeconds);
  const locks = createLocks({ records, monotonicNow, randomBytes, lockSeconds });

  /** Whether nothing needs to be done, or can be. */
  function isFresh(grant: Grant, until: number): boolean {
    return spendable(grant, until) === undefined;
  }

  /** The grant with the refresh token to spend; undefined if it is fresh. */
  function spendable(grant: Grant, until: number): Spendable | undefined {
    if (!isSignedIn(grant)) return undefined;
    const { obtainedAt, expiresAt, refreshToken } = grant.upstream;
    const isDue = expiresAt !== undefined && expiresAt < until && now() >= (obtainedAt + expiresAt) / 2;
    return isDue && refreshToken !== undefined ? { grant, refreshToken } : undefined;
  }

  async function current(grantId: string): Promise<Grant> {
    const grant = await grants.find(grantId);
    if (grant !== undefined) return grant;
    throw new OAuthError("invalid_grant", "The grant has ended. Sign in again.", { reason: "unknown_grant" });
  }

  /** If another process renewed while this one waited, its result is used. */
  function renewedMeanwhile(seen: Grant, now: Grant): boolean {
    return seen.upstream?.accessToken !== now.upstream?.accessToken;
  }

  async function refreshOnce({ grant, refreshToken }: Spendable): Promise<Grant> {
    const { renewable, principal } = grant;
    // Another provider's answer would say nothing of this user, and it would have their token.
    const provider = identityProviders.ofIssuer(principal.issuer);
    if (provider === undefined) throw notConfigured();
    try {
      const { issuer, subject } = principal;
      const renewal = await provider.refresh(refreshToken, { renewable, issuer, subject });
      const stored = await store(grant, refreshToken, renewal);
      if (stored !== undefined) {
        logChangedScopes(grant, stored);
        return stored;
      }
      await forgetIfEndedForGood(grant, refreshToken, renewal);
      return await current(grant.id);
    } catch (cause) {
      if (!(cause instanceof UpstreamRefusal)) throw cause;
      // A refusal because another process spent the token must not end the tokens that it got.
      const latest = await current(grant.id);
      if (latest.upstream?.refreshToken !== refreshToken) return latest;
      throw await ended(grant, cause);
    }
  }

  /**
   * Writes only over what was spent: a grant that ended or moved on in between is left alone. A store that is out of
   * reach is waited for: nobody else has these tokens. A scope that the user lost at the provider is lost here, and one that
   * they allowed and did not have before is theirs from now on.
   * @returns the grant with them, or undefined if it was left alone
   */
  async function store(
    read: Grant,
    spent: string,
    { tokens, scopes, claims: renewed }: UpstreamRenewal,
  ): Promise<Grant | undefined> {
    const overwriteSpent = (grant: Grant | undefined): GrantChange<Grant | undefined> => {
      if (grant === undefined || !isSignedIn(grant) || grant.upstream.refreshToken !== spent)
        return { result: undefined };
      const { principal } = grant;
      const kept =
        scopes === undefined
          ? grant.scopes
          : catalogueOf(grant.resource).limitTo(allowedScopes(grant), scopes);
      const claims =
        renewed === undefined
          ? principal.claims
          : keepClaims(afterRenewal(principal.claims, grant.renewable, renewed), principal.subject);
      const write = { ...withScopes(grant, kept), upstream: tokens, principal: { ...principal, claims } };
      return { write, result: write };
    };
    for (let attempt = 1; ; attempt++) {
      try {
        return await grants.update(read.id, overwriteSpent, read);
      } catch (error) {
        if (!(error instanceof UnavailableError) || attempt === STORE_ATTEMPTS) throw error;
        await delay(STORE_RETRY_MS);
      }
    }
  }

  function logChangedScopes(before: Grant, after: Grant): void {
    const catalogue = catalogueOf(after.resource);
    const [lacked, lacking] = [notGiven(before, catalogue), notGiven(after, catalogue)];
    const [taken, given] = [missingScopes(lacking, lacked), missingScopes(lacked, lacking)];
    if (taken.length > 0)
      log.info(
        { reason: "scopes_not_given", ...whose(after), scopes: taken },
        "The user approved these scopes, and the identity provider gives them no more",
      );
    if (given.length > 0)
      log.info(
        { reason: "scopes_given_later", ...whose(after), scopes: given },
        "The user approved these scopes, and the identity provider gives them now",
      );
  }

  /** If the grant was ended on purpose meanwhile, only the spent token was revoked at the provider: revokes the new one too. */
  async function forgetIfEndedForGood(
    { id, principal }: Grant,
    spent: string,
    { tokens }: UpstreamRenewal,
  ): Promise<void> {
    if (tokens.refreshToken === spent || !(await grants.endedForGood(id))) return;
    void revocations.revoke({ id, principal, upstream: tokens });
  }

  async function ended(grant: Grant, cause: UpstreamRefusal): Promise<OAuthError> {
    await grants.end(grant.id, "upstream_refused");
    log.warn(
      { reason: "upstream_refused", ...about(grant), upstreamError: cause.message },
      "Grant ended: the identity provider refused to renew it",
    );
    return new OAuthError("invalid_grant", "The sign-in has ended at the identity provider. Sign in again.", {
      reason: "upstream_refused",
      cause,
    });
  }

  /** Renews under the lock, unless somebody else did while we waited for it. */
  async function renew(grant: Grant, until: number, lock: Lock): Promise<Grant> {
    const latest = await current(grant.id);
    const due = spendable(latest, until);
    if (due === undefined || renewedMeanwhile(grant, latest)) return latest;
    // It took so long to come here that the lock may have ended: somebody else may be spending the token.
    if (!lock.isHeldByTime()) throw slow();
    return await refreshOnce(due);
  }

  // One listener for errors for each renewal that is waited for.
  const changes = new EventEmitter().setMaxListeners(0);
  records.watch(GRANT, (key) => changes.emit(key.slice(GRANT.length + 1)));

  /** @param wanted while a caller waits for it */
  async function renewedByAnybody(grant: Grant, until: number, wanted: Wanted): Promise<Grant> {
    for (;;) {
      const lock = await locks.acquire(`upstream:${grant.id}`);
      if (lock !== undefined) return await lock.during(() => renew(grant, until, lock));
      // Before the look-up: later changes are published.
      const told = once(changes, grant.id, { signal: AbortSignal.timeout(LOOK_MS) }).catch(() => {});
      const latest = await current(grant.id);
      if (renewedMeanwhile(grant, latest)) return latest;
      if (wanted.givenUp.aborted) throw slow();
      await told;
    }
  }

  /** The renewals under way in this process, by grant. */
  const underWay = new Map<string, { renewal: Promise<Grant>; wanted: Wanted }>();

  function begin(grant: Grant, until: number, givenUp: AbortSignal): Promise<Grant> {
    const wanted = { givenUp };
    const renewal = renewedByAnybody(grant, until, wanted).finally(() => underWay.delete(grant.id));
    underWay.set(grant.id, { renewal, wanted });
    // The caller gets a 503; the renewal goes on, because a provider that rotates may have spent the refresh
    // token already, and only its late answer has the new one.
    renewal.catch(() => {});
    shutdown.waitUntil(renewal);
    return renewal;
  }

  /** Joins the renewal that is under way. One that was begun for less, or of an older grant, may not be enough. */
  async function renewed(grant: Grant, until: number, givenUp: AbortSignal): Promise<Grant> {
    for (;;) {
      const found = underWay.get(grant.id);
      if (found === undefined) return await begin(grant, until, givenUp);
      found.wanted.givenUp = givenUp;
      const latest = await found.renewal;
      if (isFresh(latest, until) || renewedMeanwhile(grant, latest)) return latest;
      if (givenUp.aborted) throw slow();
    }
  }

  return {
    async ensureFreshUntil(grant, until) {
      if (isFresh(grant, until)) return grant;
      const givenUp = AbortSignal.timeout(timeoutSeconds * 1000);
      return await Promise.race([renewed(grant, until, givenUp), busyAfter(givenUp)]);
    },
  };
}

interface Spendable {
  grant: SignedInGrant;
  refreshToken: string;
}

interface Wanted {
  /** Aborted when the last waiting caller has given up. */
  givenUp: AbortSignal;
}

async function busyAfter(givenUp: AbortSignal): Promise<never> {
  await once(givenUp, "abort");
  throw slow();
}

function slow(): UnavailableError {
  return new UnavailableError("identity provider", { reason: "upstream_refresh_slow" });
}

export function notConfigured(): UnavailableError {
  return new UnavailableError("identity provider", {
    reason: "provider_not_configured",
    description: "The identity provider of this sign-in is not configured here any more. Sign in again.",
    untilRepaired: true,
  });
}
