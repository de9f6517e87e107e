/** A signed statement is accepted once, over all replicas, until it expires (RFC 7523 §3, `jti`). */
import { acceptedUntil, CLOCK_TOLERANCE_SECONDS } from "../oauth/jwt.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { KeyValueStore } from "./store.ts";
import { type Asking, inTime } from "./until-answered.ts";

export interface Statement {
  kind: "assertion" | "client-assertion";
  /** Who made it: another one's may have the same `jti`. */
  by: string;
  jti: string;
  /** Its `exp`, in seconds since the epoch. */
  expiresAt: number;
}

/** A statement that was used up. */
export interface Use {
  /** For who could give nothing for it, because of an outage: as soon as the store answers, it can be used again. */
  undo(): void;
}

interface Dependencies extends Pick<Runtime, "now" | "randomBytes">, Pick<Asking<unknown>, "waitUntil"> {
  records: Pick<KeyValueStore, "replace" | "deleteIf">;
}

/**
 * Uses it up. Last of all checks, so that only a genuine one is remembered; and before anything is issued for it.
 * @returns undefined if it was used before, on whatever replica
 * @throws UnavailableError, after which it can be used
 */
export async function useOnce(
  { kind, by, jti, expiresAt }: Statement,
  { records, now, randomBytes, waitUntil = () => {} }: Dependencies,
): Promise<Use | undefined> {
  const key = `${kind}:${sha256(JSON.stringify([by, jti]))}`;
  // By a clock that may be as far behind as the tolerance, it is accepted for that much longer.
  const seconds = Math.ceil(acceptedUntil(expiresAt) - now()) + CLOCK_TOLERANCE_SECONDS;
  // Of this use alone: what somebody else used is not theirs to use again.
  const mark = randomBytes(16).toString("base64url");
  const undo = () => waitUntil(inTime(() => records.deleteIf(key, mark), { waitUntil }).catch(() => {}));
  try {
    return (await records.replace(key, undefined, mark, seconds)) ? { undo } : undefined;
  } catch (error) {
    // The store may have executed it.
    undo();
    throw error;
  }
}
