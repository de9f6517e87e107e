/** The provider's keys (JWKS): can they be read, and is there one with which an ID token could be verified? */

import { createLocalJWKSet, errors, type JSONWebKeySet } from "jose";
import { ALGORITHMS } from "../../identity/oidc/token-verification.ts";
import { parseJsonObject } from "../../oauth/json.ts";
import { ask, describeOther } from "./ask.ts";
import { checkOf, type Finding } from "./finding.ts";
import type { ProviderMetadata } from "./provider-discovery.ts";

const { ok, failure } = checkOf("provider.keys");

export async function checkKeys({ jwks_uri: uri }: ProviderMetadata, timeoutMs: number): Promise<Finding> {
  const asked = await ask(String(uri), { timeoutMs });
  if ("none" in asked) return failure(`Its keys cannot be read: ${asked.none.says}`, asked.none.fix);
  const { answer } = asked;
  const keySet = answer.status === 200 ? parseJsonObject(answer.text) : undefined;
  if (!Array.isArray(keySet?.keys))
    return failure(
      `There is no key set at ${uri}: it answers ${describeOther(answer)}`,
      `Look at ${uri} in a browser: it has to be a JSON document with keys. Otherwise repair it at the provider.`,
    );
  const usable = await usableAlgorithms({ keys: keySet.keys });
  if (usable.length > 0) return ok(`Its keys can be read: they verify ${usable.join(", ")}`);
  return failure(
    `None of the ${keySet.keys.length} keys at ${uri} can verify an ID token's signature`,
    "Let the provider sign ID tokens with RS256, PS256, ES256 or EdDSA, not with a shared secret (HS256).",
  );
}

/** By the code that chooses the key of a token. */
async function usableAlgorithms(keySet: JSONWebKeySet): Promise<string[]> {
  try {
    const find = createLocalJWKSet(keySet);
    const finds = (alg: string) =>
      find({ alg }).then(
        () => true,
        (error) => error instanceof errors.JWKSMultipleMatchingKeys,
      );
    const found = await Promise.all(ALGORITHMS.map(finds));
    return ALGORITHMS.filter((_, index) => found[index]);
  } catch {
    return []; // a set in which something is no key at all
  }
}
