/**
 * Documents that clients publish, kept as HTTP says (RFC 9111) and as the draft allows (§5.2): metadata documents
 * and key sets. Errors and invalid documents are never kept.
 *
 * Strangers name the URLs. Their fetches are counted by address, and never displace a client that holds grants: such clients have
 * their own places in memory and for fetches, and a copy in the store.
 */

import CachePolicy from "http-cache-semantics";
import { causes, OAuthError, TooManyRequestsError, UnavailableError } from "../../oauth/errors.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { createBoundedMap } from "../../runtime/bounded-map.ts";
import type { Log } from "../../runtime/log.ts";
import { type SafeFetch, SafeFetchError, type SafeResponse } from "./safe-fetch.ts";
import type { StoredDocument, StoredDocuments } from "./stored-document.ts";

export interface DocumentCacheOptions<T> {
  fetch: SafeFetch;
  /** Throws an OAuthError for an invalid document. */
  parse: (text: string, url: string) => T;
  /** What is kept of it for `parse`; default: the body as it came. */
  textOf?: (value: T) => string;
  /** Where the copies of clients that hold grants are kept for all replicas. Default: nowhere. */
  stored?: StoredDocuments | undefined;
  /** Seconds since the epoch. */
  now: () => number;
  /** What copies in this process age by. Default: `now`. */
  monotonicNow?: () => number;
  log: Log;
  limits?: Partial<CacheLimits>;
}

export interface CacheLimits {
  /** Kept at least this long, whatever the headers say. */
  leastSeconds: number;
  /** Used where the headers say nothing at all. */
  defaultSeconds: number;
  mostSeconds: number;
  /** How long after that a copy is still used while fetching fails, unless the headers forbid it. */
  staleSeconds: number;
  /** After a failed fetch a stale copy is used for this long before the next attempt. */
  retrySeconds: number;
  /** In memory, of clients that hold grants, and as many of others. */
  maxCopies: number;
  maxBytes: number;
  /** At a time, for clients that hold grants, and as many for others. */
  maxFetches: number;
  /** … and this many from one host. */
  maxFetchesPerHost: number;
  /** How long a copy is stored after the last use of a grant. */
  heldSeconds: number;
}

/** On whose behalf a document is looked up: asked only where there is no fresh copy. */
export interface DocumentRequester {
  /**
   * True if the request belongs to a live grant of the client.
   * @throws OAuthError if nothing is to be fetched for it
   */
  holdsGrant(): Promise<boolean>;
  /** @throws TooManyRequestsError */
  countFetch(): Promise<void>;
  /** Counts a document that is stored for the first time. @throws TooManyRequestsError */
  countStored(): Promise<void>;
}

export interface DocumentCache<T> {
  /**
   * A copy that is fresh, and not older than `maxAgeSeconds` if given; or the document fetched now; or, while
   * fetching fails, a stale copy. For who holds a grant any copy will do then: nobody is signed out because the
   * application's web site is down.
   * @throws SafeFetchError, what `parse` or the requester throws, or UnavailableError when too many fetches are under way
   */
  get(url: string, requester: DocumentRequester, options?: { maxAgeSeconds?: number }): Promise<T>;
  /** A grant of the client was opened or used: its copy, if there is one here, is stored for all replicas. */
  hold(url: string, requester: Pick<DocumentRequester, "countStored">): Promise<void>;
}

/** Times are by this process's monotonic clock. */
interface Copy<T> {
  value: T;
  /** What {@link DocumentCacheOptions.parse} made the value of. */
  text: string;
  /** Those that RFC 9111 needs. */
  headers: Record<string, string>;
  /** When its origin last confirmed it. */
  checkedAt: number;
  freshUntil: number;
  /** Until then it may be used while fetching fails. */
  staleUntil: number;
  /** It is stored, because the client holds grants, until then; 0 if it is not. */
  heldUntil: number;
  /** Fetching failed: not before then again, as long as this copy may be used. */
  retryAt: number;
}

const HOUR = 3_600;
const DAY = 24 * HOUR;
const LIMITS: CacheLimits = {
  leastSeconds: 0,
  defaultSeconds: 300,
  mostSeconds: DAY,
  // A redirect URI that its publisher removed must not be usable for new sign-ins for long because the site fails.
  staleSeconds: 4 * HOUR,
  retrySeconds: 30,
  maxCopies: 1_000,
  maxBytes: 6_000_000,
  maxFetches: 40,
  maxFetchesPerHost: 3,
  heldSeconds: 90 * DAY,
};
/** How often the use of a stored copy is written down. */
const RENEWAL_SECONDS = DAY;
const KEPT_HEADERS = [
  "age",
  "cache-control",
  "date",
  "etag",
  "expires",
  "last-modified",
  "pragma",
  "vary",
] as const;

