/** Published keys (JWKS): can they be read, and is there one with which a signature could be verified? */
import { createLocalJWKSet, errors, type JSONWebKeySet } from "jose";
import { parseJsonObject } from "../../oauth/json.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../oauth/jwt.ts";
import { ask, describeOther } from "./ask.ts";
import { checkOf, type Finding } from "./finding.ts";
import type { ProviderMetadata } from "./provider-discovery.ts";

/** What can be verified with the keys at an address, or why nothing can. */
export type KeysThere = { usable: readonly string[]; count: number } | { problem: string; fix: string };

export async function keysAt(
  uri: string,
  algorithms: readonly string[],
  timeoutMs: number,
): Promise<KeysThere> {
  const asked = await ask(uri, { timeoutMs });
  if ("none" in asked) return { problem: asked.none.says, fix: asked.none.fix };
  const { answer } = asked;
  const keySet = answer.status === 200 ? parseJsonObject(answer.text) : undefined;
  if (!Array.isArray(keySet?.keys))
    return {
      problem: `there is no key set at ${uri}: it answers ${describeOther(answer)}`,
      fix: `Look at ${uri} in a browser: it has to be a JSON document with keys. Otherwise repair it there.`,
    };
  return {
    usable: await usableAlgorithms({ keys: keySet.keys }, algorithms),
    count: keySet.keys.length,
  };
}

const { ok, failure } = checkOf("provider.keys");

export async function checkKeys({ jwks_uri: uri }: ProviderMetadata, timeoutMs: number): Promise<Finding> {
  const found = await keysAt(String(uri), ASYMMETRIC_ALGORITHMS, timeoutMs);
  if ("problem" in found) return failure(`Its keys cannot be read: ${found.problem}`, found.fix);
  const { usable, count } = found;
  if (usable.length > 0) return ok(`Its keys can be read: they verify ${usable.join(", ")}`);
  return failure(
    `None of the ${count} keys at ${uri} can verify an ID token's signature`,
    "Let the provider sign ID tokens with RS256, PS256, ES256 or EdDSA, not with a shared secret (HS256).",
  );
}

/** By the code that chooses the key of a token. */
async function usableAlgorithms(keySet: JSONWebKeySet, algorithms: readonly string[]): Promise<string[]> {
  try {
    const find = createLocalJWKSet(keySet);
    const finds = (alg: string) =>
      find({ alg }).then(
        () => true,
        (error) => error instanceof errors.JWKSMultipleMatchingKeys,
      );
    const found = await Promise.all(algorithms.map(finds));
    return algorithms.filter((_, index) => found[index]);
  } catch {
    return []; // a set in which something is no key at all
  }
}
