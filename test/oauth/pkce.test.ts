/** PKCE with S256 (RFC 7636). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CodeChallenge, CodeVerifier, codeChallengeOf, verifierMatches } from "../../src/oauth/pkce.ts";

// RFC 7636 Appendix B.
const VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

describe("PKCE", () => {
  test("the example of RFC 7636 Appendix B", () => {
    assert.equal(codeChallengeOf(VERIFIER), CHALLENGE);
    assert.ok(verifierMatches(VERIFIER, CHALLENGE));
  });

  const wrong: Array<[string, string, string]> = [
    ["the challenge itself, as plain would have it", CHALLENGE, CHALLENGE],
    ["the verifier on both sides, as plain would have it", VERIFIER, VERIFIER],
    ["one letter off", `${VERIFIER.slice(0, -1)}j`, CHALLENGE],
    ["another case", VERIFIER.toLowerCase(), CHALLENGE],
    ["a padded challenge", VERIFIER, `${CHALLENGE}=`],
    ["a cut challenge", VERIFIER, CHALLENGE.slice(0, -1)],
    ["the challenge in base64 instead of base64url", VERIFIER, CHALLENGE.replace("-", "+")],
    ["nothing", "", CHALLENGE],
    ["no challenge", VERIFIER, ""],
    ["a challenge of other characters but the same length in letters", VERIFIER, "é".repeat(43)],
  ];
  for (const [name, verifier, challenge] of wrong)
    test(`${name} does not match`, () => assert.equal(verifierMatches(verifier, challenge), false));

  test("a verifier has 43 to 128 unreserved characters (§4.1)", () => {
    for (const good of [VERIFIER, "a".repeat(43), "a".repeat(128), "-._~".repeat(11)])
      assert.ok(CodeVerifier.safeParse(good).success, good);
    for (const bad of [
      "",
      "a".repeat(42),
      "a".repeat(129),
      `${VERIFIER} `,
      `${VERIFIER}\n`,
      `${VERIFIER}=`,
      "é".repeat(43),
    ])
      assert.ok(!CodeVerifier.safeParse(bad).success, bad);
  });

  test("an S256 challenge has exactly 43 base64url characters (§4.2)", () => {
    assert.ok(CodeChallenge.safeParse(CHALLENGE).success);
    for (const bad of [
      "",
      CHALLENGE.slice(1),
      `${CHALLENGE}a`,
      `${CHALLENGE.slice(1)}=`,
      `${CHALLENGE.slice(1)}.`,
      `${CHALLENGE}\n`,
    ])
      assert.ok(!CodeChallenge.safeParse(bad).success, bad);
  });
});
