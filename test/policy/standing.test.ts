/** What people share who may do the same, and what becomes of it when the policy changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { createPermissions } from "../../src/policy/permissions.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { asker, policyOf } from "./support.ts";

test("a standing that was shared says nothing of who is treated otherwise by newer rules", () => {
  let inForce = policyOf("default: allow\nrules: []");
  // As a policy file that is read again.
  const policy: Policy = {
    admits: (who) => inForce.admits(who),
    scope: (who, scope) => inForce.scope(who, scope),
    feature: (who, feature) => inForce.feature(who, feature),
    ruleset: (who) => inForce.ruleset(who),
    explain: (who, feature) => inForce.explain(who, feature),
    claimsAsked: () => inForce.claimsAsked(),
    unansweredBy: (claims) => inForce.unansweredBy(claims),
  };
  const catalogue = scopeCatalogue({ "orders:read": "Read orders" }, []);
  const membership = { organizations: [], organizationClaim: "org_id", emailDomains: [] };
  const permissions = createPermissions({ policy, catalogue, membership });
  const [alice, bob] = [asker({ subject: "alice" }), asker({ subject: "bob" })];
  const tool = { kind: "tool", name: "list_orders", scopes: [] } as const;

  const shared = permissions.standing(alice, []);
  assert.equal(permissions.standing(bob, []), shared, "the same rules, the same scopes");
  inForce = policyOf(
    "default: allow\nrules:\n  - name: no bob\n    deny: { tools: [list_orders] }\n    for: { users: [bob] }",
  );
  assert.equal(permissions.standing(bob, []).may(tool).allowed, false);
  assert.equal(permissions.standing(alice, []).may(tool).allowed, true);
});
