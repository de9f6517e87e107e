/** A policy that changes while the server runs, as a policy file does that is read again. */
import type { Policy } from "../../src/access/policy.ts";

/** @returns the `policy` for the server, which decides as what is `inForce` at the time */
export function replaceablePolicy(first: Policy): { policy: Policy; inForce: Policy } {
  const rules = { inForce: first };
  const policy: Policy = {
    admits: (requester) => rules.inForce.admits(requester),
    scope: (requester, scope) => rules.inForce.scope(requester, scope),
    feature: (requester, feature) => rules.inForce.feature(requester, feature),
    ruleset: (requester) => rules.inForce.ruleset(requester),
    explain: (requester, feature) => rules.inForce.explain(requester, feature),
    claimsAsked: () => rules.inForce.claimsAsked(),
    unansweredBy: (claims) => rules.inForce.unansweredBy(claims),
  };
  return Object.assign(rules, { policy });
}
