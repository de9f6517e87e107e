/**
 * What cannot be known of somebody counts against them (invariant 11): whatever a provider leaves out, truncates or says
 * in an odd form, a rule that denies by it applies, and one that allows by it does not.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { decodeJwt, exportJWK, generateKeyPair, SignJWT } from "jose";
import type { DemoUser } from "../../dev/identity-provider/identity-provider.ts";
import { readPolicy } from "../../src/access/live-policy.ts";
import { membershipProblem } from "../../src/access/membership.ts";
import { createPolicy, type Policy } from "../../src/access/policy.ts";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { startFaultyProxy } from "../support/faulty-proxy.ts";
import { authorize, callTool, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { claimsIn, requesterOf } from "../support/requester.ts";
import { ALICE, startTestServer, useTestServer } from "../support/test-server.ts";

function policyOf(text: string): Policy {
  const folder = mkdtempSync(join(tmpdir(), "absence-"));
  try {
    const path = join(folder, "policy.yaml");
    writeFileSync(path, text);
    const known = { scopes: [], tools: ["whoami", "say_hello"], resources: [], prompts: [] };
    return createPolicy(readPolicy(path, known), scopeCatalogue({}, []));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Whether somebody of whom this is said comes in where a rule with these conditions allows or denies everything. */
function isAdmitted(effect: "allow" | "deny", conditions: string, claims: unknown): boolean {
  const policy = policyOf(`
default: ${effect === "allow" ? "deny" : "allow"}
claims: { groups: groups, organization: org_id }
rules: [{ name: x, for: ${conditions}, ${effect}: everything }]`);
  return policy.admits(requesterOf({ claims: claims as Record<string, unknown> })).allowed;
}

/** Of no type or shape that a name, or a list of names, has. */
const ODD: unknown[] = [
  undefined,
  null,
  "",
  0,
  7,
  true,
  false,
  {},
  { x: true },
  { 0: "x", length: 1 },
  [""],
  [7],
  [null],
  [["x"]],
  [{ name: "x" }],
  [{ id: "1", display: "x" }],
  [undefined],
];
const TRUNCATED: Array<Record<string, unknown>> = [
  { _claim_names: { groups: "src1" }, _claim_sources: { src1: { endpoint: "https://graph.example/x" } } },
  { _claim_names: { groups: "src1" } },
  { _claim_names: { groups: "src1" }, groups: [] },
  { _claim_names: { groups: "src1" }, groups: ["others"] },
  { _claim_names: "groups", groups: ["others"] },
  { _claim_names: ["groups"], groups: ["others"] },
  { hasgroups: true },
  { hasgroups: "true" },
  { hasgroups: true, groups: [] },
  { hasgroups: true, groups: ["others"] },
];

describe("groups", () => {
  const RULE = "{ groups: [x] }";
  const unknown = [
    ...ODD.map((groups) => ({ groups })),
    ...["y x", "y,x", "y;x", "y|x", "y\tx", "y\nx", '["x"]', "[x]", "{x}", '"x"', "y\0x"].map((groups) => ({
      groups,
    })),
    ...TRUNCATED,
    {},
    { Groups: ["x"] },
    undefined,
    null,
    "x",
    ["x"],
  ];
  for (const claims of unknown)
    test(`${JSON.stringify(claims)}: a deny applies, an allow does not`, () => {
      assert.equal(isAdmitted("deny", RULE, claims), false, "deny");
      assert.equal(isAdmitted("allow", RULE, claims), false, "allow");
    });

  for (const groups of [["x"], "x", ["y", "x"], ["x", 7]])
    test(`${JSON.stringify(groups)}: known to be in the group`, () => {
      assert.equal(isAdmitted("deny", RULE, { groups }), false, "deny");
      assert.equal(isAdmitted("allow", RULE, { groups }), true, "allow");
    });

  for (const claims of [
    { groups: [] },
    { groups: ["y"] },
    { groups: "y" },
    { groups: ["y z"] },
    { groups: ["y"], hasgroups: false },
    { groups: ["y"], _claim_names: { other: "src1" } },
    { groups: ["y"], _claim_names: null },
  ])
    test(`${JSON.stringify(claims)}: known not to be in the group`, () => {
      assert.equal(isAdmitted("deny", RULE, claims), true, "deny");
      assert.equal(isAdmitted("allow", RULE, claims), false, "allow");
    });
});