export function createDocumentCache<T>(options: DocumentCacheOptions<T>): DocumentCache<T> {
  const { fetch, parse, textOf, stored, now: wallClock, monotonicNow: now = wallClock, log } = options;
  const limits = { ...LIMITS, ...options.limits };
  const max = { entries: limits.maxCopies, bytes: limits.maxBytes };
  const bytesOf = (copy: Copy<T>) => copy.text.length + JSON.stringify(copy.headers).length;
  const held = createBoundedMap<Copy<T>>(max, bytesOf);
  const others = createBoundedMap<Copy<T>>(max, bytesOf);
  const fetching = new Map<string, { isHeld: boolean; copy: Promise<Copy<T>> }>();

  const isHeld = (copy: Copy<T> | undefined) => copy !== undefined && now() < copy.heldUntil;

  function remember(url: string, copy: Copy<T>): void {
    (isHeld(copy) ? others : held).delete(url);
    (isHeld(copy) ? held : others).set(url, copy);
  }

  /** One slow web site must not use every place, and strangers' fetches must not use those of clients with grants. */
  function hasPlace(url: string, forHolder: boolean): boolean {
    const { host } = new URL(url);
    const ofKind = [...fetching].filter(([, each]) => each.isHeld === forHolder);
    const ofHost = ofKind.filter(([each]) => new URL(each).host === host);
    return ofKind.length < limits.maxFetches && ofHost.length < limits.maxFetchesPerHost;
  }

  /** What another replica stored may be newer than what is here. */
  async function newest(url: string, here: Copy<T> | undefined): Promise<Copy<T> | undefined> {
    const found = await stored?.get(url);
    if (found === undefined) return here;
    const record = shifted(found, now() - wallClock());
    const { heldUntil } = record;
    const copy = here !== undefined && here.checkedAt >= record.checkedAt ? here : readStored(url, record);
    if (copy === undefined) return here;
    const known = { ...copy, heldUntil };
    remember(url, known);
    return known;
  }

  function readStored(url: string, record: StoredDocument): Copy<T> | undefined {
    try {
      return { ...record, retryAt: 0, value: parse(record.text, url) };
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error;
      return undefined; // the rules have changed since it was stored
    }
  }

  /** Whoever asks while a fetch is under way waits for that one. */
  async function fetchOnce(
    url: string,
    copy: Copy<T> | undefined,
    requester: DocumentRequester,
    forHolder: boolean,
  ): Promise<Copy<T>> {
    if (!fetching.has(url)) await requester.countFetch();
    const underWay = fetching.get(url);
    if (underWay !== undefined) return underWay.copy;
    if (!hasPlace(url, forHolder)) throw unavailable("too_many_fetches");
    const fetched = fetchNow(url, copy, forHolder).finally(() => fetching.delete(url));
    fetching.set(url, { isHeld: forHolder, copy: fetched });
    return fetched;
  }

  async function fetchNow(url: string, copy: Copy<T> | undefined, forHolder: boolean): Promise<Copy<T>> {
    try {
      const response = await fetch(new URL(url), copy === undefined ? {} : validators(url, copy.headers));
      return await accept(url, response, copy, forHolder);
    } catch (error) {
      if (isDefinite(error)) await forget(url);
      throw error;
    }
  }

  async function accept(
    url: string,
    response: SafeResponse,
    copy: Copy<T> | undefined,
    forHolder: boolean,
  ): Promise<Copy<T>> {
    const isUnchanged = copy !== undefined && response.status === 304;
    const policy = isUnchanged
      ? policyOf(url, copy.headers).revalidatedPolicy(requestOf(url), plain(response)).policy
      : new CachePolicy(requestOf(url), plain(response));
    const value = isUnchanged ? copy.value : parse(response.body, url);
    const checkedAt = now();
    const freshUntil = checkedAt + freshSeconds(policy, limits);
    const accepted: Copy<T> = {
      value,
      text: isUnchanged ? copy.text : (textOf?.(value) ?? response.body),
      headers: keptHeaders(policy),
      checkedAt,
      freshUntil,
      staleUntil: freshUntil + staleSeconds(policy, limits),
      heldUntil: copy?.heldUntil ?? 0,
      retryAt: 0,
    };
    if (policy.storable() || limits.leastSeconds > 0 || forHolder) remember(url, accepted);
    else others.delete(url);
    // One that has to be asked for each time is written only when it changes.
    if (isHeld(accepted) && (accepted.text !== copy?.text || now() < freshUntil)) await put(url, accepted);
    return accepted;
  }

  async function put(url: string, copy: Copy<T>): Promise<void> {
    const { value: _, retryAt: __, ...document } = copy;
    await stored?.put(url, shifted(document, wallClock() - now()), wallClock()).catch(notStored(url));
  }

  async function forget(url: string): Promise<void> {
    held.delete(url);
    others.delete(url);
    await stored?.delete(url).catch(notStored(url));
  }

  function notStored(url: string) {
    return (cause: unknown) =>
      log.warn({ reason: "document_not_stored", url, cause: causes(cause) }, "Stored next time");
  }

  return {
    async get(url, requester, { maxAgeSeconds = Number.POSITIVE_INFINITY } = {}) {
      const isFresh = (each: Copy<T>) => now() < each.freshUntil && now() < each.checkedAt + maxAgeSeconds;
      let copy = held.get(url) ?? others.get(url);
      if (copy === undefined || !isFresh(copy)) copy = await newest(url, copy);
      if (copy !== undefined && isFresh(copy)) {
        remember(url, copy);
        return copy.value;
      }
      const holdsGrant = await requester.holdsGrant();
      const fallback = copy !== undefined && (holdsGrant || now() < copy.staleUntil) ? copy : undefined;
      if (fallback !== undefined && now() < fallback.retryAt) return fallback.value;
      try {
        return (await fetchOnce(url, copy, requester, holdsGrant || isHeld(copy))).value;
      } catch (error) {
        if (fallback === undefined || isDefinite(error)) throw error;
        log.warn(
          { reason: "stale_document_used", url, cause: causes(error) },
          "A stale copy of a client's document is used",
        );
        remember(url, { ...fallback, retryAt: now() + limits.retrySeconds });
        return fallback.value;
      }
    },

    async hold(url, requester) {
      const copy = held.get(url) ?? others.get(url);
      const heldUntil = now() + limits.heldSeconds;
      if (copy === undefined || heldUntil < copy.heldUntil + RENEWAL_SECONDS) return;
      if (!isHeld(copy)) await requester.countStored();
      const kept = { ...copy, heldUntil };
      remember(url, kept);
      await put(url, kept);
    },
  };
}

