/**
 * Marks of what was ended a moment ago: a sign-in that was under way then must not create a new grant. No index has a grant
 * that does not exist yet, so whoever ends access writes a mark first, and the callback looks for marks after it made its grant.
 */

import type { UserId } from "../access/principal.ts";
import type { StoredUsers } from "../access/stored-users.ts";
import type { Authentication, LoginSession, LogoutToken } from "../identity/identity-provider.ts";
import { causes, UnavailableError } from "../oauth/errors.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { KeyValueStore } from "../storage/store.ts";
import type { GrantEnd } from "./grants.ts";

/** Of whom everything was ended. */
export type Ended =
  | readonly ["everybody"]
  | readonly ["client", clientId: string]
  | readonly ["client of user", clientId: string, user: UserId]
  | readonly ["user", user: UserId]
  /** What the user has, and what belongs to no login session that is known. */
  | readonly ["user without session", user: UserId]
  | readonly ["session", session: LoginSession];

/** A sign-in that comes to its end. */
export type SignIn = Authentication & {
  /** If it is a client's. */
  clientId?: string;
};

export interface Endings {
  /** What a sign-in that begins now has to keep, to find out later what was ended since. */
  latest(): Promise<number>;
  /**
   * To be called before the grants themselves are ended. If the mark cannot be written, the grants are ended all the same: a full
   * store refuses the mark, and a store that is out of reach refuses both.
   */
  mark(ended: Ended, reason: GrantEnd): Promise<void>;
  /** The same for what a logout token names. */
  markSignOut(logout: LogoutToken): Promise<void>;
  /**
   * Why a sign-in must create no grant: its access was ended after it began.
   * @param begun what `latest` said then
   */
  since(begun: number, signIn: SignIn): Promise<GrantEnd | undefined>;
}

interface Dependencies extends Pick<Runtime, "now" | "log"> {
  records: Pick<KeyValueStore, "get" | "replace">;
  users: StoredUsers;
  /** How long a sign-in may take. */
  signInSeconds: number;
}

interface Mark {
  order: number;
  reason: GrantEnd;
  /** When the provider said that its user signed out, by its own clock. */
  signedOutAt?: number | undefined;
}

const COUNT = "ended:count";
const COUNT_SECONDS = 86_400;
// Who was challenged may be sent to the provider twice (step-ups.ts).
const SIGN_INS = 2;
// From the provider's answer to the check: its time-outs, and a store that is slow.
const MARGIN_SECONDS = 120;

export function createEndings({ records, users, signInSeconds, now, log }: Dependencies): Endings {
  /**
   * Endings are counted: the clocks of two replicas, and seconds, are too coarse to decide what came first. The count begins
   * at the time of day in milliseconds, so that one that was lost goes on above its old value.
   */
  async function next(): Promise<number> {
    for (;;) {
      const found = await records.get(COUNT);
      const order = Math.max(Number(found ?? 0), now() * 1000) + 1;
      if (await records.replace(COUNT, found, String(order), COUNT_SECONDS)) return order;
    }
  }

  let coming: Promise<number> | undefined;
  let previous: Promise<unknown> = Promise.resolve();

  /**
   * Shared by all callers until it begins: a provider may report a thousand sign-outs together, and a thousand compare-and-sets on
   * one counter would need a million store operations.
   */
  function shared(): Promise<number> {
    if (coming === undefined) {
      coming = previous.then(() => {
        coming = undefined;
        return next();
      });
      previous = coming.catch(() => {});
    }
    return coming;
  }

  async function put(ended: Ended, mark: Mark): Promise<void> {
    const key = keyOf(ended, users);
    for (;;) {
      const found = await records.get(key);
      const both = JSON.stringify(found === undefined ? mark : together(read(found), mark));
      if (await records.replace(key, found, both, SIGN_INS * signInSeconds + MARGIN_SECONDS)) return;
    }
  }

  async function note(ended: readonly Ended[], mark: Omit<Mark, "order">): Promise<void> {
    try {
      const order = await shared();
      await Promise.all(ended.map((each) => put(each, { ...mark, order })));
    } catch (cause) {
      if (!(cause instanceof UnavailableError)) throw cause;
      log.warn(
        { reason: "ending_not_noted", cause: causes(cause) },
        "A sign-in that is under way may open again what is ended now: end it once more when the store takes notes",
      );
    }
  }

  const latest = async () => Number((await records.get(COUNT)) ?? 0);

  return {
    latest,
    mark: (ended, reason) => note([ended], { reason }),
    markSignOut: (logout) =>
      note(namedBy(logout), { reason: "backchannel_logout", signedOutAt: logout.issuedAt }),
    async since(begun, signIn) {
      // Mostly nothing was ended of anybody, and that is one look-up.
      if ((await latest()) <= begun) return undefined;
      const marks = await Promise.all(affecting(signIn).map((ended) => records.get(keyOf(ended, users))));
      const found = marks.filter((mark) => mark !== undefined).map(read);
      return found.find((mark) => mark.order > begun && !signedInAfter(mark, signIn))?.reason;
    },
  };
}

/** With both, of a sign-in whose session is known the session decides: another one may have ended because the limit was reached. */
function namedBy({ issuer, subject, sid }: LogoutToken): Ended[] {
  const ended: Ended[] = [];
  if (sid !== undefined) ended.push(["session", { issuer, sid }]);
  if (subject !== undefined)
    ended.push([sid === undefined ? "user" : "user without session", { issuer, subject }]);
  return ended;
}

function affecting({ clientId, issuer, subject, sid }: SignIn): Ended[] {
  const user = { issuer, subject };
  const ended: Ended[] = [
    ["everybody"],
    ["user", user],
    sid === undefined ? ["user without session", user] : ["session", { issuer, sid }],
  ];
  if (clientId !== undefined) ended.push(["client", clientId], ["client of user", clientId, user]);
  return ended;
}

/**
 * Whether the user authenticated anew after the sign-out, within one login here. By the provider's `auth_time`; the ID token's
 * `iat` would prove nothing, since it is set when the code is exchanged. In the same second, they count as signed out.
 */
function signedInAfter({ signedOutAt }: Mark, { authTime }: SignIn): boolean {
  return authTime !== undefined && signedOutAt !== undefined && authTime > signedOutAt;
}

/** Logout tokens come late and in any order; and what an operator ended, no authentication reopens. */
function together(one: Mark, other: Mark): Mark {
  const { order, reason } = one.order > other.order ? one : other;
  const { signedOutAt: first } = one;
  const { signedOutAt: second } = other;
  if (first === undefined || second === undefined) return { order, reason };
  return { order, reason, signedOutAt: Math.max(first, second) };
}

// Hashed: names of people do not belong into keys.
function keyOf(ended: Ended, users: StoredUsers): string {
  const named = ended.map((part) =>
    typeof part === "string" ? part : users.unique(part.issuer, "sid" in part ? part.sid : part.subject),
  );
  return `ended:${sha256(JSON.stringify(named))}`;
}

function read(mark: string): Mark {
  return JSON.parse(mark) as Mark;
}
