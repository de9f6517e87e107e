/** An assertion is accepted once, over all replicas (RFC 7523 §3). */
import { sha256 } from "../oauth/sha256.ts";
import type { KeyValueStore } from "../storage/store.ts";
import type { AssertionId } from "./id-jag.ts";
import { CLOCK_TOLERANCE_SECONDS, JwtRefused } from "./jwt.ts";

/**
 * Uses it up. Last of all checks, so that only a genuine one is remembered; and before anything is issued for it.
 * @throws JwtRefused if it was used; UnavailableError
 */
export async function useOnce(
  { issuer, jti, expiresAt }: AssertionId,
  { records, now }: { records: Pick<KeyValueStore, "replace">; now: () => number },
): Promise<void> {
  const key = `assertion:${sha256(JSON.stringify([issuer, jti]))}`;
  // It is accepted for the tolerance longer, by a clock that may be as far behind.
  const seconds = Math.ceil(expiresAt - now()) + 2 * CLOCK_TOLERANCE_SECONDS;
  if (!(await records.replace(key, undefined, "used", seconds)))
    throw new JwtRefused("assertion_replayed", "it was used before");
}
