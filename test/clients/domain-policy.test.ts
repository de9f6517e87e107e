/** The trust policy by domain: patterns match no other host. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type DomainPolicy,
  domainRefusal,
  parseDomainPattern,
} from "../../src/clients/metadata-documents/domain-policy.ts";

function pattern(text: string): string {
  const result = parseDomainPattern(text);
  return "pattern" in result ? result.pattern : assert.fail(result.problem);
}

describe("patterns", () => {
  const good: Record<string, string> = {
    "example.com": "example.com",
    " Example.COM. ": "example.com",
    "*.example.com": "*.example.com",
    "*.Example.Com.": "*.example.com",
    "bücher.example": "xn--bcher-kva.example",
    "*.bücher.example": "*.xn--bcher-kva.example",
    intranet: "intranet",
  };
  for (const [text, expected] of Object.entries(good))
    test(`"${text}" is ${expected}`, () => assert.equal(pattern(text), expected));

  const bad = [
    "",
    "*",
    "*.",
    "*.com",
    "*example.com",
    "a.*.example.com",
    "**.example.com",
    "*.*.example.com",
  ];
  const notDomains = [
    "https://example.com",
    "example.com/path",
    "example.com:443",
    "user@example.com",
    "a b.example",
  ];
  const odd = [
    ".example.com",
    "example..com",
    "..",
    "127.0.0.1",
    "*.0.0.1",
    "2130706433",
    "[::1]",
    "ex%61mple.com",
    "a\\b.example",
  ];
  for (const text of [...bad, ...notDomains, ...odd])
    test(`"${text}" is refused, and the message says it back`, () => {
      const result = parseDomainPattern(text);
      assert.ok("problem" in result, JSON.stringify(result));
      assert.ok(result.problem.includes(`"${text}"`));
    });
});

describe("policies", () => {
  const policy = (allow: string[] | "any", deny: string[] = []): DomainPolicy => ({
    allow: allow === "any" ? allow : allow.map(pattern),
    deny: deny.map(pattern),
  });
  const table: Array<[host: string, DomainPolicy, refusal: ReturnType<typeof domainRefusal>]> = [
    ["anything.example", policy("any"), undefined],
    ["anything.example", policy([]), "domain_not_allowed"],
    ["example.com", policy(["example.com"]), undefined],
    ["EXAMPLE.com", policy(["example.com"]), undefined],
    ["example.com.", policy(["example.com"]), undefined],
    ["sub.example.com", policy(["example.com"]), "domain_not_allowed"],
    ["evilexample.com", policy(["example.com"]), "domain_not_allowed"],
    ["example.com.evil.net", policy(["example.com"]), "domain_not_allowed"],
    ["example.co", policy(["example.com"]), "domain_not_allowed"],
    ["sub.example.com", policy(["*.example.com"]), undefined],
    ["a.b.example.com", policy(["*.example.com"]), undefined],
    ["SUB.Example.com.", policy(["*.example.com"]), undefined],
    ["example.com", policy(["*.example.com"]), "domain_not_allowed"],
    ["evilexample.com", policy(["*.example.com"]), "domain_not_allowed"],
    ["sub.example.com.evil.net", policy(["*.example.com"]), "domain_not_allowed"],
    ["xn--bcher-kva.example", policy(["bücher.example"]), undefined],
    ["bücher.example", policy(["xn--bcher-kva.example"]), undefined],
    ["evil.example", policy("any", ["evil.example"]), "domain_denied"],
    ["EVIL.example.", policy("any", ["evil.example"]), "domain_denied"],
    ["sub.evil.example", policy("any", ["evil.example"]), undefined],
    ["sub.evil.example", policy("any", ["*.evil.example"]), "domain_denied"],
    ["bad.example.com", policy(["*.example.com"], ["bad.example.com"]), "domain_denied"],
    ["good.example.com", policy(["*.example.com"], ["bad.example.com"]), undefined],
    ["example.com", policy(["example.com"], ["example.com"]), "domain_denied"],
  ];
  for (const [host, domains, refusal] of table)
    test(`${host} with ${JSON.stringify(domains)}: ${refusal ?? "welcome"}`, () => {
      assert.equal(domainRefusal(host, domains), refusal);
    });
});
