/** What a claim of a workload's assertion has to be: equal to one of several texts, in which `*` may stand for a part. */
import { claimAt } from "../access/claims.ts";
import type { Pattern } from "../access/pattern.ts";

export interface ClaimRule {
  /** By name or dotted path. */
  readonly claim: string;
  readonly oneOf: readonly Pattern[];
}

/** A claim that is missing, or is no text, fits nothing. */
export function fits({ claim, oneOf }: ClaimRule, claims: Readonly<Record<string, unknown>>): boolean {
  const value = claimAt(claims, claim);
  return typeof value === "string" && oneOf.some(({ matches }) => matches(value));
}
