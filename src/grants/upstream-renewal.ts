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
   * @param also whether the ID token has to be good, too, where one is kept: a provider that sends another with a refresh renews it
   * @returns the grant as it is then
   * @throws OAuthError `invalid_grant` on a definite "no", which ends the grant; UnavailableError on an outage, which
   * changes nothing
   */
  ensureFreshUntil(grant: Grant, until: number, also?: "id token as well"): Promise<Grant>;
  /**
   * The same, and then a change of the grant, see {@link Grants.update}: if this call renews the tokens, both are stored in one step.
   * A change that nobody waits for any more is not made.
   */
  updateFresh<Result>(
    grant: Grant,
    until: number,
    decide: (grant: Grant | undefined) => GrantChange<Result>,
  ): Promise<Result>;
}

type Decide = (grant: Grant | undefined) => GrantChange<unknown>;

/** What a caller wants to be changed with a renewal. */
interface Decision {
  readonly decide: Decide;
  /** What the store was asked to do, as soon as it was: from then on the change may be made. */
  stored?: Promise<Renewed | undefined>;
}

interface Renewed {
  grant: Grant;
  /** What was decided and stored with it. */
  decided?: { result: unknown };
}

interface Needed {
  /** Until when the access token has to be good. */
  until: number;
  idToken: boolean;
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
const ID_TOKEN_MARGIN_SECONDS = 10;

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
  const locks = createLocks({ records, shutdown, monotonicNow, randomBytes, lockSeconds });

  /** Whether nothing needs to be done, or can be. */
  function isFresh(grant: Grant, needed: Needed): boolean {
    return spendable(grant, needed) === undefined;
  }

