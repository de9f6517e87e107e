/** What the rooms ask of storage, and the guarantees they rely on. */
import type { RateLimits } from "./rate-limits.ts";

/**
 * Text records by key, as a database keeps them. Every call either does what it says or throws
 * {@link ../oauth/errors.ts UnavailableError}: an outage never looks like "not found".
 */
export interface Records {
  get(key: string): Promise<string | undefined>;
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
  /** Removes many at once, for tidying up: whether there were any is not said, and nobody is told. */
  deleteAll(keys: readonly string[]): Promise<void>;
  /** Removes the record only if it still is `expected`. */
  deleteIf(key: string, expected: string): Promise<boolean>;
  /**
   * Calls `changed` with the key of every record of this kind (`grant` for `grant:…`, see {@link isTold}) that any
   * replica writes or removes, soon after. A record that ends by itself is not told.
   */
  watch(kind: string, changed: (key: string) => void): Watch;
  readonly indexes: Indexes;
  /** Shared by all replicas. */
  readonly rateLimits: RateLimits;
  /** Resolves if the database answers. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface Watch {
  /**
   * Changes whenever some may have gone untold: what was kept under another value is not to be trusted. Undefined
   * while that is so.
   */
  readonly epoch: number | undefined;
  close(): void;
}

/**
 * Which records belong to whom. A member may outlive the record that it names, because records end by themselves;
 * a record is never without its member.
 */
export interface Indexes {
  /**
   * Adds to several at once. `score` orders the members; the indexes themselves live at least `ttlSeconds` from now.
   * @returns the members of each, with the new one, lowest score first
   */
  add(indexes: readonly string[], member: string, score: number, ttlSeconds: number): Promise<string[][]>;
  remove(index: string, member: string): Promise<void>;
  /** Lowest score first. */
  members(index: string): Promise<string[]>;
}

/** What a {@link Store.update} decided: a new value to write, or nothing; and what to tell the caller. */
export type Change<T, Result> =
  | { write: T; ttlSeconds: number; result: Result }
  | { write?: undefined; result: Result };

/** Values of one kind by key. */
export interface Store<T> {
  get(key: string): Promise<T | undefined>;
  /** True also for a record that `get` cannot open. */
  exists(key: string): Promise<boolean>;
  put(key: string, value: T, ttlSeconds: number): Promise<void>;
  /**
   * Reads and deletes; of any number of concurrent callers, on any replicas, only one gets the value.
   * @param accept looks at it first; what it throws leaves the value where it is, and is thrown
   */
  take(key: string, accept?: (value: T) => void): Promise<T | undefined>;
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
  /** See {@link Records.deleteAll}. */
  deleteAll(keys: readonly string[]): Promise<void>;
}

/** `grant` of `grant:…`. */
export function kindOf(key: string): string {
  return key.slice(0, key.indexOf(":"));
}

/** Kinds of which somebody keeps copies, or waits for the next change: it is told to every replica. */
const TOLD_KINDS = new Set(["grant", "question", "cancellation"]);

export function isTold(key: string): boolean {
  return TOLD_KINDS.has(kindOf(key));
}
