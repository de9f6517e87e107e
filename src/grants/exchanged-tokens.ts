/**
 * Tokens for other APIs in the name of who signed in: got by exchanging the user's access token at the provider, or their ID token
 * for an assertion that another authorization server takes; kept with the grant until they are about to end. Of one kind at most
 * one exchange is under way, over all replicas: it holds a lock, and who else wants the token waits for that.
 */
import { EventEmitter, once } from "node:events";
import { z } from "zod";
import type { Audit } from "../audit/audit.ts";
import { ExchangedToken, type IdentityProvider, UpstreamRefusal } from "../identity/identity-provider.ts";
import type { AuthorizationServer } from "../identity/oidc/authorization-server.ts";
import { causes, OAuthError, UnavailableError } from "../oauth/errors.ts";
import { type ApiRequest, identifierOf } from "../oauth/other-api.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Shutdown } from "../runtime/shutdown.ts";
import type { KeyValueStore, Store } from "../storage/store.ts";
import { exchangeRefusal } from "./exchange-refusals.ts";
import { type Grant, isSignedIn, noUpstreamTokens, type SignedInGrant, whose } from "./grant.ts";
import type { Grants } from "./grants.ts";
import { createLocks } from "./lock.ts";
import { notConfigured, UPSTREAM_MARGIN_SECONDS, type UpstreamRefresh } from "./upstream-renewal.ts";

/** Those of one grant, newest first. */
export const KeptTokens = z.object({
  tokens: z.array(ExchangedToken.extend({ api: z.string() })),
});
export type KeptTokens = z.infer<typeof KeptTokens>;

export interface ExchangedTokens {
  /**
   * @throws OAuthError that says what the user can do, if the provider refuses; `invalid_grant` if the grant has ended, here or
   * there, `unauthorized_client` if nobody signed in for it; UnavailableError on an outage
   */
  tokenFor(grantId: string, api: ApiRequest): Promise<string>;
  /** The API did not take it: the next caller gets another. One that is that new is kept, or every call would exchange in vain. */
  refused(grantId: string, api: ApiRequest, accessToken: string): Promise<void>;
}

interface Dependencies {
  grants: Pick<Grants, "find">;
  kept: Store<KeptTokens>;
  identityProviders: { ofIssuer(issuer: string): IdentityProvider | undefined };
  /** By their issuers. */
  authorizationServers: ReadonlyMap<string, AuthorizationServer>;
  upstreamRefresh: UpstreamRefresh;
  /** Keeps the locks. */
  records: KeyValueStore;
  audit: Audit;
  /** See {@link exchangeRefusal}. */
  connectionsUrl: string;
  /** Waits for what nobody else waits for. */
  shutdown: Pick<Shutdown, "waitUntil">;
  /** How long a caller waits. */
  timeoutSeconds: number;
}

/** In seconds: an API that refuses what is newer refuses whatever the provider gives. */
const NEW_SECONDS = 60;
/** A tool's APIs are written in its code: no real one has as many. */
const MAX_KEPT = 16;
// The end of a lock is published. That of one whose holder died is not, and a message may be lost.
const LOOK_MS = 1_000;
const LEAST_LOCK_SECONDS = 30;
const LOCK = "lock";