  /** The grant with the refresh token to spend; undefined if it is fresh. */
  function spendable(grant: Grant, { until, idToken: wanted }: Needed): Spendable | undefined {
    if (!isSignedIn(grant)) return undefined;
    const { obtainedAt, expiresAt, refreshToken, idToken } = grant.upstream;
    const isDue = expiresAt !== undefined && expiresAt < until && now() >= (obtainedAt + expiresAt) / 2;
    const isOver = wanted && idToken !== undefined && idToken.expiresAt < now() + ID_TOKEN_MARGIN_SECONDS;
    return (isDue || isOver) && refreshToken !== undefined ? { grant, refreshToken } : undefined;
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

  async function refreshOnce({ grant, refreshToken }: Spendable, decision: Decision): Promise<Renewed> {
    const { renewable, principal } = grant;
    // Another provider's answer would say nothing of this user, and it would have their token.
    const provider = identityProviders.ofIssuer(principal.issuer);
    if (provider === undefined) throw notConfigured();
    try {
      const { issuer, subject } = principal;
      const renewal = await provider.refresh(refreshToken, { renewable, issuer, subject });
      const stored = await store(grant, refreshToken, renewal, decision);
      if (stored !== undefined) {
        logChangedScopes(grant, stored.grant);
        return stored;
      }
      await forgetIfEndedForGood(grant, refreshToken, renewal);
      return { grant: await current(grant.id) };
    } catch (cause) {
      if (!(cause instanceof UpstreamRefusal)) throw cause;
      // A refusal because another process spent the token must not end the tokens that it got.
      const latest = await current(grant.id);
      if (latest.upstream?.refreshToken !== refreshToken) return { grant: latest };
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
    decision: Decision,
  ): Promise<Renewed | undefined> {
    const overwriteSpent = (grant: Grant | undefined): GrantChange<Renewed | undefined> => {
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
      // One that is over is gone with the next renewal: it would be renewed for at every call.
      const { idToken } = grant.upstream;
      const upstream =
        idToken !== undefined && idToken.expiresAt >= now() + ID_TOKEN_MARGIN_SECONDS
          ? { idToken, ...tokens }
          : tokens;
      const fresh = { ...withScopes(grant, kept), upstream, principal: { ...principal, claims } };
      const { write = fresh, result } = decided(fresh, decision.decide) ?? {};
      return { write, result: { grant: write, ...(write !== fresh && { decided: { result } }) } };
    };
    for (let attempt = 1; ; attempt++) {
      try {
        decision.stored = grants.update(read.id, overwriteSpent, read);
        return await decision.stored;
      } catch (error) {
        if (!(error instanceof UnavailableError) || attempt === STORE_ATTEMPTS) throw error;
        await delay(STORE_RETRY_MS);
      }
    }
  }

  /** The tokens are stored whatever becomes of the rest: what fails here fails again for the caller, who decides then. */
  function decided(fresh: Grant, decide: Decide): GrantChange<unknown> | undefined {
    try {
      return decide(fresh);
    } catch {
      return undefined;
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
  async function renew(grant: Grant, needed: Needed, lock: Lock, decision: Decision): Promise<Renewed> {
    const latest = await current(grant.id);
    const due = spendable(latest, needed);
    if (due === undefined || renewedMeanwhile(grant, latest)) return { grant: latest };
    // It took so long to come here that the lock may have ended: somebody else may be spending the token.
    if (!lock.isHeldByTime()) throw slow();
    return await refreshOnce(due, decision);
  }

  // One listener for errors for each renewal that is waited for.
  const changes = new EventEmitter().setMaxListeners(0);
  records.watch(GRANT, (key) => changes.emit(key.slice(GRANT.length + 1)));

  /** @param wanted while a caller waits for it */
  async function renewedByAnybody(
    grant: Grant,
    needed: Needed,
    wanted: Wanted,
    decision: Decision,
  ): Promise<Renewed> {
    for (;;) {
      const lock = await locks.acquire(`upstream:${grant.id}`);
      if (lock !== undefined) return await lock.during(() => renew(grant, needed, lock, decision));
      // Before the look-up: later changes are published.
      const told = once(changes, grant.id, { signal: AbortSignal.timeout(LOOK_MS) }).catch(() => {});
      const latest = await current(grant.id);
      if (renewedMeanwhile(grant, latest)) return { grant: latest };
      if (wanted.givenUp.aborted) throw slow();
      await told;
    }
  }

  /** The renewals under way in this process, by grant. */
  const underWay = new Map<string, { renewal: Promise<Renewed>; wanted: Wanted }>();

  function begin(grant: Grant, needed: Needed, givenUp: AbortSignal, decision: Decision): Promise<Renewed> {
    const wanted = { givenUp };
    const renewal = renewedByAnybody(grant, needed, wanted, decision).finally(() =>
      underWay.delete(grant.id),
    );
    underWay.set(grant.id, { renewal, wanted });
    // The caller gets a 503; the renewal goes on, because a provider that rotates may have spent the refresh
    // token already, and only its late answer has the new one.
    renewal.catch(() => {});
    shutdown.waitUntil(renewal);
    return renewal;
  }

  /** Joins the renewal that is under way. One that was begun for less, or of an older grant, may not be enough. */
  async function renewed(
    grant: Grant,
    needed: Needed,
    givenUp: AbortSignal,
    decision: Decision,
  ): Promise<Renewed> {
    for (;;) {
      const found = underWay.get(grant.id);
      if (found === undefined) return await begin(grant, needed, givenUp, decision);
      found.wanted.givenUp = givenUp;
      const { grant: latest } = await found.renewal;
      if (isFresh(latest, needed) || renewedMeanwhile(grant, latest)) return { grant: latest };
      if (givenUp.aborted) throw slow();
    }
  }

  async function fresh(grant: Grant, needed: Needed, decide: Decide): Promise<Renewed> {
    if (isFresh(grant, needed)) return { grant };
    const givenUp = AbortSignal.timeout(timeoutSeconds * 1000);
    // Whose caller has got a 503 would not know of a refresh token that was replaced: the next attempt would look like theft.
    const decision: Decision = {
      decide: (fresh) => (givenUp.aborted ? { result: undefined } : decide(fresh)),
    };
    return await Promise.race([
      renewed(grant, needed, givenUp, decision),
      madeOrBusyAfter(givenUp, decision),
    ]);
  }

  return {
    async ensureFreshUntil(grant, until, also) {
      const needed = { until, idToken: also !== undefined };
      return (await fresh(grant, needed, () => ({ result: undefined }))).grant;
    },
    async updateFresh<Result>(
      grant: Grant,
      until: number,
      decide: (grant: Grant | undefined) => GrantChange<Result>,
    ) {
      const { grant: latest, decided } = await fresh(grant, { until, idToken: false }, decide);
      return decided === undefined
        ? await grants.update(grant.id, decide, latest)
        : (decided.result as Result);
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

/** A change that was decided in time and is being stored is waited for: its caller has to know of it. */
async function madeOrBusyAfter(givenUp: AbortSignal, decision: Decision): Promise<Renewed> {
  await once(givenUp, "abort");
  const stored = await decision.stored?.catch(() => undefined);
  if (stored?.decided !== undefined) return stored;
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
