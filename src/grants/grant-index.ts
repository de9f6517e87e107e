/**
 * Which grants a principal, a client, and a login session at the provider have. Adding to an index costs the same however much
 * has been in it: of those whose time is over a few are looked at, the others are left for the next one who adds. A grant
 * is prolonged without an update of its indexes, by replicas of an earlier version as well, so its record alone says whether
 * it has ended.
 */
import { claimsOf, type Principal, type UserId } from "../access/principal.ts";
import type { StoredUsers } from "../access/stored-users.ts";
import type { LoginSession } from "../identity/identity-provider.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Indexes, Store } from "../storage/store.ts";
import type { Grant, Origin } from "./grant.ts";

type Indexed = Pick<Grant, "id" | "principal" | "client" | "origin">;

export interface GrantIndex {
  /**
   * Before anybody can use it: a grant that no index names could not be ended by its user.
   * @param latestSeconds from now on it may live at the very most
   * @param dueSeconds from now on its record may end; default: with the code of a sign-in
   * @returns what remains to be done at leisure; it never rejects
   */
  add(grant: Indexed, latestSeconds: number, dueSeconds?: number): Promise<{ tidy(): Promise<void> }>;
  remove(grant: Indexed): Promise<void>;
  /** The other live grants that its user signed in for, at most `count`, those that end last; the last of them comes first. */
  othersOf(grant: { id: string; user: UserId }, count: number): Promise<Grant[]>;
  /** All live grants of an index, in portions and in no order. */
  portions(index: string): AsyncIterable<Grant[]>;
}

interface Dependencies extends Pick<Runtime, "now"> {
  store: Pick<Store<Grant>, "get" | "secondsLeft">;
  indexes: Indexes;
  users: StoredUsers;
  /** A grant is added while its record is written, and due after so many seconds. */
  codeSeconds: number;
}

interface Added {
  id: string;
  names: readonly string[];
  /** Seconds since the epoch. */
  dueAt: number;
}

// As many as are looked at in an index: they get fewer.
const LOOKS = 8;
const READS_AT_ONCE = 64;

export function createGrantIndex({ store, indexes, users, codeSeconds, now }: Dependencies): GrantIndex {
  /** Added here, in the order in which their codes are over. Nobody else may ever look into the index of a session. */
  const added: Added[] = [];

  /** Another replica may have the key for what cannot be opened here: only what is not there is forgotten. */
  async function look(id: string, names: readonly string[]): Promise<number | undefined> {
    const seconds = await store.secondsLeft(id);
    await Promise.all(
      names.map((name) =>
        seconds === undefined ? indexes.remove(name, [id]) : indexes.move(name, id, seconds),
      ),
    );
    return seconds;
  }

  /** A grant that lives longer than a code was redeemed, and is left to its indexes. */
  async function lookAtOwn({ id, names }: Added): Promise<void> {
    const seconds = await look(id, names).catch(() => codeSeconds);
    if (seconds !== undefined && seconds <= codeSeconds) note(id, names, seconds);
  }

  function note(id: string, names: readonly string[], seconds: number): void {
    added.push({ id, names, dueAt: now() + Math.ceil(seconds) + 1 });
  }

  async function tidy(names: readonly string[], due: readonly string[][]): Promise<void> {
    // After a busy hour there are many.
    const isLater = added.slice(0, LOOKS).findIndex(({ dueAt }) => dueAt > now());
    const own = added.splice(0, isLater === -1 ? LOOKS : isLater);
    const others = names.flatMap((name, i) => (due[i] ?? []).map((id) => look(id, [name])));
    // During an outage it is left to the next one who adds.
    await Promise.allSettled([...own.map(lookAtOwn), ...others]);
  }

  /** Of these, those that are alive; those that are gone leave the index. */
  async function liveOf(index: string, ids: readonly string[]): Promise<Grant[]> {
    const live: Grant[] = [];
    for (let i = 0; i < ids.length; i += READS_AT_ONCE) {
      const portion = ids.slice(i, i + READS_AT_ONCE);
      const found = await Promise.all(portion.map((id) => store.get(id)));
      live.push(...found.filter((grant) => grant !== undefined));
      const missing = portion.filter((_, i) => found[i] === undefined);
      const left = await Promise.all(missing.map((id) => store.secondsLeft(id)));
      const gone = missing.filter((_, i) => left[i] === undefined);
      if (gone.length > 0) await indexes.forget(index, gone, codeSeconds);
    }
    return live;
  }

  return {
    async add(grant, latestSeconds, dueSeconds = codeSeconds) {
      const names = indexesOf(grant, users);
      const due = await indexes.add(names, grant.id, { due: dueSeconds, latest: latestSeconds });
      // What ends later is found by those who add to the same indexes.
      if (dueSeconds <= codeSeconds) note(grant.id, names, dueSeconds);
      return { tidy: () => tidy(names, due) };
    },
    async remove(grant) {
      await Promise.all(indexesOf(grant, users).map((name) => indexes.remove(name, [grant.id])));
    },
    async othersOf({ id, user }, count) {
      const name = userIndex(user, users);
      const ids = await indexes.latest(name, count);
      return await liveOf(
        name,
        ids.filter((each) => each !== id),
      );
    },
    async *portions(index) {
      for await (const ids of indexes.members(index)) yield await liveOf(index, ids);
    },
  };
}

function indexesOf({ principal, client, origin }: Indexed, users: StoredUsers): string[] {
  const { sid } = claimsOf(principal);
  return [
    ...principalIndexes(principal, origin, users),
    clientIndex(client.id),
    ...(principal.kind === "user" && typeof sid === "string"
      ? [sessionIndex({ issuer: principal.issuer, sid }, users)]
      : []),
  ];
}

// Hashed: names of people do not belong into keys.
/** The index of the grants that a user signed in for. */
export function userIndex({ issuer, subject }: UserId, users: StoredUsers): string {
  return `subject:${sha256(users.unique(issuer, subject))}`;
}

/**
 * The index of the grants that assertions gave to whom an issuer calls this. They are apart from those that people signed in for, because
 * there is one for each token that a program asks for, and the limit of sign-ins looks at the latest few alone.
 */
function assertedIndex({ issuer, subject }: UserId, users: StoredUsers): string {
  return `asserted:${sha256(users.unique(issuer, subject))}`;
}

/** All indexes in which grants of a user may be. */
export function indexesOfUser(user: UserId, users: StoredUsers): string[] {
  return [userIndex(user, users), assertedIndex(user, users)];
}

function principalIndexes(principal: Principal, origin: Origin, users: StoredUsers): string[] {
  if (principal.kind === "client") return [`principal:${sha256(principal.clientId)}`];
  if (origin.kind !== "jwt_bearer") return [userIndex(principal, users)];
  const { issuer, subject } = principal;
  // The issuer's own name for somebody who is known here by an e-mail address: its logout tokens have that.
  const { sub } = principal.claims;
  const subjects = new Set([subject, ...(typeof sub === "string" ? [sub] : [])]);
  return [...subjects].map((each) => assertedIndex({ issuer, subject: each }, users));
}

/** The index of the grants that a client holds. */
export function clientIndex(clientId: string): string {
  return `client:${sha256(clientId)}`;
}

/** The index of the grants that came from one login session at the identity provider. */
export function sessionIndex({ issuer, sid }: LoginSession, users: StoredUsers): string {
  return `session:${sha256(users.unique(issuer, sid))}`;
}