describe("organizations", () => {
  const RULE = "{ organizations: [x] }";
  for (const claims of [
    ...ODD.map((org_id) => ({ org_id })),
    { _claim_names: { org_id: "src1" }, org_id: "y" },
    {},
    null,
  ])
    test(`${JSON.stringify(claims)}: a deny applies, an allow does not, nor does membership`, () => {
      assert.equal(isAdmitted("deny", RULE, claims), false, "deny");
      assert.equal(isAdmitted("allow", RULE, claims), false, "allow");
      const membership = { organizations: ["x"], organizationClaim: "org_id", emailDomains: [] };
      assert.equal(membershipProblem(claims ?? {}, membership)?.reason, "wrong_organization");
    });

  test("another one, of any letters, is known to be another", () => {
    assert.equal(isAdmitted("deny", RULE, { org_id: "Acme, Inc." }), true);
    assert.equal(isAdmitted("deny", RULE, { org_id: ["y"] }), true);
  });
});

describe("e-mail addresses", () => {
  const RULE = '{ emails: ["*@x.example"] }';
  const membership = { organizations: [], organizationClaim: "org_id", emailDomains: ["x.example"] };
  const addresses: unknown[] = [
    ...ODD,
    ["a@x.example"],
    "a",
    "@y.example",
    "a@x.example, b@y.example",
    "A <a@y.example>",
    "a@x.example@y.example",
    "a@y.example.",
    "a@y\uff0eexample",
    "a@\u212ay.example",
  ];
  for (const email of addresses)
    test(`${JSON.stringify(email)}: a deny applies, an allow does not, nor does membership`, () => {
      const claims = { email, email_verified: true };
      assert.equal(isAdmitted("deny", RULE, claims), false, "deny");
      assert.equal(isAdmitted("allow", RULE, claims), false, "allow");
      assert.equal(membershipProblem(claims, membership)?.reason, "wrong_email_domain");
    });

  for (const email_verified of [undefined, null, false, "false", 1, "TRUE", [true], {}])
    test(`another address, verified: ${JSON.stringify(email_verified)}: anybody may have written it`, () => {
      const claims = { email: "a@y.example", email_verified };
      assert.equal(isAdmitted("deny", RULE, claims), false, "deny");
      assert.equal(isAdmitted("allow", '{ emails: ["*@y.example"] }', claims), false, "allow");
    });

  test("another address that is verified is known to be another", () => {
    assert.equal(isAdmitted("deny", RULE, { email: "a.b+c@y.example", email_verified: true }), true);
  });
});

test("what is known of one condition still counts: a deny for others does not apply for want of a claim", () => {
  assert.equal(isAdmitted("deny", "{ users: [other], groups: [x] }", {}), true);
  assert.equal(isAdmitted("deny", "{ clients: [c], groups: [x] }", {}), false);
});

