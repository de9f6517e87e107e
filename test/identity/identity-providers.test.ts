/** Identity providers by name: which one a record, a token or a new sign-in means. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UnsecuredJWT } from "jose";
import { pino } from "pino";
import { loadConfig } from "../../src/config/config.ts";
import { createIdentityProviders, openIdentityProviders } from "../../src/identity/identity-providers.ts";
import { NOTHING_WORKS } from "../doctor/support.ts";

const { identityProviders } = loadConfig({ ...NOTHING_WORKS, OIDC_ISSUER: "https://login.example.com/main" });
const [fromEnvironment] = identityProviders;
const runtime = { now: () => 0, randomBytes: Buffer.alloc, log: pino({ level: "silent" }) };
const all = openIdentityProviders(
  [
    { ...fromEnvironment, id: "staff" },
    { ...fromEnvironment, id: "partners", label: "Partners", issuer: "https://partners.example.com" },
  ],
  "https://mcp.example.com",
  runtime,
);
const [staff, partners] = all;
const providers = createIdentityProviders(all);

test("the environment has one, which is called default", () => {
  assert.deepEqual(
    identityProviders.map(({ id }) => id),
    ["default"],
  );
});

test("each is found by its name; no name, and the name default, mean the first", () => {
  assert.equal(providers.get("staff"), staff);
  assert.equal(providers.get("partners"), partners);
  assert.equal(providers.get(undefined), staff);
  assert.equal(providers.get("default"), staff);
  for (const name of ["gone", "", "__proto__", "constructor"]) assert.equal(providers.get(name), undefined);
});

test("the default one is answered at /auth/callback, every other at its own redirect URI", () => {
  assert.deepEqual(
    all.map(({ callbackUrl }) => callbackUrl),
    ["https://mcp.example.com/auth/callback", "https://mcp.example.com/auth/callback/partners"],
  );
});

test("people are told the host, and what they call it", () => {
  assert.deepEqual(
    all.map(({ shownAs }) => shownAs),
    ["login.example.com", "Partners (partners.example.com)"],
  );
});

test("a token is for the provider that it names as its issuer; for the default one if it names none of them", () => {
  const from = (issuer: string) => new UnsecuredJWT({}).setIssuer(issuer).encode();
  assert.equal(providers.ofToken(from("https://partners.example.com")), partners);
  assert.equal(providers.ofToken(from("https://evil.example.com")), staff);
  assert.equal(providers.ofToken("no token"), staff);
});
