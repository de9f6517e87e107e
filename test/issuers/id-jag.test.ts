/** Which identity assertions (ID-JAG) of a trusted issuer are believed. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { SignJWT } from "jose";
import { verifyIdJag } from "../../src/issuers/id-jag.ts";
import { createIssuerAccess } from "../../src/issuers/issuer-keys.ts";
import { JwtRefused } from "../../src/issuers/jwt.ts";
import type { IdJagIssuer } from "../../src/issuers/trusted-issuer.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { silent } from "../clients/support.ts";
import { type Claims, idJagIssuer, newKey, startTokenIssuer } from "../support/token-issuer.ts";

const SERVER = "https://mcp.example.com";
const CLIENT = "https://claude.example/client.json";
const NOW = 1_800_000_000;

const company = await startTokenIssuer({ after }, () => NOW);
const settings = idJagIssuer(company);
const runtime = { now: () => NOW, monotonicNow: () => NOW, log: silent };

const GOOD: Claims = { sub: "alice", aud: SERVER, client_id: CLIENT, scope: "weather:read" };
const TYPE = { typ: "oauth-id-jag+jwt" };

function verify(assertion: string, changes: Partial<IdJagIssuer> = {}) {
  const issuer = { ...settings, ...changes };
  return verifyIdJag(assertion, issuer, {
    keys: createIssuerAccess(issuer, runtime).keys,
    audience: SERVER,
    now: NOW,
  });
}

async function refusedBecause(reason: string, assertion: string, changes: Partial<IdJagIssuer> = {}) {
  await assert.rejects(verify(assertion, changes), (error) => {
    assert.ok(error instanceof JwtRefused, String(error));
    assert.equal(error.reason, reason, error.message);
    return true;
  });
}

describe("an identity assertion", () => {
  test("names the person, the client, the resource and the scopes", async () => {
    const assertion = await company.sign({ ...GOOD, resource: `${SERVER}/mcp` }, TYPE);
    const { issuer, subject, clientId, resource, scopes, id } = await verify(assertion);
    assert.deepEqual(
      { issuer, subject, clientId, resource, scopes },
      {
        issuer: company.issuer,
        subject: "alice",
        clientId: CLIENT,
        resource: `${SERVER}/mcp`,
        scopes: ["weather:read"],
      },
    );
    assert.deepEqual([id.issuer, id.expiresAt], [company.issuer, NOW + 300]);
  });

  test("may leave the resource and the scopes open", async () => {
    const assertion = await company.sign({ ...GOOD, scope: undefined }, TYPE);
    const { resource, scopes } = await verify(assertion);
    assert.deepEqual({ resource, scopes }, { resource: undefined, scopes: undefined });
  });

  for (const [how, aud] of [
    ["with a slash", `${SERVER}/`],
    ["in a list", [SERVER]],
  ] as const)
    test(`may name this server ${how}`, async () => {
      await verify(await company.sign({ ...GOOD, aud }, TYPE));
    });

  test("can name people by their verified e-mail address, where the operator chose that", async () => {
    const named = { ...GOOD, email: "alice@example.com", email_verified: true };
    const byEmail = { subject: "email" } as const;
    assert.equal((await verify(await company.sign(named, TYPE), byEmail)).subject, "alice@example.com");
    for (const changed of [
      { email_verified: false },
      { email_verified: undefined },
      { email: undefined },
      { email: "alice@example.com, bob@example.com" },
      { email: "al\u001b[2Jice@example.com" },
      { email: `${"a".repeat(300)}@example.com` },
    ])
      await refusedBecause("assertion_claims", await company.sign({ ...named, ...changed }, TYPE), byEmail);
  });

  test("vouches for addresses in its own domains, and never in those of an identity provider", async () => {
    const named = { ...GOOD, email: "alice@Example.com", email_verified: true };
    const email_verified = async (changes: Partial<IdJagIssuer>) =>
      (await verify(await company.sign(named, TYPE), changes)).claims.email_verified;
    assert.equal(await email_verified({}), true);
    assert.equal(await email_verified({ vouchedEmailDomains: ["example.com"] }), true);
    assert.equal(await email_verified({ vouchedEmailDomains: ["example.org"] }), false);
    assert.equal(await email_verified({ emailDomainsOfOthers: ["example.com"] }), false);
    const shared = { vouchedEmailDomains: ["example.com"], emailDomainsOfOthers: ["example.com"] };
    assert.equal(await email_verified(shared), true, "the operator says so");
    await refusedBecause("assertion_claims", await company.sign(named, TYPE), {
      subject: "email",
      vouchedEmailDomains: ["example.org"],
    });
  });

  // As far in the future as clocks may differ, and more.
  const LATER = { iat: NOW + 29, exp: NOW + 331 };
  const REFUSED: ReadonlyArray<[what: string, reason: string, changes: Claims, header?: { typ: string }]> = [
    ["an ID token", "jwt_wrong_type", {}, { typ: "JWT" }],
    ["an access token", "jwt_wrong_type", {}, { typ: "at+jwt" }],
    ["one without a type", "jwt_wrong_type", {}, { typ: "" }],
    ["one for another server", "jwt_wrong_audience", { aud: "https://other.example.com" }],
    ["one for two servers", "jwt_wrong_audience", { aud: [SERVER, "https://other.example.com"] }],
    ["one for nobody", "jwt_wrong_audience", { aud: undefined }],
    ["one for an empty list", "jwt_wrong_audience", { aud: [] }],
    ["one for a path of this server", "jwt_wrong_audience", { aud: `${SERVER}/mcp` }],
    ["one whose issuer is another", "jwt_wrong_issuer", { iss: "https://evil.example.com" }],
    ["one that has expired", "jwt_expired", { iat: NOW - 400, exp: NOW - 100 }],
    ["one that never expires", "jwt_without_expiry", { exp: undefined }],
    ["one whose end is a text", "jwt_without_expiry", { exp: String(NOW + 300) }],
    ["one that is not yet valid", "jwt_not_yet_valid", { nbf: NOW + 100 }],
    ["one from the future", "jwt_issued_in_future", { iat: NOW + 100 }],
    ["one without the time of its issue", "jwt_lifetime_too_long", { iat: undefined }],
    ["one that is good for a day", "jwt_lifetime_too_long", { exp: NOW + 86_400 }],
    [
      "one that was good for longer than five minutes",
      "jwt_lifetime_too_long",
      { iat: NOW - 290, exp: NOW + 20 },
    ],
    ["one bound to a key", "jwt_sender_constrained", { cnf: { jkt: "x" } }],
    ["one that is good from now for longer than five minutes", "jwt_lifetime_too_long", LATER],
    ["one with authorization details", "assertion_claims", { authorization_details: [{ type: "x" }] }],
    ["one without a person", "assertion_claims", { sub: undefined }],
    ["one with an empty person", "assertion_claims", { sub: "" }],
    ["one with a person of 300 characters", "assertion_claims", { sub: "a".repeat(300) }],
    ["one with a person in control characters", "assertion_claims", { sub: "a\nb" }],
    ["one without a client", "assertion_claims", { client_id: undefined }],
    ["one whose client is a list", "assertion_claims", { client_id: [CLIENT] }],
    ["one with an empty client", "assertion_claims", { client_id: "" }],
    ["one with a client of 5,000 characters", "assertion_claims", { client_id: "a".repeat(5_000) }],
    ["one with a scope of 9,000 characters", "assertion_claims", { scope: "a ".repeat(4_500).trim() }],
    ["one without an id", "assertion_claims", { jti: undefined }],
    ["one with an empty id", "assertion_claims", { jti: "" }],
    ["one with an id of 10,000 characters", "assertion_claims", { jti: "a".repeat(10_000) }],
    ["one for two resources", "assertion_claims", { resource: ["https://a.example", "https://b.example"] }],
    ["one whose scope is a list", "assertion_claims", { scope: ["weather:read"] }],
    ["one whose scope is not one", "assertion_claims", { scope: 'weather"read' }],
  ];
  for (const [what, reason, changes, header = TYPE] of REFUSED)
    test(`is refused as ${what}`, async () => {
      const known = company.asked.get("/keys");
      await refusedBecause(reason, await company.sign({ ...GOOD, ...changes }, header));
      assert.ok(
        reason === "assertion_claims" || company.asked.get("/keys") === known,
        "no key was looked up",
      );
    });

  test("is refused under the key of somebody else, known or not", async () => {
    const stranger = await newKey();
    await refusedBecause("jwt_unknown_key", await company.sign(GOOD, { ...TYPE, key: stranger }));
    const kid = JSON.parse(atob((await company.sign(GOOD)).split(".")[0] ?? "")).kid;
    await refusedBecause("jwt_signature", await company.sign(GOOD, { ...TYPE, key: stranger, kid }));
  });

  test("of one issuer is refused under the key of another that is trusted, too", async (t) => {
    const other = await startTokenIssuer(t, () => NOW);
    const assertion = await other.sign({ ...GOOD, iss: company.issuer }, TYPE);
    await refusedBecause("jwt_unknown_key", assertion);
    await refusedBecause("jwt_wrong_issuer", assertion, idJagIssuer(other));
  });

  test("is refused unsigned, and signed with the public key as a secret", async () => {
    const claims = { iss: company.issuer, iat: NOW, exp: NOW + 300, jti: "1", ...GOOD };
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const unsigned = `${part({ alg: "none", ...TYPE })}.${part(claims)}.`;
    await refusedBecause("jwt_algorithm", unsigned);
    const publicKey = new TextEncoder().encode(await (await fetch(`${company.issuer}/keys`)).text());
    const symmetric = await new SignJWT(claims).setProtectedHeader({ alg: "HS256", ...TYPE }).sign(publicKey);
    await refusedBecause("jwt_algorithm", symmetric);
  });

  for (const text of ["", "a", "a.b", "a.b.c", "..", "a.b.c.d.e", "é".repeat(100), "x".repeat(20_000)])
    test(`is refused as the text ${JSON.stringify(text.slice(0, 10))} of ${text.length} characters`, async () => {
      await refusedBecause("jwt_malformed", text);
    });
});

describe("the keys of a trusted issuer", () => {
  test("are fetched once for a flood of made-up names, and a good assertion passes meanwhile", async (t) => {
    const issuer = await startTokenIssuer(t, () => NOW);
    const { keys } = createIssuerAccess(idJagIssuer(issuer), runtime);
    const check = async (kid?: string) =>
      verifyIdJag(await issuer.sign(GOOD, { ...TYPE, ...(kid && { kid }) }), idJagIssuer(issuer), {
        keys,
        audience: SERVER,
        now: NOW,
      });
    const flood = await Promise.allSettled(
      Array.from({ length: 100 }, (_, index) => check(`made-up-${index}`)),
    );
    for (const outcome of flood)
      assert.equal(outcome.status === "rejected" && outcome.reason.reason, "jwt_unknown_key");
    assert.equal(issuer.asked.get("/keys"), 1);
    await check();
  });

  test("are fetched again for a new one after ten seconds", async (t) => {
    let monotonic = NOW;
    const issuer = await startTokenIssuer(t, () => NOW);
    const { keys } = createIssuerAccess(idJagIssuer(issuer), { ...runtime, monotonicNow: () => monotonic });
    const check = async () =>
      verifyIdJag(await issuer.sign(GOOD, TYPE), idJagIssuer(issuer), { keys, audience: SERVER, now: NOW });
    await check();
    await issuer.rotate();
    await assert.rejects(check(), JwtRefused);
    monotonic += 10;
    await check();
    assert.equal(issuer.asked.get("/keys"), 2);
  });

  for (const trouble of [503, 404, "silence"] as const)
    test(`that are out of reach (${trouble}) are an outage, and no judgement of the assertion`, async (t) => {
      const issuer = await startTokenIssuer(t, () => NOW);
      issuer.trouble = trouble;
      const access = createIssuerAccess({ ...idJagIssuer(issuer), timeoutSeconds: 0.2 }, runtime);
      const assertion = await issuer.sign(GOOD, TYPE);
      const attempt = verifyIdJag(assertion, idJagIssuer(issuer), {
        keys: access.keys,
        audience: SERVER,
        now: NOW,
      });
      await assert.rejects(attempt, UnavailableError);
    });

  test("are not taken from metadata of another issuer", async (t) => {
    const issuer = await startTokenIssuer(t, () => NOW);
    const otherName = { ...idJagIssuer(issuer), issuer: issuer.issuer.replace("localhost", "127.0.0.1") };
    const assertion = await issuer.sign({ ...GOOD, iss: otherName.issuer }, TYPE);
    const { keys } = createIssuerAccess(otherName, runtime);
    await assert.rejects(
      verifyIdJag(assertion, otherName, { keys, audience: SERVER, now: NOW }),
      UnavailableError,
    );
  });
});
