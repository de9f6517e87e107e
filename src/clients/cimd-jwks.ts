/** The public keys that a client publishes (RFC 7517), in its metadata document or at its `jwks_uri`. */
import type { JSONWebKeySet } from "jose";
import type { Logger } from "pino";
import { z } from "zod";
import { OAuthError } from "../oauth/errors.ts";
import { createDocumentCache } from "./cimd-document-cache.ts";
import type { SafeFetch } from "./safe-fetch.ts";

/** @throws SafeFetchError, OAuthError for what is no key set, or UnavailableError */
export type FetchJwks = (uri: string, options?: { maxAgeSeconds?: number }) => Promise<JSONWebKeySet>;

const MAX_KEYS = 20;
/** How long a key set is used at least: bounds what a stranger's bad assertions can make us fetch. */
const LEAST_SECONDS = 30;
// Key sets are large, and strangers choose them.
const MAX_COPIES = 100;

const KeySet = z.object({
  keys: z
    .array(z.looseObject({ kty: z.string() }))
    .min(1)
    .max(MAX_KEYS),
});
// What only the owner of a key may know (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
const SECRET_PARTS = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/** The key set, or what is wrong with it: public keys only (draft §4.1). */
export function parseJwks(value: unknown): { jwks: JSONWebKeySet } | { problem: string } {
  const parsed = KeySet.safeParse(value);
  if (!parsed.success) return { problem: `has no list of 1 to ${MAX_KEYS} keys` };
  if (parsed.data.keys.some((key) => SECRET_PARTS.some((part) => part in key)))
    return { problem: "publishes a secret or private key" };
  return { jwks: parsed.data as JSONWebKeySet };
}

/** Key sets by URL, cached; `fetch` should allow some 64 KB. */
export function createFetchJwks(rooms: { fetch: SafeFetch; now: () => number; log: Logger }): FetchJwks {
  const cache = createDocumentCache({
    ...rooms,
    parse: parseKeySet,
    limits: { leastSeconds: LEAST_SECONDS, maxCopies: MAX_COPIES },
  });
  return (uri, options) => cache.get(uri, options);
}

function parseKeySet(body: string): JSONWebKeySet {
  const result = parseJwks(parseJson(body));
  if ("jwks" in result) return result.jwks;
  throw new OAuthError("invalid_client", `The key set at the client's jwks_uri ${result.problem}.`, {
    reason: "invalid_jwks",
  });
}

/** The value, or undefined for what is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
