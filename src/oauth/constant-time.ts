/** Comparison of secrets and what is derived from them. */
import { timingSafeEqual } from "node:crypto";

/** How long it takes says nothing of how much is equal, only whether the lengths are: compare hashes where those are secret. */
export function isEqualInConstantTime(one: string, other: string): boolean {
  const [first, second] = [Buffer.from(one), Buffer.from(other)];
  return first.length === second.length && timingSafeEqual(first, second);
}
