/** Permission sets: shared by callers with the same scopes and rules, and made anew when the policy changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createPermissions } from "../../src/access/permissions.ts";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { replaceablePolicy } from "../support/replaceable-policy.ts";
import { policyOf, requester } from "./support.ts";

test("a cached permission set is not given to a user whom a newer policy treats differently", () => {
  const rules = replaceablePolicy(policyOf("default: allow\nrules: []"));
  const catalogue = scopeCatalogue({ "orders:read": "Read orders" }, []);
  const membership = { organizations: [], organizationClaim: "org_id", emailDomains: [] };
  const permissions = createPermissions({ policy: rules.policy, catalogue, membership });
  const [alice, bob] = [requester({ subject: "alice" }), requester({ subject: "bob" })];
  const tool = { kind: "tool", name: "list_orders", scopes: [] } as const;

  const shared = permissions.permissionSet(alice, []);
  assert.equal(permissions.permissionSet(bob, []), shared, "the same rules, the same scopes");
  rules.inForce = policyOf(
    "default: allow\nrules:\n  - name: no bob\n    deny: { tools: [list_orders] }\n    for: { users: [bob] }",
  );
  assert.equal(permissions.permissionSet(bob, []).checkFeature(tool).allowed, false);
  assert.equal(permissions.permissionSet(alice, []).checkFeature(tool).allowed, true);
});

test("the number of cached scope combinations is bounded, over all permission sets", () => {
  const names = Array.from({ length: 12 }, (_, n) => `room-${n}:enter`);
  const catalogue = scopeCatalogue(Object.fromEntries(names.map((name) => [name, name])), []);
  const membership = { organizations: [], organizationClaim: "org_id", emailDomains: [] };
  const people = Array.from({ length: 20 }, (_, n) => `user-${n}`);
  const rules = people.map(
    (user) => `  - name: ${user}\n    deny: { tools: [list_orders] }\n    for: { users: [${user}] }`,
  );
  const policy = policyOf(`default: allow\nrules:\n${rules.join("\n")}`);
  const permissions = createPermissions({ policy, catalogue, membership });
  const first = requester({ subject: "user-0" });
  const kept = permissions.permissionSet(first, []);
  const ask = (combinations: number) => {
    for (const subject of people)
      for (let chosen = 1; chosen <= combinations; chosen++)
        permissions.permissionSet(
          requester({ subject }),
          names.filter((_, n) => chosen & (1 << n)),
        );
  };
  ask(40);
  assert.equal(permissions.permissionSet(first, []), kept);
  ask(60);
  assert.notEqual(permissions.permissionSet(first, []), kept, "1,200 are more than are kept");
});
