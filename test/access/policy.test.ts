/** The rules as an operator reads them: deny wins, all conditions must match, and silence means the default. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { allowEverything, createPolicy, type Feature, type Verdict } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import type { Asks } from "../support/requester.ts";
import { known, policyOf, requester } from "./support.ts";

const tool = (name: string, ...scopes: Array<[string, ...string[]]>): Feature => ({
  kind: "tool",
  name,
  scopes,
});
const ruleOf = (verdict: Verdict) => (verdict.allowed ? undefined : verdict.rule.name);

const CONTRACTORS = `
rules:
  - name: contractors may read, not write
    for: { groups: [contractors], clients: ["https://claude.ai/*"] }
    deny: { scopes: ["*:write"], tools: [get_weather], resources: ["weather://codes"], prompts: ["what_*"] }
  - name: everything for contractors
    for: { groups: [contractors] }
    allow: everything
  - name: the old client is gone
    for: { clients: [old] }
    deny: everything
`;

describe("denying, where everything else is allowed", () => {
  const policy = policyOf(CONTRACTORS);
  const said = { claims: { groups: ["contractors"] }, clientId: "https://claude.ai/client" };
  const contractor = requester(said);
  const RULE = "contractors may read, not write";

  test("this user with this client may read but not write, though a later rule allows everything", () => {
    assert.equal(ruleOf(policy.scope(contractor, "orders:read")), undefined);
    assert.deepEqual(policy.scope(contractor, "orders:write"), {
      allowed: false,
      rule: { name: RULE, line: 3 },
    });
    assert.equal(policy.admits(contractor).allowed, true);
  });

  test("the same user with another client, and another user with this client, may write", () => {
    assert.equal(policy.scope(requester({ ...said, clientId: "other" }), "orders:write").allowed, true);
    assert.equal(policy.scope(requester({ ...said, claims: { groups: [] } }), "orders:write").allowed, true);
  });

  const features: Array<[Feature, boolean]> = [
    [tool("list_orders"), true],
    [tool("get_weather"), false],
    [tool("get_weather", ["orders:read"]), false],
    [{ kind: "resource", name: "get_weather", scopes: [] }, true],
    [{ kind: "resource", name: "weather://codes", scopes: [] }, false],
    [{ kind: "prompt", name: "weather://codes", scopes: [] }, true],
    [{ kind: "prompt", name: "what_to_wear", scopes: [] }, false],
    [tool("delete_order", ["orders:write"]), false],
    [tool("delete_order", ["orders:read", "orders:write"]), true],
    [tool("delete_order", ["orders:read"], ["orders:write"]), false],
  ];
  for (const [feature, allowed] of features)
    test(`${feature.kind} ${feature.name} ${JSON.stringify(feature.scopes)}: ${allowed ? "allowed" : "denied"}`, () =>
      assert.equal(ruleOf(policy.feature(contractor, feature)), allowed ? undefined : RULE));

  test("a user who is denied everything is not admitted, and gets no scope and no feature", () => {
    const old = requester({ clientId: "old" });
    for (const verdict of [
      policy.admits(old),
      policy.scope(old, "weather:read"),
      policy.feature(old, tool("get_weather")),
    ])
      assert.deepEqual(verdict, { allowed: false, rule: { name: "the old client is gone", line: 9 } });
  });
});

describe("allowing, where everything else is denied", () => {
  const policy = policyOf(`
default: deny
rules:
  - name: staff
    for: { groups: [staff] }
    allow: { scopes: ["*:read"], tools: [delete_order], prompts: [what_to_wear] }
  - name: sales too
    for: { groups: [sales] }
    allow: { scopes: ["orders:write"] }
  - name: nobody deletes
    deny: { scopes: [orders:write] }
  - name: no prompt in sales
    for: { groups: [sales] }
    deny: { prompts: ["*"] }
  - name: admins
    for: { groups: [admins] }
    allow: everything
`);
  const byDefault = { allowed: false, rule: { name: "default", line: 2 } };

  test("a user whom no rule allows anything is not admitted", () => {
    const stranger = requester({ claims: {} });
    assert.deepEqual(policy.admits(stranger), byDefault);
    assert.deepEqual(policy.scope(stranger, "orders:read"), byDefault);
    assert.deepEqual(policy.feature(stranger, tool("x")), byDefault);
    assert.equal(policy.admits(requester()).allowed, true);
  });

  test("only the allowed scope is allowed, and a deny wins over an allow", () => {
    assert.equal(policy.scope(requester(), "orders:read").allowed, true);
    assert.deepEqual(policy.scope(requester(), "orders:delete"), byDefault);
    assert.equal(ruleOf(policy.scope(requester(), "orders:write")), "nobody deletes");
  });

  const features: Array<[Feature, string | undefined]> = [
    [tool("delete_order"), undefined],
    [tool("delete_order", ["orders:read"]), undefined],
    [tool("delete_order", ["orders:write"]), "nobody deletes"],
    [tool("delete_order", ["orders:delete"]), "default"],
    [tool("list_orders"), "default"],
    [tool("list_orders", ["orders:read"]), undefined],
    [tool("list_orders", ["x", "orders:read"], ["weather:read"]), undefined],
    [tool("list_orders", ["orders:read"], ["x"]), "default"],
    [{ kind: "prompt", name: "what_to_wear", scopes: [["orders:read"]] }, "no prompt in sales"],
    [{ kind: "resource", name: "what_to_wear", scopes: [] }, "default"],
  ];
  for (const [feature, rule] of features)
    test(`${feature.kind} ${feature.name} ${JSON.stringify(feature.scopes)}: ${rule ?? "allowed"}`, () =>
      assert.equal(ruleOf(policy.feature(requester(), feature)), rule));

  test("allow everything allows what is not denied", () => {
    const admin = requester({ claims: { groups: "admins" } });
    assert.equal(policy.feature(admin, tool("list_orders")).allowed, true);
    assert.equal(ruleOf(policy.feature(admin, tool("list_orders", ["orders:write"]))), "nobody deletes");
  });

  test("a rule that only denies admits nobody", () => {
    const denying = policyOf("default: deny\nrules: [{ name: x, deny: { tools: [get_weather] } }]");
    assert.equal(ruleOf(denying.admits(requester())), "default");
  });
});

/** Whether a rule with these conditions is for Ada, changed like this. */
function isMeant(conditions: string, effect: "allow" | "deny", different: Partial<Asks>): boolean {
  const rest = effect === "allow" ? "default: deny" : "default: allow";
  const policy = policyOf(`${rest}\nrules: [{ name: x, for: ${conditions}, ${effect}: everything }]`);
  return policy.admits(requester(different)).allowed === (effect === "allow");
}

