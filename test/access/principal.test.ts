/** Principals other than a person who signed in: what a rule asks for, and they have not got, counts against them. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createPermissions } from "../../src/access/permissions.ts";
import {
  claimsOf,
  clientOf,
  isSameUser,
  type Principal,
  type Requester,
  subjectOf,
} from "../../src/access/principal.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { policyOf } from "./support.ts";

const issuer = "https://issuer.example";
const client: Principal = { kind: "client", clientId: "nightly" };
const workload: Principal = {
  kind: "workload",
  issuer,
  subject: "batch:nightly",
  claims: { groups: ["ops"] },
};

const through = (principal: Principal, redirectUri?: string): Requester => ({
  principal,
  client: { id: "nightly", ...(redirectUri !== undefined && { redirectUri }) },
});

function isAdmitted(effect: "allow" | "deny", conditions: string, requester: Requester): boolean {
  const rest = effect === "allow" ? "deny" : "allow";
  return policyOf(`default: ${rest}\nrules: [{ name: x, for: ${conditions}, ${effect}: everything }]`).admits(
    requester,
  ).allowed;
}

describe("a rule counts against a principal that has not got what it asks for", () => {
  const TABLE: Array<[who: string, conditions: string, requester: Requester]> = [
    ["a client has no sub of a user, even if it is called like one", "{ users: [nightly] }", through(client)],
    ["a workload is no user", '{ users: ["batch:nightly"] }', through(workload)],
    ["a client has no e-mail address", '{ emails: ["*"] }', through(client)],
    ["a client has no groups", "{ groups: [ops] }", through(client)],
    ["a client has no organization", '{ organizations: ["*"] }', through(client)],
    ["a workload without an organization", '{ organizations: ["*"] }', through(workload)],
    [
      "who was sent no code has no redirect URI",
      '{ redirect_uris: ["https://a.example/*"] }',
      through(client),
    ],
  ];
  for (const [who, conditions, requester] of TABLE)
    test(who, () => {
      assert.equal(isAdmitted("deny", conditions, requester), false, "a rule that denies applies");
      assert.equal(isAdmitted("allow", conditions, requester), false, "a rule that allows does not");
    });

  test("what a principal has is known: a client's id, a workload's claims", () => {
    assert.equal(isAdmitted("allow", "{ clients: [nightly] }", through(client)), true);
    assert.equal(isAdmitted("deny", "{ clients: [other] }", through(client)), true);
    assert.equal(isAdmitted("allow", "{ groups: [ops] }", through(workload)), true);
    assert.equal(isAdmitted("deny", "{ groups: [sales] }", through(workload)), true);
  });

  test("an explanation says what is unknown", () => {
    const policy = policyOf("rules: [{ name: x, for: { users: [bob] }, deny: everything }]");
    const { matched } = policy.explain(through(client), { kind: "tool", name: "get_weather", scopes: [] });
    assert.deepEqual(matched[0]?.unknown, ["sub"]);
  });

  test("membership is required of users only: a configured client needs no organization", () => {
    const membership = { organizations: ["org_1"], organizationClaim: "org_id", emailDomains: [] };
    const policy = policyOf("rules: []");
    const permissions = createPermissions({ policy, catalogue: scopeCatalogue({}, []), membership });
    const user: Principal = { kind: "user", issuer, subject: "alice", claims: {} };
    assert.equal(permissions.checkAdmission(through(user))?.reason, "wrong_organization");
    assert.equal(permissions.checkAdmission(through(client)), undefined);
  });
});

describe("callers of several issuers", () => {
  const theirs = "https://login.example.com/";
  const user = (from: string, clientId?: string): Requester => ({
    principal: { kind: "user", issuer: from, subject: "alice", claims: {} },
    client: clientOf(from, clientId),
  });
  const machine: Requester = {
    principal: { kind: "client", clientId: `${theirs}#nightly`, issuer: theirs, claims: { groups: ["ops"] } },
    client: clientOf(theirs, "nightly"),
  };

  const TABLE: Array<[conditions: string, requester: Requester, allow: boolean, deny: boolean]> = [
    [`{ issuers: ["${theirs}"] }`, user(theirs), true, true],
    [`{ issuers: ["https://*.example.com/"] }`, user(theirs), true, true],
    [`{ issuers: ["${issuer}"] }`, user(theirs), false, false],
    [`{ users: [alice], issuers: ["${issuer}"] }`, user(theirs), false, false],
    ["{ users: [alice] }", user(theirs), true, true],
    // Nobody but this server says who its own clients are: an issuer is unknown.
    [`{ issuers: ["${theirs}"] }`, through(client), false, true],
    ["{ kind: client }", through(client), true, true],
    ["{ kind: client }", machine, true, true],
    ["{ kind: [user, workload] }", machine, false, false],
    ["{ kind: [user, workload] }", through(workload), true, true],
    ["{ kind: user }", user(theirs), true, true],
    ["{ clients: [nightly] }", machine, false, false],
    [`{ clients: ["${theirs}#nightly"] }`, machine, true, true],
    [`{ clients: ["${theirs}#*"] }`, machine, true, true],
    // What means clients that have metadata documents.
    [`{ clients: ["${theirs}*"] }`, machine, false, false],
    [`{ clients: ["${theirs}#app"] }`, user(theirs, "app"), true, true],
    [`{ clients: ["${theirs}#app"] }`, user(theirs, "other"), false, false],
    [`{ clients: ["${theirs}#app"] }`, user(theirs), false, true],
    ["{ groups: [ops] }", machine, true, true],
  ];
  for (const [conditions, requester, allow, deny] of TABLE)
    test(`${conditions} and ${JSON.stringify(requester)}`, () => {
      assert.equal(isAdmitted("allow", conditions, requester), allow, "a rule that allows");
      assert.equal(!isAdmitted("deny", conditions, requester), deny, "a rule that denies");
    });

  test("have separate names for their clients, different from this server's", () => {
    const names = [clientOf(theirs, "nightly"), clientOf(issuer, "nightly"), { id: "nightly" }];
    assert.equal(new Set(names.map(({ id }) => id)).size, 3);
  });
});

describe("the users of two identity providers", () => {
  const users = storedUsers([{ issuer }]);
  const ours = { issuer, subject: "alice" };
  const theirs = { issuer: "https://other.example", subject: "alice" };

  test("are different in keys and records, whatever their subjects are", () => {
    assert.notEqual(users.unique(ours.issuer, ours.subject), users.unique(theirs.issuer, theirs.subject));
    assert.notDeepEqual(users.write(ours), users.write(theirs));
    assert.deepEqual([isSameUser(ours, { ...ours }), isSameUser(ours, theirs)], [true, false]);
    for (const user of [ours, theirs]) assert.deepEqual(users.read(users.write(user)), user);
  });

  test("of the first provider are stored as in 0.1.0; those of another one in a form that 0.1.0 refuses to read", () => {
    assert.equal(users.unique(issuer, "alice"), "alice");
    assert.equal(users.write(ours).subject, "alice");
    assert.equal(typeof users.write(theirs).subject, "object");
  });
});

test("a client that acts for itself is its own subject and has no claims", () => {
  assert.equal(subjectOf(client), "nightly");
  assert.equal(subjectOf(workload), "batch:nightly");
  assert.deepEqual(claimsOf(client), {});
});
