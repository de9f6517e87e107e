/** The interfaces of storage, and the guarantees that the other modules rely on. */
import type { Budgets } from "./budgets.ts";
import type { RateLimits } from "./rate-limits.ts";

/**
 * A key-value store of text. Every call either does what it says or throws
 * {@link ../oauth/errors.ts UnavailableError}: an outage never looks like "not found".
 */
export interface KeyValueStore {
  get(key: string): Promise<string | undefined>;
  /** How long it lives still; undefined if there is none. */
  secondsLeft(key: string): Promise<number | undefined>;
  put(key: string, record: string, ttlSeconds: number): Promise<void>;
  /**
   * Writes only if the record still is `expected` (undefined: only if there is none).
   * Of concurrent callers, on any replicas, one gets true.
   */
  replace(key: string, expected: string | undefined, record: string, ttlSeconds: number): Promise<boolean>;
  /** Like {@link replace}, with the record's time to live left as it is. */
  rewrite(key: string, expected: string, record: string): Promise<boolean>;
  /** The keys that begin with `prefix`; one that comes or goes meanwhile may be missed. */
  keys(prefix: string): AsyncIterable<string>;
  /** True for the caller whose call removed the record; false for everybody else. */
  delete(key: string): Promise<boolean>;
  /** Removes many at once, for cleaning up: does not report whether there were any, and publishes nothing. */
  deleteAll(keys: readonly string[]): Promise<void>;
  /** Removes the record only if it still is `expected`. */
  deleteIf(key: string, expected: string): Promise<boolean>;
  /**
   * Calls `changed` with the key of every record of this kind (`grant` for `grant:…`, see {@link isPublished}) that any
   * replica writes or removes, soon after. A record that expires is not published.
   */
  watch(kind: string, changed: (key: string) => void): ChangeFeed;
  readonly indexes: Indexes;
  /** Shared by all replicas. */
  readonly rateLimits: RateLimits;
  /** Shared by all replicas. */
  readonly budgets: Budgets;
  /** Resolves if the database answers. */
  ping(): Promise<void>;
  /** Resolves if it does all that the server needs, as far as it was tried a moment ago. */
  checkReady(): Promise<void>;
  close(): Promise<void>;
}

export interface ChangeFeed {
  /**
   * Changes whenever some changes may not have been received: a copy that was made under another value is not to be trusted.
   * Undefined while that is so.
   */
  readonly epoch: number | undefined;
  close(): void;
}

/**
 * Which records belong to whom. A member may outlive the record that it names, because records end by themselves; a
 * record is never without its member. So the time at which a member falls due is only when to look at its record:
 * whoever finds that gone removes the member, and otherwise {@link Indexes.move}s it.
 */
export interface Indexes {
  /**
   * Adds to several at once, and reads nothing of them but a few members that are due.
   * @returns those of each index
   */
  add(indexes: readonly string[], member: string, life: MemberLife): Promise<string[][]>;
  /** Due in so many seconds instead; does nothing where the member is gone. */
  move(index: string, member: string, seconds: number): Promise<void>;
  remove(index: string, members: readonly string[]): Promise<void>;
  /** Removes those whose record is gone; but not what may have been added a moment ago, and is due within `freshSeconds`. */
  forget(index: string, gone: readonly string[], freshSeconds: number): Promise<void>;
  /** At most `count`, of those that are due last; that one first. */
  latest(index: string, count: number): Promise<string[]>;
  /**
   * All, in portions and in no order. What is there from beginning to end comes at least once, whatever is removed
   * meanwhile; what comes meanwhile may be missed.
   */
  members(index: string): AsyncIterable<string[]>;
}

/** In seconds from now. */
export interface MemberLife {
  /** When the record ends, as far as is known now. */
  due: number;
  /** When it ends at the very latest, whoever prolongs it: the index itself lives as long. */
  latest: number;
}

/**
 * What a {@link Store.update} decided: a new value to write, or nothing; and what to tell the caller. A value that is
 * there already may keep the time to live that it has left; such a change is not published.
 */
export type Change<T, Result> =
  | { write: T; ttlSeconds: number | "kept"; result: Result }
  | { write?: undefined; result: Result };

export interface TakeOptions<T> {
  /** Looks at it first; what it throws leaves the value where it is, and is thrown. */
  accept?(value: T): void;
  /** Gets the consumed value if that is known only after the caller got an UnavailableError. */
  late?(value: T): Promise<unknown>;
}

/** Values of one kind by key. */
export interface Store<T> {
  get(key: string): Promise<T | undefined>;
  /** How long it lives still, also if it is a record that `get` cannot open; undefined if there is none. */
  secondsLeft(key: string): Promise<number | undefined>;
  put(key: string, value: T, ttlSeconds: number): Promise<void>;
  /**
   * Consumes a value: reads and deletes it; of any number of concurrent callers, on any replicas, only one gets it, as it was
   * at the end: what is written between the two is read as well. If the
   * answer to the removal is lost, a value that is gone when the store answers again counts as consumed by this call.
   */
  take(key: string, options?: TakeOptions<T>): Promise<T | undefined>;
  /**
   * Like {@link take}, and exact also if the answer is lost: a mark of the consumer stays for a minute, which they may replace
   * to restore the value. It needs memory in the store, which a removal does not.
   */
  claim(key: string, options?: TakeOptions<T>): Promise<T | undefined>;
  /**
   * Reads, decides, and writes only if nobody wrote in between; otherwise decides again on what is there then.
   * `decide` must be free of side effects: it may run several times.
   * @param read what `get` gave, or an update wrote, a moment ago: decided on first, and not read again unless it changed
   */
  update<Result>(
    key: string,
    decide: (current: T | undefined) => Change<T, Result>,
    read?: T,
  ): Promise<Result>;
  /** True for the caller whose call removed it. */
  delete(key: string): Promise<boolean>;
  /** See {@link KeyValueStore.deleteAll}. */
  deleteAll(keys: readonly string[]): Promise<void>;
}

/** `grant` of `grant:…`. */
export function kindOf(key: string): string {
  return key.slice(0, key.indexOf(":"));
}

/** Kinds whose changes are published to every replica, because somebody keeps copies or waits for the next change. */
const PUBLISHED_KINDS = new Set(["grant", "question", "cancellation", "lock"]);

export function isPublished(key: string): boolean {
  return PUBLISHED_KINDS.has(kindOf(key));
}