describe("over HTTP", () => {
  const NO_CONTRACTORS = `
rules:
  - name: no contractors
    for: { groups: [contractors] }
    deny: { tools: [say_hello] }
  - name: nobody of the banned
    for: { groups: [banned], emails: ["bad*"] }
    deny: everything`;
  const user = (subject: string, claims: DemoUser["claims"]): DemoUser => ({
    ...ALICE,
    subject,
    ...(claims && { claims }),
  });
  const testServer = useTestServer({
    policy: policyOf(NO_CONTRACTORS),
    users: [
      user("contractor", { groups: ["contractors"] }),
      user("staff", { groups: ["staff"] }),
      user("nobody", { groups: [] }),
      user("unsaid", {}),
      user("entra", { hasgroups: true }),
      user("object", { groups: { contractors: true } }),
      user("joined", { groups: "staff,contractors" }),
    ],
  });

  const isAllowed = async (subject: string) => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client, { login: subject });
    const { body } = await callTool(testServer.url, tokens.access_token, "say_hello");
    return (body as { result: { isError?: boolean } }).result.isError !== true;
  };
  for (const [subject, allowed] of [
    ["contractor", false],
    ["staff", true],
    ["nobody", true],
    ["unsaid", false],
    ["entra", false],
    ["object", false],
    ["joined", false],
  ] as const)
    test(`${subject} ${allowed ? "may" : "may not"}`, async () => {
      assert.equal(await isAllowed(subject), allowed);
    });

  test("the operator is told, once a claim and not once a sign-in", async () => {
    await isAllowed("unsaid");
    await isAllowed("entra");
    const lines = testServer.log.filter(({ reason }) => reason === "policy_claim_missing");
    assert.deepEqual(
      lines.map(({ claim }) => claim),
      ["groups"],
    );
  });
});

describe("claims of 300 KB", () => {
  const size = (value: unknown) => JSON.stringify(value).length;
  const testServer = useTestServer({
    policy: policyOf(
      "rules: [{ name: no contractors, for: { groups: [contractors] }, deny: { tools: [say_hello] } }]",
    ),
    behaviour: { claimsInAccessToken: false, accessTokens: "opaque", accessTokenSeconds: 300 },
    users: [{ ...ALICE, claims: { groups: ["staff"], history: "x".repeat(300_000) } }],
  });

  test("are not kept: what the policy asks for is, and what does not fit is unknown", async () => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const helloIsAllowed = async (token: string) => {
      const { body } = await callTool(testServer.url, token, "say_hello");
      return (body as { result: { isError?: boolean } }).result.isError !== true;
    };
    assert.ok(size(claimsIn(await testServer.grantOf(tokens.access_token))) < 32_768);
    assert.equal(await helloIsAllowed(tokens.access_token), true);
    const told = testServer.log.find(({ reason }) => reason === "claims_too_large");
    assert.deepEqual(told?.dropped, ["history"]);

    const groups = Array.from({ length: 10_000 }, (_, i) => `a group with the number ${i}`);
    testServer.identityProvider.changeUser("alice", { claims: { groups } });
    testServer.clock.ahead += 200;
    const renewed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.ok(size(claimsIn(await testServer.grantOf(renewed.body.access_token))) < 32_768);
    assert.equal(await helloIsAllowed(renewed.body.access_token), false);
  });
});

test("an answer of the provider that does not end is not read to the end", async () => {
  const upstream = await startFaultyProxy();
  const testServer = await startTestServer({ throughProxy: upstream });
  try {
    upstream.rewrite = (body) => ({ ...body, more: "x".repeat(2_000_000) });
    await assert.rejects(authorize(testServer.baseUrl, await register(testServer.baseUrl)), /503/);
  } finally {
    await testServer.close();
    await upstream.close();
  }
});

test("a claim that a rule asks for is asked for at userinfo, where the ID token leaves it out", async () => {
  const upstream = await startFaultyProxy();
  const { publicKey, privateKey } = await generateKeyPair("RS256");
  upstream.extraKey = { ...(await exportJWK(publicKey)), kid: "test", alg: "RS256", use: "sig" };
  const testServer = await startTestServer({
    throughProxy: upstream,
    policy: policyOf("rules: [{ name: no contractors, for: { groups: [contractors] }, deny: everything }]"),
    users: [{ ...ALICE, claims: { groups: ["staff"] } }],
  });
  try {
    upstream.rewrite = async (body) => {
      const { groups, ...claims } = decodeJwt(String(body.id_token));
      assert.deepEqual(groups, ["staff"]);
      const header = { alg: "RS256", kid: "test" };
      return { ...body, id_token: await new SignJWT(claims).setProtectedHeader(header).sign(privateKey) };
    };
    const callback = await authorize(testServer.baseUrl, await register(testServer.baseUrl));
    assert.ok(callback.get("code"), `${callback}`);
  } finally {
    await testServer.close();
    await upstream.close();
  }
});