export function createExchangedTokens({
  grants,
  kept,
  identityProviders,
  authorizationServers,
  upstreamRefresh,
  shutdown,
  records,
  audit,
  connectionsUrl,
  timeoutSeconds,
  now,
  monotonicNow = now,
  randomBytes,
  log,
}: Runtime & Dependencies): ExchangedTokens {
  const lockSeconds = Math.max(LEAST_LOCK_SECONDS, 2 * timeoutSeconds);
  const locks = createLocks({ records, shutdown, monotonicNow, randomBytes, lockSeconds });
  // One listener for errors for each exchange that is waited for.
  const released = new EventEmitter().setMaxListeners(0);
  records.watch(LOCK, (key) => released.emit(key.slice(LOCK.length + 1)));

  async function keptFor({ id }: Pick<Grant, "id">, api: string): Promise<string | undefined> {
    const found = (await kept.get(id))?.tokens.find((token) => token.api === api);
    return found !== undefined && isFresh(found, now()) ? found.accessToken : undefined;
  }

  async function exchange(grant: SignedInGrant, api: ApiRequest): Promise<string> {
    const about = { ...whose(grant), audience: identifierOf(api) };
    try {
      const token = await exchangeNow(grant, api);
      await keep(grant, nameOf(api), token);
      // Who ends a grant removes first the grant and then what is kept: either they see this token, or we see the end.
      if ((await grants.find(grant.id)) === undefined) {
        await kept.delete(grant.id);
        shutdown.waitUntil(revoke(grant, api, token));
        throw ended();
      }
      audit({ event: "token_exchanged", decision: "allow", ...about, scopes: token.scopes ?? api.scopes });
      return token.accessToken;
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error;
      const { reason } = error;
      log.warn({ reason, ...about, cause: causes(error.cause) }, "No token for another API");
      if (!(error instanceof UnavailableError))
        audit({ event: "token_exchanged", decision: "deny", reason, ...about, scopes: api.scopes });
      throw error;
    }
  }

  /** One that came too late: nobody has seen it, and whoever ended the grant means it to be worth nothing. */
  async function revoke(
    grant: SignedInGrant,
    api: ApiRequest,
    { accessToken }: ExchangedToken,
  ): Promise<void> {
    const { authorizationServer } = api;
    try {
      if (authorizationServer !== undefined)
        await authorizationServers.get(authorizationServer)?.revoke(accessToken);
      else await identityProviders.ofIssuer(grant.principal.issuer)?.revoke(accessToken, "access_token");
    } catch (error) {
      log.warn(
        { reason: "upstream_revocation_failed", grantId: grant.id, cause: causes(error) },
        "The provider still holds a token for another API",
      );
    }
  }

  async function exchangeNow(grant: SignedInGrant, api: ApiRequest): Promise<ExchangedToken> {
    const { authorizationServer } = api;
    const fresh = await upstreamRefresh.ensureFreshUntil(
      grant,
      now() + UPSTREAM_MARGIN_SECONDS,
      authorizationServer !== undefined ? "id token as well" : undefined,
    );
    if (!isSignedIn(fresh)) throw noUpstreamTokens();
    const provider = identityProviders.ofIssuer(fresh.principal.issuer);
    // Another provider would have this user's token.
    if (provider === undefined) throw notConfigured();
    try {
      return authorizationServer === undefined
        ? await provider.exchange(fresh.upstream.accessToken, api, fresh.principal)
        : await acrossDomains(fresh, provider, { ...api, authorizationServer });
    } catch (cause) {
      throw cause instanceof UpstreamRefusal ? exchangeRefusal(cause, api, connectionsUrl) : cause;
    }
  }

  /** The provider asserts to the other authorization server who the user is, and that gives the token. */
  async function acrossDomains(
    { principal, upstream: { idToken } }: SignedInGrant,
    provider: IdentityProvider,
    api: ApiRequest & { authorizationServer: string },
  ): Promise<ExchangedToken> {
    const server = authorizationServers.get(api.authorizationServer);
    if (server === undefined) throw new Error(`${api.authorizationServer} is not in authorizationServers`);
    // Of a sign-in from before it was kept, or of a provider that sends none with a refresh.
    if (idToken === undefined || idToken.expiresAt <= now()) throw new UpstreamRefusal("login_required");
    return await server.redeem(await provider.assertionFor(idToken.token, api, principal), api);
  }

  function keep({ id, expiresAt: grantEnd }: Grant, api: string, token: ExchangedToken): Promise<void> {
    return kept.update(id, (current) => {
      const others = (current?.tokens ?? []).filter((other) => other.api !== api && other.expiresAt > now());
      const tokens = [{ ...token, api }, ...others].slice(0, MAX_KEPT);
      const end = Math.min(grantEnd, Math.max(...tokens.map(({ expiresAt }) => expiresAt)));
      return { write: { tokens }, ttlSeconds: Math.max(1, end - now()), result: undefined };
    });
  }

  /** By this process or another; looks again whether there is one whenever a lock was given back. */
  async function exchangedByAnybody(
    grant: SignedInGrant,
    api: ApiRequest,
    givenUp: AbortSignal,
  ): Promise<string> {
    const name = nameOf(api);
    const lockName = `exchange:${grant.id}:${name}`;
    for (;;) {
      // Before the look-up: what is given back later is published.
      const told = once(released, lockName, { signal: AbortSignal.timeout(LOOK_MS) }).catch(() => {});
      const lock = await locks.acquire(lockName);
      // Under the lock nobody adds to it.
      const found = await keptFor(grant, name);
      if (lock !== undefined)
        return await lock.during(async () => found ?? (await exchange(await current(grant.id), api)));
      if (found !== undefined) return found;
      if (givenUp.aborted) throw slow();
      await told;
    }
  }

  /** @throws OAuthError if it has ended, or nobody signed in for it */
  async function current(grantId: string): Promise<SignedInGrant> {
    const grant = await grants.find(grantId);
    if (grant === undefined) throw ended();
    if (!isSignedIn(grant)) throw noUpstreamTokens();
    return grant;
  }

  /** The exchanges under way in this process. */
  const underWay = new Map<string, Promise<string>>();

  /** What is begun goes on when nobody waits any more: whoever asks again finds its token. */
  function shared(grant: SignedInGrant, api: ApiRequest): Promise<string> {
    const key = `${grant.id}:${nameOf(api)}`;
    const found = underWay.get(key);
    if (found !== undefined) return found;
    const givenUp = AbortSignal.timeout(timeoutSeconds * 1000);
    const begun = exchangedByAnybody(grant, api, givenUp).finally(() => underWay.delete(key));
    const answered = Promise.race([begun, slowAfter(givenUp)]);
    underWay.set(key, answered);
    return answered;
  }

  return {
    async tokenFor(grantId, api) {
      const grant = await current(grantId);
      return (await keptFor(grant, nameOf(api))) ?? (await shared(grant, api));
    },
    async refused(grantId, api, accessToken) {
      const name = nameOf(api);
      const isDropped = (token: KeptTokens["tokens"][number]) =>
        token.api === name && token.accessToken === accessToken && now() - token.obtainedAt >= NEW_SECONDS;
      await kept.update(grantId, (current) => {
        const tokens = (current?.tokens ?? []).filter((token) => !isDropped(token));
        if (tokens.length === (current?.tokens.length ?? 0)) return { result: undefined };
        const end = Math.max(now(), ...tokens.map(({ expiresAt }) => expiresAt));
        return { write: { tokens }, ttlSeconds: Math.max(1, end - now()), result: undefined };
      });
    },
  };
}

/** Two requests for the same have one name, in whatever order their scopes are. */
function nameOf({ audience, resource, authorizationServer, scopes }: ApiRequest): string {
  const parts = [audience ?? null, resource ?? null, [...new Set(scopes)].sort()];
  return sha256(JSON.stringify(authorizationServer === undefined ? parts : [...parts, authorizationServer]));
}

/** Enough for a request that is made right away; one that lives for a minute or less serves for half of its life. */
function isFresh({ obtainedAt, expiresAt }: ExchangedToken, now: number): boolean {
  return expiresAt - now > Math.min(UPSTREAM_MARGIN_SECONDS, (expiresAt - obtainedAt) / 2);
}

function ended(): OAuthError {
  return new OAuthError("invalid_grant", "The grant has ended. Sign in again.", { reason: "grant_ended" });
}

async function slowAfter(givenUp: AbortSignal): Promise<never> {
  await once(givenUp, "abort");
  throw slow();
}

function slow(): UnavailableError {
  return new UnavailableError("identity provider", { reason: "exchange_slow" });
}
