/** Admission by organization and e-mail domain. A claim that is missing or malformed admits nobody. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Membership, membershipProblem } from "../../src/access/membership.ts";

const ANYBODY: Membership = { organizations: [], organizationClaim: "org_id", emailDomains: [] };

const reasonFor = (claims: Record<string, unknown>, membership: Partial<Membership>) =>
  membershipProblem(claims, { ...ANYBODY, ...membership })?.reason;

describe("membership", () => {
  test("without conditions everybody is admitted, even without an e-mail address", () => {
    assert.equal(reasonFor({}, {}), undefined);
    assert.equal(reasonFor({ email: "a@b@c", org_id: 7 }, {}), undefined);
  });

  const verified = (email: unknown) => ({ email, email_verified: true });
  const emails: Array<[string, Record<string, unknown>, string | undefined]> = [
    ["an address of the domain", verified("bob@example.com"), undefined],
    ["in any case", verified("Bob@EXAMPLE.com"), undefined],
    ["verified, as Cognito writes it", { email: "bob@example.com", email_verified: "true" }, undefined],
    ["not verified", { email: "bob@example.com", email_verified: false }, "email_not_verified"],
    ["nothing said about verification", { email: "bob@example.com" }, "email_not_verified"],
    ["verified: 1", { email: "bob@example.com", email_verified: 1 }, "email_not_verified"],
    ["verified: TRUE", { email: "bob@example.com", email_verified: "TRUE" }, "email_not_verified"],
    ["another domain", verified("bob@other.com"), "wrong_email_domain"],
    ["a domain below it", verified("bob@mail.example.com"), "wrong_email_domain"],
    ["a domain that ends with it", verified("bob@notexample.com"), "wrong_email_domain"],
    ["a domain that begins with it", verified("bob@example.com.evil.com"), "wrong_email_domain"],
    ["two @, the last before it", verified("bob@evil.com@example.com"), "wrong_email_domain"],
    ["two @, the first before it", verified("bob@example.com@evil.com"), "wrong_email_domain"],
    ["a quoted @", verified('"bob@evil.com"@example.com'), "wrong_email_domain"],
    ["two addresses", verified("bob@evil.com,a@example.com"), "wrong_email_domain"],
    ["a trailing dot", verified("bob@example.com."), "wrong_email_domain"],
    ["a trailing line break", verified("bob@example.com\n"), "wrong_email_domain"],
    ["a space inside", verified("bob@evil.com @example.com"), "wrong_email_domain"],
    ["a Cyrillic a", verified("bob@ex\u0430mple.com"), "wrong_email_domain"],
    ["a full-width @", verified("bob\uff20example.com"), "wrong_email_domain"],
    ["an ideographic full stop", verified("bob@example\u3002com"), "wrong_email_domain"],
    ["no local part", verified("@example.com"), "wrong_email_domain"],
    ["the domain alone", verified("example.com"), "wrong_email_domain"],
    ["an empty text", verified(""), "wrong_email_domain"],
    ["no address", {}, "wrong_email_domain"],
    ["a list of addresses", verified(["bob@example.com"]), "wrong_email_domain"],
    ["an object that turns into text", verified({ toString: () => "bob@example.com" }), "wrong_email_domain"],
    ["null", verified(null), "wrong_email_domain"],
  ];
  for (const [name, claims, expected] of emails)
    test(`e-mail domain example.com, ${name}: ${expected ?? "admitted"}`, () =>
      assert.equal(reasonFor(claims, { emailDomains: ["example.com"] }), expected));

  test("a letter whose lower case is ASCII is no ASCII letter", () =>
    assert.equal(
      reasonFor(verified("bob@\u212aiwi.com"), { emailDomains: ["kiwi.com"] }),
      "wrong_email_domain",
    ));

  const auth0: Array<[string, Record<string, unknown>, string, boolean]> = [
    ["its id", { org_id: "org_Abc" }, "org_Abc", true],
    ["its id in another case", { org_id: "org_abc" }, "org_Abc", false],
    ["another id", { org_id: "org_other" }, "org_Abc", false],
    ["its id as the name of another", { org_id: "org_other", org_name: "org_abc" }, "org_abc", false],
    ["its name", { org_id: "org_1", org_name: "acme" }, "acme", true],
    ["its name in another case", { org_name: "acme" }, "ACME", true],
    ["another name", { org_name: "acme2" }, "acme", false],
    ["its name as the id of another", { org_id: "acme" }, "acme", false],
    ["a Kelvin sign", { org_name: "\u212aiwi" }, "kiwi", false],
    ["a list", { org_name: ["acme"] }, "acme", false],
    ["none", {}, "acme", false],
  ];
  for (const [name, claims, auth0Organization, admitted] of auth0)
    test(`Auth0's organization ${auth0Organization}, ${name}: ${admitted ? "admitted" : "refused"}`, () =>
      assert.equal(reasonFor(claims, { auth0Organization }), admitted ? undefined : "wrong_organization"));

  const organizations: Array<[string, Record<string, unknown>, Partial<Membership>, boolean]> = [
    ["one of them", { org_id: "b" }, {}, true],
    ["none of them", { org_id: "c" }, {}, false],
    ["no organization", {}, {}, false],
    ["another case", { org_id: "A" }, {}, false],
    ["a list with one of them", { org_id: ["a"] }, {}, false],
    ["a claim of another name", { org_id: "c", hd: "a" }, { organizationClaim: "hd" }, true],
    ["only the usual claim, where another counts", { org_id: "a" }, { organizationClaim: "hd" }, false],
    ["a nested claim", { realm: { org: "a" } }, { organizationClaim: "realm.org" }, true],
    ["undefined, where nothing is", {}, { organizationClaim: "constructor.name" }, false],
  ];
  for (const [name, claims, more, admitted] of organizations)
    test(`organizations a and b, ${name}: ${admitted ? "admitted" : "refused"}`, () =>
      assert.equal(
        reasonFor(claims, { organizations: ["a", "b"], ...more }),
        admitted ? undefined : "wrong_organization",
      ));

  test("every condition must be met", () => {
    const both = { organizations: ["a"], emailDomains: ["example.com"] };
    assert.equal(reasonFor({ ...verified("bob@example.com"), org_id: "b" }, both), "wrong_organization");
    assert.equal(reasonFor({ ...verified("bob@other.com"), org_id: "a" }, both), "wrong_email_domain");
    assert.equal(
      reasonFor({ org_id: "b" }, { organizations: ["b"], auth0Organization: "org_a" }),
      "wrong_organization",
    );
  });

  test("the message says who signed in and what to do, and names no other organization", () => {
    const message = (emailDomains: string[], email: unknown) =>
      membershipProblem({ email }, { ...ANYBODY, emailDomains })?.message;
    assert.equal(
      message(["example.com"], "bob@other.com"),
      "You signed in as bob@other.com, and this server admits e-mail addresses of example.com only.",
    );
    assert.doesNotMatch(message(["one.com", "two.com"], "bob@other.com") ?? "", /one\.com|two\.com/);
    assert.doesNotMatch(message(["example.com"], "bob@other.com\u202emoc.elpmaxe") ?? "", /\u202e/);
  });
});