const conditions: Array<[string, Partial<Asks>, boolean]> = [
  ['{ users: ["auth0|ada"] }', {}, true],
  ['{ users: ["auth0|*"] }', {}, true],
  ['{ users: ["auth0|bob", "auth0|ada"] }', {}, true],
  ['{ users: ["auth0|AD*"] }', {}, false],
  ["{ groups: [staff] }", {}, true],
  ["{ groups: [sta] }", {}, false],
  ["{ groups: [staff, nobody], organizations: [org_1] }", {}, true],
  ["{ groups: [staff], organizations: [org_2] }", {}, false],
  ['{ users: ["*"], clients: [other] }', {}, false],
  ["{ redirect_uris: ['https://claude.ai/api/*'] }", {}, true],
  ["{ redirect_uris: ['https://claude.ai/*'] }", { redirectUri: "https://claude.ai.evil.com/api/x" }, false],
  ["{ redirect_uris: ['https://claude.ai/*'] }", { redirectUri: "https://claude.ai@evil.com/api/x" }, false],
  ["{ redirect_uris: ['http://localhost/*'] }", { redirectUri: "http://localhost:61234/callback" }, true],
  ["{ redirect_uris: ['http://localhost/*'] }", { redirectUri: "http://localhost.evil.com/callback" }, false],
  ["{ redirect_uris: ['http://localhost/*'] }", { redirectUri: "" }, false],
  ["{ clients: ['https://claude.ai/*'] }", { clientId: "https://claude.ai.evil.com/client" }, false],
];
for (const effect of ["allow", "deny"] as const)
  for (const [yaml, different, expected] of conditions)
    test(`${effect} for ${yaml} ${expected ? "means" : "does not mean"} ${JSON.stringify(different)}`, () =>
      assert.equal(isMeant(yaml, effect, different), expected));

// email, email_verified; whether an allow rule, and whether a deny rule for *@example.com is for them
const emails: Array<[unknown, unknown, boolean, boolean]> = [
  ["ada@example.com", true, true, true],
  ["Ada@EXAMPLE.com", true, true, true],
  ["ada@example.com", "true", true, true],
  ["ada@example.com", false, false, true],
  ["ada@example.com", "false", false, true],
  ["ada@example.com", undefined, false, true],
  ["ada@example.com", 1, false, true],
  ["ada@example.com", "TRUE", false, true],
  ["ada@example.com", [true], false, true],
  [["x@x.com", "ada@example.com"], true, false, true],
  ["ada@example.com.evil.com", true, false, false],
  [{ toString: "ada@example.com" }, true, false, true],
  [undefined, true, false, true],
];
for (const [email, verified, allow, deny] of emails)
  test(`e-mail ${JSON.stringify(email)}, verified: ${JSON.stringify(verified)}`, () => {
    const different = { claims: { email, email_verified: verified } };
    assert.equal(isMeant('{ emails: ["*@example.com"] }', "allow", different), allow, "allow");
    assert.equal(isMeant('{ emails: ["*@example.com"] }', "deny", different), deny, "deny");
  });

