/**
 * Where grants are kept. A grant is ONE record, changed only by compare-and-set: a rotation either happened or did
 * not, and deleting the record ends everything at once. Indexes tell which grants a user, or a login session, has.
 */
import type { Audit } from "../audit.ts";
import type { GrantLimits, Lifetimes } from "../config.ts";
import { randomId } from "../oauth/random-id.ts";
import type { ValidatedRedirectUri } from "../oauth/redirect-uri.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Indexes, Records, Store } from "../storage/store.ts";
import type { Surroundings } from "../surroundings.ts";
import type { UpstreamLogin, UpstreamTokens } from "../upstream/identity-provider.ts";
import type { Grant } from "./grant.ts";
import type { LastUse } from "./last-use.ts";
import { hashToken, mintToken, SECRET_BYTES } from "./opaque-token.ts";
import type { UpstreamRevocations } from "./upstream-revocations.ts";

/** What the user approved, ready to become a grant. */
export interface ApprovedRequest {
  clientId: string;
  clientName?: string | undefined;
  redirectUri: ValidatedRedirectUri;
  codeChallenge: string;
  resource: string;
  scopes: readonly string[];
}

export interface Grants {
  /**
   * Makes the grant of a finished login. Beyond the limits of live grants the user's oldest ones end.
   * @returns the authorization code that stands for it, and the other live grants of this user and client
   */
  open(request: ApprovedRequest, login: UpstreamLogin): Promise<{ code: string; earlier: Grant[] }>;
  find(id: string): Promise<Grant | undefined>;
  /** See {@link Store.update}. */
  update<Result>(
    id: string,
    decide: (grant: Grant | undefined) => GrantChange<Result>,
    read?: Grant,
  ): Promise<Result>;
  /**
   * Ends the grant and every token of it, on every replica, and has the provider told if somebody wanted it so. `reason` is a
   * code for the audit log. Undefined if there was none, or somebody else ended it.
   */
  end(id: string, reason: GrantEnd): Promise<EndedGrant | undefined>;
  /** Whether somebody ended the grant on purpose a moment ago: the provider must keep nothing of it. */
  endedForGood(id: string): Promise<boolean>;
  /** The live grants of a user, oldest first. */
  ofSubject(subject: string): Promise<Grant[]>;
  /** The live grants that a client holds, of all users. */
  ofClient(clientId: string): Promise<Grant[]>;
  /** The live grants that came from one login session at the identity provider (its `sid`). */
  ofSession(sid: string): Promise<Grant[]>;
}

export interface EndedGrant {
  /** As it was. */
  grant: Grant;
  /** See {@link UpstreamRevocations.tell}. */
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
  | "client_removed"
  | "ended_by_operator";

export type GrantChange<Result> = { write?: Grant; result: Result };

/**
 * Of these the provider is told. With one refresh token many providers forget all that they gave this server for the user
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

interface Rooms {
  store: Store<Grant>;
  records: Pick<Records, "get" | "put">;
  indexes: Indexes;
  lastUse: Pick<LastUse, "forget">;
  lifetimes: Lifetimes;
  limits: GrantLimits;
  revocations: UpstreamRevocations;
  audit: Audit;
}

export function createGrants({
  store,
  records,
  indexes,
  lastUse,
  lifetimes,
  limits,
  revocations,
  now,
  randomBytes,
  audit,
}: Surroundings & Rooms): Grants {
  /** A grant lives as long as its code, then as long as it is used, and never beyond its end. */
  function ttlSeconds(grant: Grant): number {
    const idleEnd = grant.code.redeemed ? now() + lifetimes.grantIdleSeconds : grant.code.expiresAt;
    return Math.max(1, Math.min(idleEnd, grant.expiresAt) - now());
  }

  async function live(index: string): Promise<Grant[]> {
    return liveOf(index, await indexes.members(index));
  }

  async function liveOf(index: string, members: readonly string[]): Promise<Grant[]> {
    const found = await Promise.all(members.map((id) => store.get(id)));
    const missing = members.filter((_, i) => found[i] === undefined);
    await Promise.all(missing.map((id) => forgetIfGone(index, id)));
    return found.filter((grant) => grant !== undefined);
  }

  /** Another replica may have the key for what cannot be opened here: only what is not there is forgotten. */
  async function forgetIfGone(index: string, id: string): Promise<void> {
    if (await store.exists(id)) return;
    await Promise.all([indexes.remove(index, id), lastUse.forget(id)]);
  }

