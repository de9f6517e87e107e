/** A signed statement is accepted once, over all replicas, until it expires (RFC 7523 §3, `jti`). */
import { acceptedUntil, CLOCK_TOLERANCE_SECONDS } from "../oauth/jwt.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { KeyValueStore } from "./store.ts";

export interface Statement {
  kind: "assertion" | "client-assertion";
  /** Who made it: another one's may have the same `jti`. */
  by: string;
  jti: string;
  /** Its `exp`, in seconds since the epoch. */
  expiresAt: number;
}

/**
 * Uses it up. Last of all checks, so that only a genuine one is remembered; and before anything is issued for it.
 * @returns false if it was used before, on whatever replica
 * @throws UnavailableError
 */
export async function useOnce(
  { kind, by, jti, expiresAt }: Statement,
  { records, now }: { records: Pick<KeyValueStore, "replace">; now: () => number },
): Promise<boolean> {
  // By a clock that may be as far behind as the tolerance, it is accepted for that much longer.
  const seconds = Math.ceil(acceptedUntil(expiresAt) - now()) + CLOCK_TOLERANCE_SECONDS;
  return await records.replace(`${kind}:${sha256(JSON.stringify([by, jti]))}`, undefined, "used", seconds);
}
