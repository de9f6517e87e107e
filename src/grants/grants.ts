/**
 * The store of grants. A grant is ONE record, changed only by compare-and-set: a rotation either happened or did not, and
 * deleting the record ends all of its tokens immediately. The indexes are in grant-index.ts.
 */
import { isSameUser, isUser, type Requester, type User, type UserId } from "../access/principal.ts";
import type { StoredUsers } from "../access/stored-users.ts";
import type { Audit } from "../audit/audit.ts";
import type { LoginSession, UpstreamLogin, UpstreamTokens } from "../identity/identity-provider.ts";
import { UnavailableError } from "../oauth/errors.ts";
import { randomId } from "../oauth/random-id.ts";
import { authenticationIn } from "../oauth/required-authentication.ts";
import { missingScopes } from "../oauth/scope.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Indexes, KeyValueStore, Store } from "../storage/store.ts";
import {
  addTokens,
  codeOf,
  type Grant,
  type IssuedTokens,
  isSignedIn,
  mintTokens,
  type Origin,
  whose,
} from "./grant.ts";
import { clientIndex, createGrantIndex, indexesOfUser, sessionIndex } from "./grant-index.ts";
import type { LastUse } from "./last-use.ts";
import type { Lifetimes } from "./lifetimes.ts";
import { hashToken, mintToken, SECRET_BYTES } from "./opaque-token.ts";
import type { UpstreamRevocations } from "./upstream-revocations.ts";

/** How many live grants a user may have; the oldest end first. */
export interface GrantLimits {
  perUser: number;
  perUserAndClient: number;
}

/** What a user approved, ready to become a grant. */
export interface ApprovedRequest extends Requester {
  readonly principal: User;
  codeChallenge: string;
  resource: string;
  /** What the provider gives … */
  scopes: readonly string[];
  /** … of what the user allowed. */
  allowed: readonly string[];
}

/** What an access token is issued for where no user signs in. */
export interface IssueRequest extends Requester {
  origin: Exclude<Origin, { kind: "authorization_code" }>;
  resource: string;
  scopes: readonly string[];
  /** Of them, what the policy permits today. */
  permitted: readonly string[];
}

export interface Grants {
  /**
   * Makes the grant of a finished login. Beyond the limits of live grants the user's oldest ones end.
   * @param unwanted why it must not exist: asked when it is stored, because whoever ends access writes a mark first, and then ends
   * the grants that exist
   */
  open(
    request: ApprovedRequest,
    login: Pick<UpstreamLogin, "renewable" | "tokens" | "authTime" | "acr">,
    unwanted: () => Promise<GrantEnd | undefined>,
  ): Promise<OpenedGrant | { ended: GrantEnd }>;
  /**
   * Makes a grant of one access token, for which nobody signed in: it ends with the token, there is no refresh token, and nobody
   * else's grant ends for it.
   */
  issue(request: IssueRequest): Promise<{ grant: Grant; issued: IssuedTokens }>;
  find(id: string): Promise<Grant | undefined>;
  /** See {@link Store.update}. */
  update<Result>(
    id: string,
    decide: (grant: Grant | undefined) => GrantChange<Result>,
    read?: Grant,
  ): Promise<Result>;
  /**
   * Ends the grant and every token of it, on every replica, and revokes at the provider if it was ended on purpose. `reason` is a
   * code for the audit log. Undefined if there was none, or somebody else ended it.
   */
  end(id: string, reason: GrantEnd): Promise<EndedGrant | undefined>;
  /** Whether the grant was ended on purpose a moment ago, so that its tokens have to be revoked at the provider too. */
  endedForGood(id: string): Promise<boolean>;
  /** The live grants of a user, oldest first. */
  ofUser(user: UserId): Promise<Grant[]>;
  /** Those, and of people whom assertions call this and who are known here by their e-mail address. */
  ofSubject(subject: UserId): Promise<Grant[]>;
  /** The live grants that a client holds, of all users: in portions and in no order, because they may be very many. */
  ofClient(clientId: string): AsyncIterable<Grant[]>;
  /** The live grants that came from one login session at the identity provider. */
  ofSession(session: LoginSession): Promise<Grant[]>;
}

export interface OpenedGrant {
  /** The authorization code that stands for it. */
  code: string;
  /** The other live grants of this user and client. */
  earlier: Grant[];
}

export interface EndedGrant {
  /** As it was. */
  grant: Grant;
  /** See {@link UpstreamRevocations.revoke}. */
  atProvider: Promise<void>;
}