/** The same document by another clock: replicas have the epoch in common, and nothing else. */
function shifted(document: StoredDocument, seconds: number): StoredDocument {
  const { checkedAt, freshUntil, staleUntil, heldUntil } = document;
  return {
    ...document,
    checkedAt: checkedAt + seconds,
    freshUntil: freshUntil + seconds,
    staleUntil: staleUntil + seconds,
    heldUntil: heldUntil + seconds,
  };
}

/** Our answer when a client's web site, and not the client, is at fault. */
export function unavailable(reason: ReasonCode, cause?: unknown): UnavailableError {
  return new UnavailableError("application's web site", { reason, cause });
}

/** The origin removed the document, or publishes an invalid one: the old copy is not used any more. */
export function isDefinite(error: unknown): boolean {
  return error instanceof SafeFetchError
    ? error.status === 404 || error.status === 410
    : error instanceof OAuthError &&
        !(error instanceof UnavailableError || error instanceof TooManyRequestsError);
}

function freshSeconds(policy: CachePolicy, limits: CacheLimits): number {
  const headers = policy.responseHeaders();
  const silent = !["cache-control", "expires", "pragma", "last-modified"].some((name) => name in headers);
  const said = silent ? limits.defaultSeconds : policy.maxAge() - policy.age();
  return Math.min(Math.max(said, limits.leastSeconds, 0), limits.mostSeconds);
}

/** RFC 9111 §4.2.4: not when the origin forbids it. */
function staleSeconds(policy: CachePolicy, limits: CacheLimits): number {
  const directives = String(policy.responseHeaders()["cache-control"]);
  const forbidden = /must-revalidate|proxy-revalidate|no-cache/i.test(directives);
  return forbidden || !policy.storable() ? 0 : limits.staleSeconds;
}

function policyOf(url: string, headers: Record<string, string>): CachePolicy {
  return new CachePolicy(requestOf(url), { status: 200, headers });
}

function keptHeaders(policy: CachePolicy): Record<string, string> {
  const { resh } = policy.toObject();
  return Object.fromEntries(
    KEPT_HEADERS.flatMap((name) => (typeof resh[name] === "string" ? [[name, resh[name]]] : [])),
  );
}

/** No validators for a response that was not to be cached: it is kept only for the grants. */
function validators(url: string, kept: Record<string, string>): Record<string, string> {
  const policy = policyOf(url, kept);
  if (!policy.storable()) return {};
  const headers = policy.revalidationHeaders(requestOf(url));
  return Object.fromEntries(
    Object.entries(headers).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}

function requestOf(url: string): CachePolicy.HttpRequest {
  return { url, method: "GET", headers: {} };
}

function plain({ status, headers }: SafeResponse): CachePolicy.HttpResponse {
  return { status, headers: Object.fromEntries(headers) };
}
