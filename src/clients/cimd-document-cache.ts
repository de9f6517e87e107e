/**
 * Documents that clients publish, kept as HTTP says (RFC 9111) and as the draft allows (§5.2): metadata documents
 * and key sets. Errors and invalid documents are never kept.
 */
import CachePolicy from "http-cache-semantics";
import type { Logger } from "pino";
import { causes, OAuthError, UnavailableError } from "../oauth/errors.ts";
import { type SafeFetch, SafeFetchError, type SafeResponse } from "./safe-fetch.ts";

export interface DocumentCacheOptions<T> {
  fetch: SafeFetch;
  /** Throws an OAuthError for an invalid document. */
  parse: (body: string, url: string) => T;
  now: () => number;
  log: Logger;
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
  /** The least recently used copy makes room. */
  maxCopies: number;
  maxFetches: number;
  /** … and this many from one host. */
  maxFetchesPerHost: number;
}

export interface DocumentCache<T> {
  /**
   * A copy that is fresh, and not older than `maxAgeSeconds` if given; or the document fetched now; or, while
   * fetching fails, a stale copy.
   * @throws SafeFetchError, what `parse` throws, or UnavailableError when too many fetches are under way
   */
  get(url: string, options?: { maxAgeSeconds?: number }): Promise<T>;
}

interface Copy<T> {
  value: T;
  policy: CachePolicy;
  /** When its origin was last asked, with whatever success. */
  checkedAt: number;
  freshUntil: number;
  staleUntil: number;
}

const DAY = 86_400;
const LIMITS: CacheLimits = {
  leastSeconds: 0,
  defaultSeconds: 300,
  mostSeconds: DAY,
  staleSeconds: DAY,
  retrySeconds: 30,
  maxCopies: 1_000,
  maxFetches: 20,
  maxFetchesPerHost: 3,
};

export function createDocumentCache<T>(options: DocumentCacheOptions<T>): DocumentCache<T> {
  const { fetch, parse, now, log } = options;
  const limits = { ...LIMITS, ...options.limits };
  const copies = new Map<string, Copy<T>>();
  const fetching = new Map<string, Promise<T>>();

  /** One slow web site must not take every place. */
  function fetchesFrom(url: string): number {
    const { host } = new URL(url);
    return [...fetching.keys()].filter((each) => new URL(each).host === host).length;
  }

  /** Makes it the most recently used; a Map remembers the order. */
  function keep(url: string, copy: Copy<T>): void {
    copies.delete(url);
    copies.set(url, copy);
    for (const oldest of copies.keys()) {
      if (copies.size <= limits.maxCopies) return;
      copies.delete(oldest);
    }
  }

  async function refresh(url: string, copy: Copy<T> | undefined): Promise<T> {
    try {
      if (fetching.size >= limits.maxFetches || fetchesFrom(url) >= limits.maxFetchesPerHost)
        throw unavailable("too_many_fetches");
      const response = await fetch(new URL(url), copy === undefined ? {} : validators(url, copy.policy));
      return accept(url, response, copy);
    } catch (error) {
      if (copy === undefined || isDefinite(error) || now() >= copy.staleUntil) {
        if (isDefinite(error)) copies.delete(url);
        throw error;
      }
      log.warn(
        { reason: "stale_document_used", url, cause: causes(error) },
        "A stale copy of a client's document is used",
      );
      const checkedAt = now();
      keep(url, {
        ...copy,
        checkedAt,
        freshUntil: Math.max(copy.freshUntil, checkedAt + limits.retrySeconds),
      });
      return copy.value;
    }
  }

  function accept(url: string, response: SafeResponse, copy: Copy<T> | undefined): T {
    const { policy, value } =
      copy !== undefined && response.status === 304
        ? { policy: copy.policy.revalidatedPolicy(requestOf(url), plain(response)).policy, value: copy.value }
        : { policy: new CachePolicy(requestOf(url), plain(response)), value: parse(response.body, url) };
    const checkedAt = now();
    const freshUntil = checkedAt + freshSeconds(policy, limits);
    if (policy.storable() || limits.leastSeconds > 0)
      keep(url, {
        value,
        policy,
        checkedAt,
        freshUntil,
        staleUntil: freshUntil + staleSeconds(policy, limits),
      });
    else copies.delete(url);
    return value;
  }

  return {
    async get(url, { maxAgeSeconds = Number.POSITIVE_INFINITY } = {}) {
      const copy = copies.get(url);
      if (copy !== undefined && now() < copy.freshUntil && now() - copy.checkedAt < maxAgeSeconds) {
        keep(url, copy);
        return copy.value;
      }
      const underWay = fetching.get(url);
      if (underWay !== undefined) return underWay;
      const fetched = refresh(url, copy).finally(() => fetching.delete(url));
      fetching.set(url, fetched);
      return fetched;
    },
  };
}

/** Our answer when a client's web site, and not the client, is at fault. */
export function unavailable(reason: string, cause?: unknown): UnavailableError {
  return new UnavailableError("application's web site", { reason, cause });
}

/** The origin took the document back, or publishes one that is invalid: the old copy no longer counts. */
export function isDefinite(error: unknown): boolean {
  return error instanceof SafeFetchError
    ? error.status === 404 || error.status === 410
    : error instanceof OAuthError && !(error instanceof UnavailableError);
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

function validators(url: string, policy: CachePolicy): Record<string, string> {
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
