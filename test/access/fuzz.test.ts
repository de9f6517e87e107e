/** Whatever a provider says of somebody: no crash, and no way out of a rule that names them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createPolicy } from "../../src/access/policy.ts";
import { PolicyError, parsePolicy } from "../../src/access/policy-file.ts";
import { clientOf, PRINCIPAL_KINDS, type Requester } from "../../src/access/principal.ts";
import { fc } from "../support/property.ts";
import { known, policyOf, requester } from "./support.ts";

/** One is what `npm run test:long` does; `npm test` a part of it. */
const SCALE = Number(process.env.FUZZ_RUNS ?? 0.2);
const runs = (count: number) => ({ numRuns: Math.ceil(count * SCALE) });

const name = fc.constantFrom(
  ...["groups", "org_id", "email", "email_verified", "realm_access", "roles", "sub"],
  ...["__proto__", "constructor", "toString", "length", "a.b", "realm_access.roles", ""],
);
const text = fc.oneof(
  fc.constantFrom("admins", "staff", "ada@example.com", "true", "everything", "*", "__proto__", ""),
  fc.string({ unit: "binary", maxLength: 20 }),
);
const { claims } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    text,
    fc.constantFrom(true, false, null, undefined, 0, -1, Number.NaN),
    fc.array(tie("value"), { maxLength: 3 }),
    tie("claims"),
  ),
  claims: fc
    .array(fc.tuple(name, tie("value")), { maxLength: 5 })
    // As JSON.parse makes them: "__proto__" is a property of its own.
    .map((entries) => Object.fromEntries(entries) as Record<string, unknown>),
}));
const anyClaims = fc.oneof(claims as fc.Arbitrary<Record<string, unknown>>, fc.jsonValue(), fc.anything());
const request = fc.record({ claims: anyClaims, clientId: text, redirectUri: fc.oneof(text, fc.webUrl()) });
const feature = fc.record({
  kind: fc.constantFrom("tool" as const, "resource" as const, "prompt" as const),
  name: fc.oneof(fc.constantFrom(...known.tools), text),
  scopes: fc.array(
    fc
      .array(fc.oneof(fc.constantFrom(...known.scopes), text), { minLength: 1, maxLength: 3 })
      .map((alternatives) => alternatives as [string, ...string[]]),
    { maxLength: 3 },
  ),
});

const RULES = `
  - name: admins
    for: { groups: [admins], emails: ["*"] }
    allow: everything
  - name: staff
    for: { organizations: ["*"], clients: ["*"] }
    allow: { scopes: ["*"], tools: ["*"], resources: ["*"], prompts: ["*"] }
  - name: not through evil
    for: { redirect_uris: ["https://*.evil.example/*"], emails: ["*@evil.example"] }
    deny: { scopes: ["*:write"] }
`;

for (const rest of ["allow", "deny"])
  for (const names of ["", "claims: { groups: realm_access.roles, organization: a.b }"])
    test(`a rule that denies one person holds with any claims (default ${rest}, ${names || "usual claims"})`, () => {
      const policy = policyOf(
        `default: ${rest}\n${names}\nrules:${RULES}  - name: not ada\n    for: { users: ["auth0|ada"] }\n    deny: everything\n`,
      );
      const open = policyOf(`default: ${rest}\n${names}\nrules:${RULES}`);
      fc.assert(
        fc.property(request, feature, fc.constantFrom(...known.scopes), (different, wanted, scope) => {
          const ada = requester(different as Parameters<typeof requester>[0]);
          for (const verdict of [
            policy.admits(ada),
            policy.scope(ada, scope),
            policy.feature(ada, wanted),
            policy.explain(ada, wanted).verdict,
          ])
            assert.equal(verdict.allowed, false);
          // Nobody else is harmed: what is decided about them is what it was without that rule.
          const bob = requester({ ...(different as Parameters<typeof requester>[0]), subject: "auth0|bob" });
          assert.deepEqual(policy.feature(bob, wanted).allowed, open.feature(bob, wanted).allowed);
          assert.deepEqual(policy.explain(bob, wanted).verdict, policy.feature(bob, wanted));
        }),
        runs(2_000),
      );
    });

/** Anybody, of any issuer or of none. */
const ISSUERS = ["https://one.example", "https://two.example/", "https://two.example/x"];
const issuer = fc.constantFrom(...ISSUERS);
const anybody: fc.Arbitrary<Requester> = fc
  .record({
    issuer,
    name: text,
    claims: claims as fc.Arbitrary<Record<string, unknown>>,
    by: fc.option(text),
  })
  .chain(({ issuer: from, name: subject, claims: said, by }) => {
    const named = { issuer: from, subject, claims: said };
    const theirs = clientOf(from, by ?? undefined);
    return fc.constantFrom<Requester>(
      { principal: { kind: "user", ...named }, client: theirs },
      { principal: { kind: "workload", ...named }, client: theirs },
      { principal: { kind: "client", clientId: theirs.id, issuer: from, claims: said }, client: theirs },
      { principal: { kind: "client", clientId: subject }, client: { id: subject } },
    );
  });