export type GrantEnd =
  | "revoked_by_client"
  | "ended_by_user"
  | "code_replayed"
  | "refresh_token_reused"
  | "upstream_refused"
  | "backchannel_logout"
  | "too_many_grants"
  | "signs_in_again"
  | "client_removed"
  | "ended_by_operator";

export type GrantChange<Result> = { write?: Grant; result: Result };

/**
 * For these reasons the grant is also revoked at the provider. With one refresh token many providers forget all that they gave
 * this server for the user
 * (Auth0: "Refresh Token Revocation Deletes Grant"), so what ends by itself must not take the user's other sessions along.
 * Of the provider's token nobody has a copy then: it ended with the record.
 */
const MEANT_FOR_GOOD: ReadonlySet<GrantEnd> = new Set([
  "revoked_by_client",
  "ended_by_user",
  "ended_by_operator",
  "client_removed",
]);

// As long as a renewal may be on its way, a store that is out of reach included.
const RENEWAL_SECONDS = 120;

interface Dependencies {
  store: Store<Grant>;
  records: Pick<KeyValueStore, "get" | "put" | "deleteAll">;
  indexes: Indexes;
  users: StoredUsers;
  lastUse: Pick<LastUse, "forget">;
  lifetimes: Lifetimes;
  limits: GrantLimits;
  revocations: UpstreamRevocations;
  audit: Audit;
}

/** More than a sign-in adds, so that a limit that was lowered is reached. */
const SURPLUS_AT_ONCE = 16;

