/** The public keys that a client publishes (RFC 7517), in its metadata document or at its `jwks_uri`. */

import type { JSONWebKeySet } from "jose";
import { z } from "zod";
import { OAuthError } from "../../oauth/errors.ts";
import { parseJson } from "../../oauth/json.ts";
import { createDocumentCache, type DocumentCache, type DocumentCacheOptions } from "./document-cache.ts";

/** @throws SafeFetchError, OAuthError for what is no key set, or UnavailableError */
export type FetchJwks = (uri: string, options?: { maxAgeSeconds?: number }) => Promise<JSONWebKeySet>;

/** Key sets by URL. */
export type KeySets = DocumentCache<JSONWebKeySet>;

/** The reason code of what is published at a `jwks_uri` and is no key set. */
export const INVALID_JWKS = "invalid_jwks";

const MAX_KEYS = 20;
/** How long a key set is used at least: bounds what a stranger's bad assertions can make us fetch. */
const LEAST_SECONDS = 30;
// Key sets are large, and strangers choose them.
const MAX_COPIES = 100;
const MAX_BYTES = 2_000_000;

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
export function createKeySets(
  dependencies: Pick<
    DocumentCacheOptions<JSONWebKeySet>,
    "fetch" | "stored" | "now" | "monotonicNow" | "log"
  > & {
    heldSeconds?: number;
  },
): KeySets {
  const { heldSeconds, ...cache } = dependencies;
  return createDocumentCache({
    ...cache,
    parse: (text) => parseKeySet(text),
    textOf: (keySet) => JSON.stringify({ keys: keySet.keys.map(whatVerifies) }),
    limits: {
      ...{ leastSeconds: LEAST_SECONDS, maxCopies: MAX_COPIES, maxBytes: MAX_BYTES },
      ...(heldSeconds !== undefined && { heldSeconds }),
    },
  });
}

// Certificates and whatever else is beside a key are what makes key sets large.
const VERIFYING_PARTS = ["kty", "kid", "use", "key_ops", "alg", "crv", "x", "y", "n", "e"];

function whatVerifies(key: JSONWebKeySet["keys"][number]): object {
  return Object.fromEntries(Object.entries(key).filter(([name]) => VERIFYING_PARTS.includes(name)));
}

function parseKeySet(body: string): JSONWebKeySet {
  const result = parseJwks(parseJson(body));
  if ("jwks" in result) return result.jwks;
  throw new OAuthError("invalid_client", `The key set at the client's jwks_uri ${result.problem}.`, {
    reason: INVALID_JWKS,
  });
}
