/** A policy that changes while the server runs, as a policy file does that is read again. */
import { delegating } from "../../src/access/live-policy.ts";
import type { Policy } from "../../src/access/policy.ts";

/** @returns the `policy` for the server, which decides as what is `inForce` at the time */
export function replaceablePolicy(first: Policy): { policy: Policy; inForce: Policy } {
  const rules = { inForce: first };
  return Object.assign(rules, { policy: delegating(() => rules.inForce) });
}