test("rules by issuer and by kind are for whom they name, whatever is said of them, and an unknown issuer counts against", () => {
  const open = policyOf(`rules:${RULES}`);
  const rules = ISSUERS.flatMap((from) =>
    PRINCIPAL_KINDS.map((of) => {
      const conditions = `{ issuers: ["${from}"], kind: ${of} }`;
      return {
        from,
        of,
        denies: policyOf(`rules:${RULES}  - { name: x, for: ${conditions}, deny: everything }\n`),
        allows: policyOf(`default: deny\nrules: [{ name: x, for: ${conditions}, allow: everything }]`),
      };
    }),
  );
  fc.assert(
    fc.property(anybody, feature, fc.constantFrom(...rules), (who, wanted, { from, of, denies, allows }) => {
      const { principal } = who;
      const isKind = principal.kind === of;
      const isDenied = isKind && (principal.issuer === undefined || principal.issuer === from);
      assert.equal(allows.admits(who).allowed, isKind && principal.issuer === from);
      assert.equal(denies.feature(who, wanted).allowed, isDenied ? false : open.feature(who, wanted).allowed);
      assert.deepEqual(denies.explain(who, wanted).verdict, denies.feature(who, wanted));
    }),
    runs(1_000),
  );
});

test("a pattern for a client of this server never matches another issuer's client of that name", () => {
  const id = fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(id, issuer, (name, from) => {
      fc.pre(!name.includes("*"));
      const policy = policyOf(
        `rules: [{ name: x, for: { clients: [${JSON.stringify(name)}] }, deny: everything }]`,
      );
      const theirs = clientOf(from, name);
      const principal = { kind: "client", clientId: theirs.id, issuer: from, claims: {} } as const;
      assert.equal(policy.admits({ principal, client: theirs }).allowed, true);
    }),
    runs(200),
  );
});

test("one more rule that denies never allows more, and one that allows never allows less", () => {
  const effects = { allow: "deny", deny: "allow" } as const;
  const extra = fc.constantFrom(
    "everything",
    '{ scopes: ["orders:*"] }',
    "{ tools: [list_orders, delete_order] }",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        anybody,
        request.map((different) => requester(different as Parameters<typeof requester>[0])),
      ),
      feature,
      extra,
      fc.constantFrom("allow" as const, "deny" as const),
      (who, wanted, says, rest) => {
        const effect = effects[rest];
        const before = policyOf(`default: ${rest}\nrules:${RULES}`);
        const after = policyOf(`default: ${rest}\nrules:${RULES}  - { name: extra, ${effect}: ${says} }\n`);
        for (const decide of [
          (policy: typeof before) => policy.admits(who).allowed,
          (policy: typeof before) => policy.feature(who, wanted).allowed,
          ...wanted.scopes.flat().map((scope) => (policy: typeof before) => policy.scope(who, scope).allowed),
        ]) {
          const [was, is] = [decide(before), decide(after)];
          assert.ok(effect === "deny" ? was || !is : !was || is, `${effect} ${says}: ${was} became ${is}`);
        }
      },
    ),
    runs(300),
  );
});

test("any text is a policy, or refused with lines", () => {
  const line = fc.constantFrom(
    ...["default: deny", "rules:", "  - name: a", "    for: { groups: [a] }", "    deny: everything"],
    ...[
      "    allow: { tools: ['*'] }",
      "  - &x",
      "  - *x",
      "---",
      "? ",
      "[",
      "{",
      "'",
      "\t",
      "  ",
      "!!set",
      "<<: *x",
    ],
  );
  const file = fc.oneof(
    fc.string({ unit: "binary", maxLength: 200 }),
    fc.array(line, { maxLength: 12 }).map((lines) => lines.join("\n")),
    fc.jsonValue().map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(file, (yaml) => {
      try {
        createPolicy(parsePolicy(yaml, "policy.yaml", known)).admits(requester());
      } catch (error) {
        assert.ok(error instanceof PolicyError, String(error));
        assert.ok(error.problems.length > 0);
        for (const { place } of error.problems) assert.match(String(place), /^policy\.yaml(:\d+)?$/);
      }
    }),
    runs(2_000),
  );
});
