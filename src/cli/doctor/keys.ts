/** Published keys (JWKS): can they be read, and is there one with which a signature could be verified? */
import { createLocalJWKSet, errors, type JSONWebKeySet } from "jose";
import { ask, describeOther } from "./ask.ts";
import { checkOf, type Finding } from "./finding.ts";

interface Asked {
  check: string;
  /** The subject of the sentence: "The keys of …". */
  whose: string;
  algorithms: readonly string[];
  /** What to do if none of them verifies by one of the algorithms. */
  fix: string;
  timeoutMs: number;
}

export async function checkKeysAt(uri: string, asked: Asked): Promise<Finding> {
  const { check, whose, algorithms, fix, timeoutMs } = asked;
  const found = checkOf(check);
  const answer = await ask(uri, { timeoutMs });
  if (answer.silence !== undefined)
    return found`✗ ${whose} cannot be read: ${answer.silence.says}
      → ${answer.silence.fix}`;
  const keys = answer.document?.keys;
  if (!Array.isArray(keys))
    return found`✗ ${whose} cannot be read: there is no key set at ${uri}: ${describeOther(answer)}
      → Look at ${uri} in a browser: it has to be a JSON document with keys. Otherwise repair it there.`;
  const isUsable = await Promise.all(algorithms.map((alg) => hasKeyFor(alg, { keys })));
  const usable = algorithms.filter((_, index) => isUsable[index]);
  if (usable.length > 0) return found`✓ ${whose} can be read: they verify ${usable.join(", ")}`;
  return found`✗ ${whose} at ${uri} cannot be used: none of ${keys.length} can verify a signature by ${algorithms.join(", ")}
    → ${fix}`;
}

/** By the code that chooses the key of a token. A set in which something is no key at all has none. */
async function hasKeyFor(alg: string, keySet: JSONWebKeySet): Promise<boolean> {
  try {
    await createLocalJWKSet(keySet)({ alg });
    return true;
  } catch (error) {
    return error instanceof errors.JWKSMultipleMatchingKeys;
  }
}
