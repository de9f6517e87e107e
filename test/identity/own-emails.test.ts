/** For which addresses the word of one of several identity providers counts, and what rules make of it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { emailAnswer } from "../../src/access/claims.ts";
import { emailPattern } from "../../src/access/pattern.ts";
import type { ConfiguredProvider } from "../../src/identity/identity-providers.ts";
import { withOwnEmails } from "../../src/identity/own-emails.ts";

function provider(claims: object, emailDomains?: string[]): ConfiguredProvider {
  const identify = async () => ({ claims });
  return { settings: { ...(emailDomains && { emailDomains }) }, identify } as never;
}

/** What is left of what somebody else's provider says, beside that of acme.com. */
async function saidByAnother(said: object): Promise<object> {
  const another = provider(said);
  const identity = await withOwnEmails(another, [provider({}, ["acme.com"]), another]).identify(
    new URLSearchParams() as never,
    {} as never,
  );
  return identity.claims;
}

describe("an identity provider beside one that has acme.com", () => {
  const isOfAcme = (claims: object) => {
    const { names } = emailAnswer(claims);
    return names.some(emailPattern("*@acme.com").matches);
  };

  for (const email of [
    "boss@acme.com",
    "Boss@ACME.com",
    "me@evil.example,boss@acme.com",
    "me@evil.example@acme.com",
    "the boss@acme.com",
    '"me@evil.example"@acme.com',
    ["boss@acme.com"],
  ])
    for (const email_verified of [true, "true"])
      test(`does not vouch for ${JSON.stringify(email)}, verified: ${JSON.stringify(email_verified)}`, async () => {
        assert.equal(isOfAcme(await saidByAnother({ email, email_verified })), false);
      });

  test("vouches for its own people", async () => {
    const said = { email: "bob@other.example", email_verified: true };
    assert.deepEqual(await saidByAnother(said), said);
  });

  test("says nothing of an address that it leaves out", async () => {
    assert.deepEqual(await saidByAnother({ sub: "bob", email_verified: true }), { sub: "bob" });
  });
});