export function createGrants({
  store,
  records,
  indexes,
  users,
  lastUse,
  lifetimes,
  limits,
  revocations,
  now,
  randomBytes,
  audit,
}: Runtime & Dependencies): Grants {
  const codeSeconds = lifetimes.authorizationCodeSeconds;
  const index = createGrantIndex({ store, indexes, users, codeSeconds, now });

  /** A grant lives as long as its code, if it has one, then as long as it is used, and never beyond its end. */
  function ttlSeconds(grant: Grant): number {
    const code = codeOf(grant);
    const isInUse = code === undefined || code.redeemed;
    const idleEnd = isInUse ? now() + lifetimes.grantIdleSeconds : code.expiresAt;
    return Math.max(1, Math.min(idleEnd, grant.expiresAt) - now());
  }

  async function allOf(...names: string[]): Promise<Grant[]> {
    // Read in portions, a grant may come twice.
    const found = new Map<string, Grant>();
    for (const name of names)
      for await (const portion of index.portions(name))
        for (const grant of portion) found.set(grant.id, grant);
    return [...found.values()].sort(byAge);
  }

  async function end(id: string, reason: GrantEnd): Promise<EndedGrant | undefined> {
    // First: a renewal that finds no grant any more has to know what to do with its tokens. A full store refuses the mark, and
    // the grant ends all the same.
    if (MEANT_FOR_GOOD.has(reason))
      await records.put(endedForGood(id), reason, RENEWAL_SECONDS).catch(unlessUnavailable);
    // The caller may have got an UnavailableError by now: the end is audited, and revoked at the provider, all the same.
    const grant = await store.take(id, { late: (taken) => conclude(taken, reason) });
    return grant && (await conclude(grant, reason));
  }

  async function conclude(grant: Grant, reason: GrantEnd): Promise<EndedGrant> {
    const { id, scopes } = grant;
    audit({ event: "grant_ended", decision: "revoke", reason, ...whose(grant), scopes });
    const atProvider = MEANT_FOR_GOOD.has(reason) ? revocations.revoke(grant) : Promise.resolve();
    await Promise.all([index.remove(grant), lastUse.forget(id), forgetExchanged(grant)]);
    return { grant, atProvider };
  }

  /** See exchanged-tokens.ts; nobody else has any. */
  async function forgetExchanged(grant: Grant): Promise<void> {
    if (isSignedIn(grant)) await records.deleteAll([`exchanged:${grant.id}`]);
  }

  /** Ends the oldest grants beyond the limits. @returns the other live grants of the same user and client */
  async function keepWithinLimits(newest: Grant, user: UserId): Promise<Grant[]> {
    // However many there are: what is beyond this is for the next sign-in.
    const others = await index.othersOf({ id: newest.id, user }, limits.perUser + SURPLUS_AT_ONCE);
    const theirs = others.filter((grant) => isUser(grant.principal, user) && codeOf(grant) !== undefined);
    const grants = [...theirs.reverse().sort(byAge), newest];
    const ofClient = grants.filter(({ client }) => client.id === newest.client.id);
    const surplus = new Set([
      ...oldest(grants, limits.perUser),
      ...oldest(ofClient, limits.perUserAndClient),
    ]);
    for (const { id } of surplus) await end(id, "too_many_grants");
    return ofClient.filter((grant) => grant !== newest && !surplus.has(grant));
  }

  return {
    async open(request, login, unwanted) {
      const id = randomId(randomBytes);
      const code = mintToken("code", id, randomBytes(SECRET_BYTES));
      const grant: Grant = {
        version: 2,
        id,
        principal: request.principal,
        client: request.client,
        resource: request.resource,
        scopes: [...request.scopes],
        ...(missingScopes(request.allowed, request.scopes).length > 0 && { allowed: [...request.allowed] }),
        renewable: login.renewable,
        ...authenticationIn(login),
        createdAt: now(),
        expiresAt: grantEnd(login.tokens, now() + lifetimes.grantSeconds),
        familyKey: randomBytes(SECRET_BYTES).toString("base64url"),
        origin: {
          kind: "authorization_code",
          code: {
            hash: hashToken(code),
            codeChallenge: request.codeChallenge,
            expiresAt: now() + lifetimes.authorizationCodeSeconds,
            redeemed: false,
          },
        },
        accessTokens: [],
        replaced: [],
        upstream: login.tokens,
      };
      // At the same time, because nobody gets the code before all of it is stored: a grant that no index names could not be
      // ended by its user.
      const [{ tidy }] = await Promise.all([
        index.add(grant, Math.max(1, grant.expiresAt - now())),
        store.put(id, grant, ttlSeconds(grant)),
      ]);
      const [earlier, ended] = await Promise.all([
        keepWithinLimits(grant, request.principal),
        unwanted(),
        tidy(),
      ]);
      if (ended === undefined) return { code, earlier };
      await end(id, ended);
      return { ended };
    },
    async issue({ principal, client, origin, resource, scopes, permitted }) {
      const id = randomId(randomBytes);
      const empty: Grant = {
        version: 2,
        id,
        principal,
        client,
        resource,
        scopes: [...scopes],
        renewable: [],
        createdAt: now(),
        expiresAt: now() + lifetimes.accessTokenSeconds,
        familyKey: randomBytes(SECRET_BYTES).toString("base64url"),
        origin,
        accessTokens: [],
        replaced: [],
      };
      const tokens = mintTokens(empty, false, randomBytes);
      const { grant, issued } = addTokens(empty, tokens, { scopes, permitted }, lifetimes, now());
      const seconds = Math.max(1, grant.expiresAt - now());
      const { tidy } = await index.add(grant, seconds, seconds);
      await store.put(id, grant, seconds);
      await tidy();
      return { grant, issued };
    },
    find: (id) => store.get(id),
    update: (id, decide, read) =>
      store.update(
        id,
        (grant) => {
          const { write, result } = decide(grant);
          return write === undefined ? { result } : { write, ttlSeconds: ttlSeconds(write), result };
        },
        read,
      ),
    end,
    endedForGood: async (id) => (await records.get(endedForGood(id))) !== undefined,
    // Before the order of the providers was changed, the name of the index may have been another one's.
    ofUser: async (user) =>
      (await allOf(...indexesOfUser(user, users))).filter(({ principal }) => isUser(principal, user)),
    ofSubject: async (user) =>
      (await allOf(...indexesOfUser(user, users))).filter(
        ({ principal, origin }) =>
          isUser(principal, user) ||
          (origin.kind === "jwt_bearer" &&
            principal.kind === "user" &&
            isSameUser({ issuer: principal.issuer, subject: String(principal.claims.sub) }, user)),
      ),
    ofClient: (clientId) => index.portions(clientIndex(clientId)),
    ofSession: async (session) =>
      (await allOf(sessionIndex(session, users))).filter(
        ({ principal }) => principal.kind === "user" && principal.issuer === session.issuer,
      ),
  };
}

function byAge(one: Grant, other: Grant): number {
  return one.createdAt - other.createdAt;
}

/** All but the newest `keep`. */
function oldest(grants: readonly Grant[], keep: number): readonly Grant[] {
  return grants.slice(0, Math.max(0, grants.length - keep));
}

function unlessUnavailable(error: unknown): void {
  if (!(error instanceof UnavailableError)) throw error;
}

function endedForGood(id: string): string {
  return `ended-grant:${id}`;
}

/** Without a refresh token upstream there is no way to learn that the user lost access: the grant ends with theirs. */
function grantEnd(upstream: UpstreamTokens, latest: number): number {
  return upstream.refreshToken === undefined ? Math.min(latest, upstream.expiresAt ?? latest) : latest;
}
