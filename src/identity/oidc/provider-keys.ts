/**
 * The keys with which the provider signs (RFC 7517): fetched when first needed, kept, and fetched again when they are old or
 * a token names one that is not among them. Strangers can post tokens too, so the fetches that they cause have a limit of their
 * own.
 */

import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";
import { causes, type UnavailableError } from "../../oauth/errors.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { outageOf } from "./answers.ts";
import { boundedFetch } from "./bounded-response.ts";

export interface ProviderKeys {
  /** Where they are published. */
  readonly uri: string;
  /**
   * Finds the key of a token that came from the provider itself, such as an ID token.
   * @throws UnavailableError while the keys are out of reach; JWKSNoMatchingKey
   */
  readonly ofProviderToken: JWTVerifyGetKey;
  /**
   * The same for a token that anybody may have sent. For a key that is not known it may be too early to ask again; that is
   * an UnavailableError with the seconds to wait, because the token may be genuine and its key new.
   */
  readonly ofStrangersToken: JWTVerifyGetKey;
  /**
   * The same for a token whose sender gets a new one where it is refused: a key that is not in a set of a moment ago is not
   * there. So whoever makes up names of keys is refused, and nobody waits for a fetch that they caused.
   */
  readonly ofBearersToken: JWTVerifyGetKey;
}

/** Whose keys they are, in the log and in errors. */
export interface KeyOwner {
  readonly reasons: { readonly failed: ReasonCode; readonly askedLately: ReasonCode };
  readonly message: string;
  outage(reason: ReasonCode, cause: unknown, more: { retryAfterSeconds: number }): UnavailableError;
}

const IDENTITY_PROVIDER: KeyOwner = {
  reasons: { failed: "provider_keys_failed", askedLately: "provider_keys_asked_lately" },
  message:
    "The identity provider's keys could not be fetched: tokens of keys that are not known yet cannot be verified",
  outage: outageOf,
};

/** How often keys are fetched for tokens of one origin, in seconds. */
interface Pace {
  /** After a fetch that succeeded. */
  floor: number;
  /** After a failure it is the floor, and twice as long after each further one, up to this … */
  longest: number;
  /** … or what the provider's `Retry-After` says, up to this. */
  longestTold: number;
}

const OF_STRANGERS: Pace = { floor: 10, longest: 300, longestTold: 3_600 };
// One for each sign-in: the provider itself decides how many there are.
const OF_PROVIDER: Pace = { floor: 1, longest: 10, longestTold: 60 };

/** A key that is not in a set as young as this is not there. */
const JUST_FETCHED_SECONDS = 1;
/** An older set is fetched again; while that fails, it serves on … */
const FRESH_SECONDS = 600;
/** … for this long. */
const USABLE_SECONDS = 86_400;

interface KeySet {
  find: ReturnType<typeof createLocalJWKSet>;
  fetchedAt: number;
}

/** Nothing is fetched before the first token. */
export function createProviderKeys(
  uri: string,
  timeoutSeconds: number,
  runtime: Pick<Runtime, "now" | "monotonicNow" | "log" | "fetch">,
  { reasons, message, outage }: KeyOwner = IDENTITY_PROVIDER,
): ProviderKeys {
  const { now: wallClock, monotonicNow: now = wallClock, log } = runtime;
  const unavailable = (reason: ReasonCode, seconds: number, cause?: unknown) =>
    outage(reason, cause, { retryAfterSeconds: Math.max(1, Math.ceil(seconds)) });
  let known: KeySet | undefined;
  let underWay: Promise<KeySet> | undefined;
  /** Since the last fetch that succeeded. */
  const failed = new Map<Pace, { times: number; until: number }>();

  const isYoungerThan = (seconds: number, set: KeySet) => now() < set.fetchedAt + seconds;

  async function attempt(pace: Pace): Promise<KeySet> {
    try {
      known = {
        find: createLocalJWKSet(await fetchKeySet(uri, timeoutSeconds, runtime)),
        fetchedAt: now(),
      };
      failed.clear();
      return known;
    } catch (cause) {
      const times = (failed.get(pace)?.times ?? 0) + 1;
      const told = cause instanceof KeysRefused ? Math.min(cause.retryAfterSeconds, pace.longestTold) : 0;
      const seconds = Math.max(Math.min(pace.floor * 2 ** (times - 1), pace.longest), told);
      failed.set(pace, { times, until: now() + seconds });
      log.error({ reason: reasons.failed, uri, cause: causes(cause) }, message);
      throw unavailable(reasons.failed, seconds, cause);
    } finally {
      underWay = undefined;
    }
  }

  async function fetchAgain(pace: Pace): Promise<KeySet> {
    const earliest = Math.max(
      failed.get(pace)?.until ?? 0,
      known === undefined ? 0 : known.fetchedAt + pace.floor,
    );
    const seconds = earliest - now();
    if (underWay === undefined && seconds > 0) throw unavailable(reasons.askedLately, seconds);
    underWay ??= attempt(pace);
    return await underWay;
  }

  async function usable(pace: Pace): Promise<KeySet> {
    if (known !== undefined && isYoungerThan(FRESH_SECONDS, known)) return known;
    try {
      return await fetchAgain(pace);
    } catch (error) {
      if (known !== undefined && isYoungerThan(USABLE_SECONDS, known)) return known;
      throw error;
    }
  }

  /** @param newest how young a set has to be so that a key which it lacks is not there */
  function find(pace: Pace, newest = JUST_FETCHED_SECONDS): JWTVerifyGetKey {
    return async (header, token) => {
      const set = await usable(pace);
      try {
        return await set.find(header, token);
      } catch (error) {
        const mayBeNew = error instanceof errors.JWKSNoMatchingKey && !isYoungerThan(newest, set);
        if (!mayBeNew) throw error;
      }
      const newer = await fetchAgain(pace);
      return await newer.find(header, token);
    };
  }

  return {
    uri,
    ofProviderToken: find(OF_PROVIDER),
    ofStrangersToken: find(OF_STRANGERS),
    ofBearersToken: find(OF_STRANGERS, OF_STRANGERS.floor),
  };
}

/** The provider answered, but with something else than its keys. */
class KeysRefused extends Error {
  /** RFC 9110 §10.2.3; 0 if it did not say. */
  readonly retryAfterSeconds: number;

  constructor(response: Response, now: number) {
    const { status, headers } = response;
    super(`HTTP ${status} instead of the keys`, { cause: response });
    const said = headers.get("retry-after") ?? "";
    const seconds = /^\d+$/.test(said) ? Number(said) : Math.ceil(Date.parse(said) / 1000) - now;
    this.retryAfterSeconds = Number.isFinite(seconds) ? Math.max(0, seconds) : 0;
  }
}

async function fetchKeySet(
  uri: string,
  timeoutSeconds: number,
  runtime: Pick<Runtime, "now" | "fetch">,
): Promise<JSONWebKeySet> {
  const options = {
    headers: { accept: "application/json, application/jwk-set+json" },
    redirect: "manual" as const,
    signal: AbortSignal.timeout(timeoutSeconds * 1000),
  };
  const response = await boundedFetch(uri, options, runtime);
  if (response.status === 200) return (await response.json()) as JSONWebKeySet;
  await response.body?.cancel();
  throw new KeysRefused(response, runtime.now());
}