  async function end(id: string, reason: GrantEnd): Promise<EndedGrant | undefined> {
    // First: a renewal that finds no grant any more has to know what becomes of its tokens.
    if (MEANT_FOR_GOOD.has(reason)) await records.put(endedForGood(id), reason, RENEWAL_SECONDS);
    const grant = await store.take(id);
    if (grant === undefined) return undefined;
    const { subject, clientId, scopes } = grant;
    audit({ event: "grant_ended", decision: "revoke", reason, subject, clientId, grantId: id, scopes });
    const atProvider = MEANT_FOR_GOOD.has(reason) ? revocations.tell(grant) : Promise.resolve();
    await Promise.all([...indexesOf(grant).map((index) => indexes.remove(index, id)), lastUse.forget(id)]);
    return { grant, atProvider };
  }

  /**
   * Ends what is beyond the limits; of the same client, what is left beside `newest`.
   * @param ids the user's grants, `newest` among them, oldest first
   */
  async function keepWithinLimits(newest: Grant, ids: readonly string[]): Promise<Grant[]> {
    const { id, subject, clientId } = newest;
    const others = await liveOf(
      subjectIndex(subject),
      ids.filter((each) => each !== id),
    );
    const grants = [...others, newest];
    const ofClient = grants.filter((grant) => grant.clientId === clientId);
    const surplus = new Set([
      ...oldest(grants, limits.perUser),
      ...oldest(ofClient, limits.perUserAndClient),
    ]);
    for (const { id } of surplus) await end(id, "too_many_grants");
    return ofClient.filter((grant) => grant !== newest && !surplus.has(grant));
  }

  return {
    async open(request, login) {
      const id = randomId(randomBytes);
      const code = mintToken("code", id, randomBytes(SECRET_BYTES));
      const grant: Grant = {
        version: 1,
        id,
        clientId: request.clientId,
        ...(request.clientName !== undefined && { clientName: request.clientName }),
        subject: login.subject,
        resource: request.resource,
        scopes: [...request.scopes],
        claims: login.claims,
        renewable: login.renewable,
        createdAt: now(),
        expiresAt: grantEnd(login.tokens, now() + lifetimes.grantSeconds),
        familyKey: randomBytes(SECRET_BYTES).toString("base64url"),
        code: {
          hash: hashToken(code),
          redirectUri: request.redirectUri,
          codeChallenge: request.codeChallenge,
          expiresAt: now() + lifetimes.authorizationCodeSeconds,
          redeemed: false,
        },
        accessTokens: [],
        replaced: [],
        upstream: login.tokens,
      };
      // Indexed first: a grant that no index names could not be ended by its user.
      const longest = Math.max(1, grant.expiresAt - now());
      const [ofSubject = []] = await indexes.add(indexesOf(grant), id, grant.createdAt, longest);
      await store.put(id, grant, ttlSeconds(grant));
      return { code, earlier: await keepWithinLimits(grant, ofSubject) };
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
    ofSubject: (subject) => live(subjectIndex(subject)),
    ofClient: (clientId) => live(clientIndex(clientId)),
    ofSession: (sid) => live(sessionIndex(sid)),
  };
}

/** All but the newest `keep`. */
function oldest(grants: readonly Grant[], keep: number): readonly Grant[] {
  return grants.slice(0, Math.max(0, grants.length - keep));
}

/** That of the subject first. */
function indexesOf({ subject, clientId, claims }: Grant): string[] {
  return [
    subjectIndex(subject),
    clientIndex(clientId),
    ...(typeof claims.sid === "string" ? [sessionIndex(claims.sid)] : []),
  ];
}

// Hashed: names of people do not belong into keys.
/** The index of the grants that a user has. */
export function subjectIndex(subject: string): string {
  return `subject:${sha256(subject)}`;
}

/** The index of the grants that a client holds. */
export function clientIndex(clientId: string): string {
  return `client:${sha256(clientId)}`;
}

function endedForGood(id: string): string {
  return `ended-grant:${id}`;
}

function sessionIndex(sid: string): string {
  return `session:${sha256(sid)}`;
}

/** Without a refresh token upstream there is no way to learn that the user lost access: the grant ends with theirs. */
function grantEnd(upstream: UpstreamTokens, latest: number): number {
  return upstream.refreshToken === undefined ? Math.min(latest, upstream.expiresAt ?? latest) : latest;
}
