/** A policy that changes while the server runs, as a policy file does that is read again. */
import type { Policy } from "../../src/access/policy.ts";

/** @returns the `policy` for the server, which decides as what is `inForce` at the time */
export function replaceablePolicy(first: Policy): { policy: Policy; inForce: Policy } {
  const rules = { inForce: first };
  const policy: Policy = {
    admits: (asker) => rules.inForce.admits(asker),
    scope: (asker, scope) => rules.inForce.scope(asker, scope),
    feature: (asker, feature) => rules.inForce.feature(asker, feature),
    ruleset: (asker) => rules.inForce.ruleset(asker),
    explain: (asker, feature) => rules.inForce.explain(asker, feature),
    claimsAsked: () => rules.inForce.claimsAsked(),
    unansweredBy: (claims) => rules.inForce.unansweredBy(claims),
  };
  return Object.assign(rules, { policy });
}
