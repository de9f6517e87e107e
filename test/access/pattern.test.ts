/** A pattern matches what an operator means by it, and nothing else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientPattern, emailPattern, type Pattern, uriPattern, wildcard } from "../../src/access/pattern.ts";
import { fc } from "../support/property.ts";

type Parse = (text: string) => Pattern | undefined;

const matches: Array<[Parse, string, string]> = [
  [wildcard, "a", "a"],
  [wildcard, "*", ""],
  [wildcard, "*", "any/thing\nat all"],
  [wildcard, "auth0|*", "auth0|123"],
  [wildcard, "*:write", "orders:write"],
  [wildcard, "a*c", "ac"],
  [wildcard, "a*b*c", "a-b-b-c"],
  [wildcard, "a**c", "abc"],
  [wildcard, "*ab*ab", "abxabyab"],
  [wildcard, "a.c+(x)[y]", "a.c+(x)[y]"],
  [emailPattern, "*@Contractor.example.com", "Bob@CONTRACTOR.example.com"],
  [emailPattern, "müller@example.com", "MÜLLER@example.com"],
  [uriPattern, "https://claude.ai/api/*", "https://claude.ai/api/mcp/auth_callback"],
  [uriPattern, "http://localhost/*", "http://localhost:5123/cb"],
  [uriPattern, "https://*.example.com/*", "https://app.example.com/cb"],
  [uriPattern, "cursor://anysphere/cb", "cursor://anysphere/cb"],
  [clientPattern, "https://claude.ai/*", "https://claude.ai/oauth/client.json"],
  [clientPattern, "https://claude.ai/*", "HTTPS://CLAUDE.AI/oauth/client.json"],
  [clientPattern, "https://*.example.com/*", "https://app.example.com/client"],
  [clientPattern, "https://claude.ai/client", "https://claude.ai/client"],
  [clientPattern, "team-*", "team-blue"],
  [clientPattern, "*", "https://claude.ai/client"],
];
for (const [parse, pattern, value] of matches)
  test(`${parse.name} ${pattern} matches ${JSON.stringify(value)}`, () =>
    assert.equal(parse(pattern)?.matches(value), true));

const differs: Array<[Parse, string, string]> = [
  [wildcard, "a", "A"],
  [wildcard, "a", "ab"],
  [wildcard, "a", "ba"],
  [wildcard, "a.c", "abc"],
  [wildcard, "aba*aba", "aba"],
  [wildcard, "a*b*b", "ab"],
  [wildcard, "*ab*ab", "ab"],
  [wildcard, "*:write", "orders:write:not"],
  [wildcard, "auth0|*", "google|auth0|1"],
  [wildcard, "", "a"],
  // A regular expression with as many stars would search for longer than the universe is old.
  [wildcard, `${"*a".repeat(30)}*b`, "a".repeat(200_000)],
  [emailPattern, "*@example.com", "bob@example.com.evil.example"],
  [emailPattern, "*@example.com", "bob@evilexample.com"],
  // U+212A, the Kelvin sign: another mailbox, though its lower case is a "k".
  [emailPattern, "kate@example.com", "\u212aate@example.com"],
  [uriPattern, "https://claude.ai/*", "https://claude.ai.evil.com/x"],
  [uriPattern, "https://claude.ai/*", "https://claude.ai@evil.com/x"],
  [uriPattern, "https://claude.ai/*", "https://claude.ai:8443/x"],
  [uriPattern, "https://claude.ai/*", "http://claude.ai/x"],
  [uriPattern, "https://claude.ai/*", "https://evil.com/https://claude.ai/x"],
  [uriPattern, "https://claude.ai/api/*", "https://claude.ai/api/../x"],
  [uriPattern, "http://localhost/*", "http://localhost.evil.com/x"],
  [uriPattern, "https://claude.ai/*", ""],
  [uriPattern, "https://claude.ai/*", "not a URI"],
  [clientPattern, "https://claude.ai/*", "https://claude.ai.evil.com/client"],
  [clientPattern, "https://*.example.com/*", "https://evil.com/.example.com/client"],
  [clientPattern, "https://*.example.com/*", "https://evil.com?.example.com/client"],
  [clientPattern, "https://claude.ai/*", "an-id"],
];
for (const [parse, pattern, value] of differs)
  test(`${parse.name} ${pattern.slice(0, 60)} does not match ${JSON.stringify(value.slice(0, 60))}`, () =>
    assert.equal(parse(pattern)?.matches(value), false));

const refused: Array<[Parse, string]> = [
  [uriPattern, "claude.ai"],
  [uriPattern, "*"],
  [uriPattern, "https://claude.ai*"],
  [uriPattern, "https://claude ai/*"],
  // Nothing could ever match these, so a rule that denies would deny nothing.
  [uriPattern, "https://Claude.ai/*"],
  [uriPattern, "https://claude.ai:443/*"],
  [uriPattern, "https://bücher.example/*"],
  [uriPattern, "https://claude.ai/a/../b"],
  [clientPattern, "https://claude.ai*"],
  [clientPattern, "https://*/client"],
  [clientPattern, "*://claude.ai/*"],
  [clientPattern, "https://CLAUDE.ai/*"],
];
for (const [parse, text] of refused)
  test(`${parse.name} refuses ${text}`, () => assert.equal(parse(text), undefined));

test("a wildcard matches exactly what the same regular expression does", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "*"), maxLength: 8 });
  const value = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 12 });
  fc.assert(
    fc.property(letters, value, (pattern, text) => {
      const expected = new RegExp(`^${pattern.replace(/\*+/g, ".*")}$`).test(text);
      assert.equal(wildcard(pattern).matches(text), expected);
    }),
    { numRuns: 5_000 },
  );
});