const oddClaims: Array<[unknown, boolean]> = [
  [{ groups: "admins" }, true],
  [{ groups: ["x", "admins"] }, true],
  [{ groups: [["admins"]] }, false],
  [{ groups: [{ name: "admins" }, 1, null] }, false],
  [{ groups: { admins: true, 0: "admins", length: 1 } }, false],
  [{ groups: "x admins" }, false],
  [{ groups: "x,admins" }, false],
  [{ groups: 7 }, false],
  [{ groups: null }, false],
  [{ groups: true }, false],
  [{ Groups: ["admins"] }, false],
  [JSON.parse('{"__proto__":{"groups":["admins"]}}'), false],
  [Object.create({ groups: ["admins"] }), false],
  [null, false],
  ["admins", false],
  [["admins"], false],
];
for (const [claims, isAllowed] of oddClaims)
  test(`the claims ${JSON.stringify(claims)}: ${isAllowed ? "of the group" : "nobody knows, so they are denied"}`, () => {
    const different = { claims: claims as Asks["claims"] };
    assert.equal(isMeant("{ groups: [admins] }", "allow", different), isAllowed);
    assert.equal(isMeant("{ groups: [admins] }", "deny", different), true);
  });

test("a group with the name of a prototype's property is a group like any other", () => {
  for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
    assert.equal(isMeant(`{ groups: [${name}] }`, "allow", {}), false);
    assert.equal(isMeant(`{ groups: [${name}] }`, "deny", {}), false);
    assert.equal(isMeant(`{ groups: [${name}] }`, "allow", { claims: { groups: [name] } }), true);
  }
});

test("where groups and organization are said can be configured", () => {
  const policy = policyOf(`
claims: { groups: realm_access.roles, organization: 'https://x.example/org' }
rules:
  - { name: roles, for: { groups: [b] }, deny: { scopes: ["orders:write"] } }
  - { name: organizations, for: { organizations: [o] }, deny: { scopes: ["orders:read"] } }`);
  const denied = (claims: Asks["claims"]) =>
    ["orders:write", "orders:read"].filter((scope) => !policy.scope(requester({ claims }), scope).allowed);
  const org = "https://x.example/org";
  assert.deepEqual(denied({ realm_access: { roles: ["a", "b"] }, [org]: "p" }), ["orders:write"]);
  assert.deepEqual(denied({ realm_access: { roles: [] }, [org]: "o" }), ["orders:read"]);
  const elsewhere = { groups: ["b"], org_id: "o" };
  assert.deepEqual(denied({ ...elsewhere, realm_access: { roles: [] }, [org]: "p" }), []);
});

test("an explanation lists every rule that matched and speaks of the feature, in the file's words and order", () => {
  const policy = policyOf(`
rules:
  - name: says nothing of it
    deny: { tools: [get_weather], scopes: ["weather:*"] }
  - name: not for them
    for: { groups: [nobody] }
    deny: everything
  - name: allows
    for: { groups: [staff] }
    allow: everything
  - name: denies
    deny: { scopes: ["*:write", "orders:*"], tools: ["delete_*"], resources: ["*"] }
`);
  const denies = { name: "denies", line: 11 };
  assert.deepEqual(policy.explain(requester(), tool("delete_order", ["orders:read", "orders:write"])), {
    verdict: { allowed: false, rule: denies },
    matched: [
      { name: "allows", line: 8, effect: "allow", says: "everything" },
      { ...denies, effect: "deny", says: "tools: delete_*; scopes: *:write, orders:*" },
    ],
    default: "allow",
  });
});

test("without a file everything is allowed", () => {
  assert.deepEqual(allowEverything.admits(requester()), { allowed: true });
  assert.deepEqual(allowEverything.scope(requester(), "any"), { allowed: true });
  assert.deepEqual(allowEverything.feature(requester(), tool("any", ["x"])), { allowed: true });
});

