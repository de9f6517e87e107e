/** Published keys (JWKS): can they be read, and is there one with which a signature could be verified? */
import { createLocalJWKSet, errors, type JSONWebKeySet } from "jose";
import { ask, describeOther } from "./ask.ts";
import { checkOf, type Finding } from "./finding.ts";

export interface KeysAsked {
  check: string;
  /** The subject of the sentence: "The keys of …". */
  whose: string;
  algorithms: readonly string[];
  /** What to do if none of them verifies by one of the algorithms. */
  fix: string;
  timeoutMs: number;
}

export async function checkKeysAt(uri: string, asked: KeysAsked): Promise<Finding> {
  const { whose, algorithms, fix, timeoutMs } = asked;
  const found = checkOf(asked.check);
  const answer = await ask(uri, { timeoutMs });
  if ("kind" in answer)
    return found`✗ ${whose} cannot be read: ${answer.says}
      → ${answer.fix}`;
  const keys = answer.document?.keys;
  if (!Array.isArray(keys))
    return found`✗ ${whose} cannot be read: there is no key set at ${uri}: ${describeOther(answer)}
      → Look at ${uri} in a browser: it has to be a JSON document with keys. Otherwise repair it there.`;
  const usable = await usableAlgorithms({ keys }, algorithms);
  if (usable.length > 0) return found`✓ ${whose} can be read: they verify ${usable.join(", ")}`;
  return found`✗ ${whose} at ${uri} cannot be used: none of ${keys.length} can verify a signature by ${algorithms.join(", ")}
    → ${fix}`;
}

/** By the code that chooses the key of a token. */
async function usableAlgorithms(keySet: JSONWebKeySet, algorithms: readonly string[]): Promise<string[]> {
  try {
    const find = createLocalJWKSet(keySet);
    const isFound = await Promise.all(
      algorithms.map((alg) =>
        find({ alg }).then(
          () => true,
          (error) => error instanceof errors.JWKSMultipleMatchingKeys,
        ),
      ),
    );
    return algorithms.filter((_, index) => isFound[index]);
  } catch {
    return []; // a set in which something is no key at all
  }
}