describe("scopes that include others", () => {
  const hierarchy = scopeCatalogue(
    {
      "orders:read": "r",
      "orders:write": "w",
      orders: { description: "all", includes: ["orders:read", "orders:write"] },
    },
    [],
  );
  const here = { ...known, scopes: hierarchy.names };
  const decide = (text: string) => {
    const policy = createPolicy(parsePolicy(text, "policy.yaml", here), hierarchy);
    return ["orders", "orders:read", "orders:write"].filter(
      (scope) => policy.scope(requester(), scope).allowed,
    );
  };
  test("a scope is denied when one that it implies is denied", () =>
    assert.deepEqual(decide('rules: [{ name: x, deny: { scopes: ["orders:write"] } }]'), ["orders:read"]));
  test("a user who is allowed a scope is allowed the scopes that it implies", () => {
    const all = ["orders", "orders:read", "orders:write"];
    assert.deepEqual(decide("default: deny\nrules: [{ name: x, allow: { scopes: [orders] } }]"), all);
    assert.deepEqual(decide('default: deny\nrules: [{ name: x, allow: { scopes: ["orders:read"] } }]'), [
      "orders:read",
    ]);
  });
  test("a feature is denied when a scope that its scope implies is denied, and the explanation names the rule", () => {
    const policy = createPolicy(
      parsePolicy('rules: [{ name: x, deny: { scopes: ["orders:read"] } }]', "policy.yaml", here),
      hierarchy,
    );
    const { verdict, matched } = policy.explain(requester(), tool("list_orders", ["orders"]));
    assert.equal(ruleOf(verdict), "x");
    assert.deepEqual(
      matched.map(({ name }) => name),
      ["x"],
    );
  });
});

test("claims that rules ask for and the provider did not send are known by name", () => {
  const policy = policyOf("rules: [{ name: x, for: { groups: [a], organizations: [o] }, deny: everything }]");
  assert.deepEqual(policy.claimsAsked(), ["groups", "org_id"]);
  assert.deepEqual(policy.unansweredBy({}), ["groups", "org_id"]);
  assert.deepEqual(policy.unansweredBy({ groups: [], org_id: "o" }), []);
  assert.deepEqual(policyOf("rules: [{ name: x, deny: everything }]").unansweredBy({}), []);
});

describe("rules for single protected resources", () => {
  const policy = policyOf(`
rules:
  - name: no deleting in the CRM
    for: { protected_resources: [/crm/mcp] }
    deny: { tools: [delete_order] }
  - name: contractors have no CRM
    for: { protected_resources: ["/crm/*"], groups: [contractors] }
    deny: everything
`);
  const contractor = requester({ claims: { groups: ["contractors"] } });
  const deciding = (path: string, whose = requester()) =>
    ruleOf(policy.at(path).feature(whose, tool("delete_order", ["orders:write"])));

  test("count there and nowhere else", () => {
    assert.equal(deciding("/mcp"), undefined);
    assert.equal(deciding("/crm/mcp"), "no deleting in the CRM");
    assert.equal(deciding("/crm/admin/mcp"), undefined);
    assert.equal(deciding("/crm/admin/mcp", contractor), "contractors have no CRM");
  });

  test("decide about who comes in, and about scopes", () => {
    for (const [path, allowed] of [
      ["/mcp", true],
      ["/crm/mcp", false],
      ["/crm/admin/mcp", false],
    ] as const) {
      assert.equal(policy.at(path).admits(contractor).allowed, allowed, path);
      assert.equal(policy.at(path).scope(contractor, "orders:read").allowed, allowed, path);
      assert.equal(policy.at(path).admits(requester()).allowed, true);
    }
  });

  test("are explained where they count", () => {
    const explained = (path: string) =>
      policy
        .at(path)
        .explain(contractor, tool("delete_order"))
        .matched.map(({ name }) => name);
    assert.deepEqual(explained("/mcp"), []);
    assert.deepEqual(explained("/crm/mcp"), ["no deleting in the CRM", "contractors have no CRM"]);
  });

  test("ask for claims where they count: elsewhere nothing is unknown", () => {
    assert.deepEqual(policy.at("/mcp").unansweredBy({}), []);
    assert.deepEqual(policy.at("/crm/mcp").unansweredBy({}), ["groups"]);
    assert.deepEqual(policy.at("/mcp").claimsAsked(), ["groups"], "what is kept of a user is kept for all");
  });

  test("allow where they count alone", () => {
    const closed = policyOf(
      "default: deny\nrules: [{ name: x, for: { protected_resources: [/mcp] }, allow: everything }]",
    );
    assert.equal(closed.at("/mcp").admits(requester()).allowed, true);
    assert.equal(closed.at("/crm/mcp").admits(requester()).allowed, false);
  });

  test("where nobody says at which resource, that counts against whoever asks", () => {
    assert.equal(ruleOf(policy.feature(requester(), tool("delete_order"))), "no deleting in the CRM");
    const closed = policyOf(
      "default: deny\nrules: [{ name: x, for: { protected_resources: [/mcp] }, allow: everything }]",
    );
    assert.equal(closed.admits(requester()).allowed, false);
  });

  test("a decision is found once for each, and those of one are not those of another", () => {
    assert.equal(policy.at("/mcp"), policy.at("/mcp"));
    assert.notEqual(policy.at("/mcp").ruleset(contractor), policy.at("/crm/mcp").ruleset(contractor));
  });
});
