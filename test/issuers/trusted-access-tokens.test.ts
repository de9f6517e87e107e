/** Which issuer is asked about a token that was not issued here, how often, and what its trouble means. */
import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";
import { jwtVerify } from "jose";
import { networksOf } from "../../src/http/networks.ts";
import { JwtRefused } from "../../src/issuers/jwt.ts";
import { trustedAccessTokens } from "../../src/issuers/trusted-access-tokens.ts";
import type { AccessTokenIssuer } from "../../src/issuers/trusted-issuer.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { silent } from "../clients/support.ts";
import { lookUpClient, newKey, startTokenIssuer, type TokenIssuer } from "../support/token-issuer.ts";

const RESOURCE = "https://mcp.example.com/mcp";
let now = 1_800_000_000;
const [one, other] = [
  await startTokenIssuer({ after }, () => now),
  await startTokenIssuer({ after }, () => now),
];

const GOOD = { sub: "alice", aud: RESOURCE, scope: "read:all", client_id: "app" };
const TYPE = { typ: "at+jwt" };

function settingsOf({ issuer }: TokenIssuer, changes: Partial<AccessTokenIssuer> = {}): AccessTokenIssuer {
  return {
    accept: "access-token",
    issuer,
    algorithms: ASYMMETRIC_ALGORITHMS,
    timeoutSeconds: 10,
    types: ["at+jwt"],
    scopeClaims: ["scope"],
    scopes: new Map([["read:all", ["weather:read"]]]),
    ...changes,
  };
}

function tokensOf(...issuers: AccessTokenIssuer[]) {
  return trustedAccessTokens({
    issuers,
    resource: RESOURCE,
    now: () => now,
    monotonicNow: () => now,
    randomBytes,
    log: silent,
    keepClaims: (claims) => ({ ...claims }),
    networksOf,
  });
}

const because = (reason: string) => (error: unknown) => {
  assert.ok(error instanceof JwtRefused, String(error));
  assert.equal(error.reason, reason, error.message);
  return true;
};

describe("a JWT", () => {
  test("is for the issuer that it names, of several", async () => {
    const tokens = tokensOf(settingsOf(one), settingsOf(other));
    for (const issuer of [one, other])
      assert.equal((await tokens.verify(await issuer.sign(GOOD, TYPE))).issuer, issuer.issuer);
    const forged = await other.sign({ ...GOOD, iss: one.issuer }, TYPE);
    await assert.rejects(tokens.verify(forged), because("jwt_unknown_key"));
  });

  test("of an issuer that is not trusted is nobody's, and nothing is fetched for it", async () => {
    const tokens = tokensOf(settingsOf(one));
    const token = await other.sign(GOOD, TYPE);
    const asked = [...other.asked.values()];
    assert.equal(tokens.recognizes(token), false);
    await assert.rejects(tokens.verify(token), because("jwt_wrong_issuer"));
    assert.deepEqual([...other.asked.values()], asked);
  });

  test("that was verified is good until it ends while its issuer's keys are out of reach", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const tokens = tokensOf(settingsOf(issuer));
    const token = await issuer.sign({ ...GOOD, exp: now + 3_600 }, TYPE);
    await tokens.verify(token);
    issuer.trouble = 503;
    await tokens.verify(token);
    now += 3_599;
    await tokens.verify(token);
    now += 100;
    await assert.rejects(tokens.verify(token), because("jwt_expired"));
  });

  test("is refused within twenty minutes after its issuer withdrew the key", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const tokens = tokensOf(settingsOf(issuer));
    const token = await issuer.sign({ ...GOOD, exp: now + 86_400 }, TYPE);
    await tokens.verify(token);
    await issuer.rotate({ drop: true });
    for (let minutes = 0; minutes < 20; minutes += 5) {
      now += 300;
      await tokens.verify(token).catch(() => {});
    }
    now += 11;
    await assert.rejects(tokens.verify(token), because("jwt_unknown_key"));
  });

  test("costs one fetch of the keys, however many come at once", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const tokens = tokensOf(settingsOf(issuer));
    const signed = await Promise.all(Array.from({ length: 20 }, () => issuer.sign(GOOD, TYPE)));
    await Promise.all([...signed, ...signed].map((token) => tokens.verify(token)));
    assert.equal(issuer.asked.get("/keys"), 1);
  });

  test("is an outage while the keys are out of reach, and is judged after it", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const tokens = tokensOf(settingsOf(issuer));
    const token = await issuer.sign(GOOD, TYPE);
    issuer.trouble = 503;
    await assert.rejects(tokens.verify(token), UnavailableError);
    issuer.trouble = undefined;
    now += 20;
    await tokens.verify(token);
  });

  test("with a changed letter is not the one that was verified", async () => {
    const tokens = tokensOf(settingsOf(one));
    const token = await one.sign(GOOD, TYPE);
    await tokens.verify(token);
    const [header, payload = "", signature = ""] = token.split(".");
    const changed = `${signature[0] === "A" ? "B" : "A"}${signature.slice(1)}`;
    await assert.rejects(tokens.verify(`${header}.${payload}.${changed}`), because("jwt_signature"));
    const claims = { ...JSON.parse(atob(payload)), sub: "root" };
    const forged = Buffer.from(JSON.stringify(claims)).toString("base64url");
    await assert.rejects(tokens.verify(`${header}.${forged}.${signature}`), because("jwt_signature"));
  });
});

describe("an opaque token", () => {
  const introspection = { client: lookUpClient("mcp server", "s:e+c%ret") };
  const ACTIVE = { active: true, exp: now + 10_000, ...GOOD };

  test("is looked up at the issuer, by its client", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    issuer.introspected.set("opaque", { ...ACTIVE, iss: issuer.issuer });
    const found = await tokensOf(settingsOf(issuer, { introspection })).verify("opaque");
    assert.deepEqual(
      [found.issuer, found.subject, found.clientId, found.scopes],
      [issuer.issuer, "alice", "app", ["weather:read"]],
    );
    const [{ authorization = "", token }] = issuer.introspections as [(typeof issuer.introspections)[0]];
    assert.equal(token, "opaque");
    assert.equal(atob(authorization.slice("Basic ".length)), "mcp%20server:s%3Ae%2Bc%25ret");
  });

  test("is looked up by a client that signs with a private key, and says for whom", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    issuer.introspected.set("opaque", ACTIVE);
    const { privateKey: key, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const text = String(key.export({ format: "pem", type: "pkcs8" }));
    const client = {
      clientId: "mcp",
      credential: { kind: "private_key" as const, text },
      tokenEndpointAuthMethod: "auto" as const,
    };
    await tokensOf(settingsOf(issuer, { introspection: { client } })).verify("opaque");
    const [{ authorization, assertion }] = issuer.introspections as [(typeof issuer.introspections)[0]];
    assert.equal(authorization, undefined);
    const currentDate = new Date(now * 1000);
    const checks = { issuer: "mcp", subject: "mcp", audience: issuer.issuer, currentDate };
    const { payload } = await jwtVerify(assertion ?? "", publicKey, checks);
    assert.ok(payload.jti && Number(payload.exp) - now <= 60);
  });

  test("is looked up again after ten seconds, good or not", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const tokens = tokensOf(settingsOf(issuer, { introspection }));
    issuer.introspected.set("good", ACTIVE);
    for (let round = 0; round < 5; round++) {
      await tokens.verify("good");
      await assert.rejects(tokens.verify("bad"), because("token_inactive"));
    }
    assert.equal(issuer.introspections.length, 2);
    issuer.introspected.delete("good");
    now += 10;
    await assert.rejects(tokens.verify("good"), because("token_inactive"));
  });

  test("that comes many times at once is looked up once", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const tokens = tokensOf(settingsOf(issuer, { introspection }));
    issuer.introspected.set("good", ACTIVE);
    await Promise.all(Array.from({ length: 20 }, () => tokens.verify("good")));
    assert.equal(issuer.introspections.length, 1);
  });

  const LIES: ReadonlyArray<[what: string, reason: string, changes: Record<string, unknown>]> = [
    ["another issuer", "jwt_wrong_issuer", { iss: "https://evil.example.com" }],
    ["another audience", "jwt_wrong_audience", { aud: "https://other.example.com" }],
    ["a time that is over", "jwt_expired", { exp: now - 1_000_000 }],
    ["a time to come", "jwt_not_yet_valid", { nbf: now + 1_000_000 }],
    ["no user", "token_claims", { sub: undefined }],
    ["who has a key for it", "jwt_sender_constrained", { cnf: { jkt: "x" } }],
  ];
  for (const [what, reason, changes] of LIES)
    test(`of ${what} is refused`, async (t) => {
      const issuer = await startTokenIssuer(t, () => now);
      issuer.introspected.set("opaque", { ...ACTIVE, ...changes });
      const tokens = tokensOf(settingsOf(issuer, { introspection }));
      await assert.rejects(tokens.verify("opaque"), because(reason));
    });

  for (const answer of [
    {},
    { active: "true", ...GOOD },
    { ...ACTIVE, aud: undefined },
    { ...ACTIVE, exp: undefined },
    { ...ACTIVE, exp: "soon" },
    [],
    null,
  ])
    test(`of which the issuer says ${JSON.stringify(answer)} is not judged`, async (t) => {
      const issuer = await startTokenIssuer(t, () => now);
      issuer.introspected.set("opaque", answer ?? "null");
      const tokens = tokensOf(settingsOf(issuer, { introspection }));
      await assert.rejects(tokens.verify("opaque"), UnavailableError);
    });

  for (const trouble of [401, 500, 302, "silence"] as const)
    test(`is an outage while introspection answers ${trouble}`, async (t) => {
      const issuer = await startTokenIssuer(t, () => now);
      const endpoint = `${issuer.issuer}/introspect`;
      issuer.introspected.set("opaque", ACTIVE);
      issuer.trouble = trouble;
      const timeoutSeconds = trouble === "silence" ? 2 : 10;
      const tokens = tokensOf(
        settingsOf(issuer, { timeoutSeconds, introspection: { ...introspection, endpoint } }),
      );
      await assert.rejects(tokens.verify("opaque"), UnavailableError);
      issuer.trouble = undefined;
      await tokens.verify("opaque");
    });

  const isLimited = (error: unknown) => {
    assert.ok(error instanceof UnavailableError, String(error));
    assert.equal(error.reason, "introspection_limited");
    assert.ok(error.retryAfterSeconds > 0);
    return true;
  };
  const refusedFrom = (tokens: ReturnType<typeof tokensOf>, address: string, count: number) =>
    Promise.allSettled(
      Array.from({ length: count }, (_, index) =>
        tokens.verify(`made-up-${address}-${now}-${index}`, address),
      ),
    );

  test("that is made up costs a bounded number of requests, for an address and in all, and does not starve what is good", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const tokens = tokensOf(settingsOf(issuer, { introspection }));
    for (const token of ["early", "at-home", "newcomer", "beside"]) issuer.introspected.set(token, ACTIVE);
    await tokens.verify("early", "198.51.100.1");
    await refusedFrom(tokens, "192.0.2.1", 200);
    assert.equal(issuer.introspections.length, 61);
    await assert.rejects(tokens.verify("one-more", "192.0.2.1"), isLimited);
    for (let host = 2; host < 30; host++) await refusedFrom(tokens, `192.0.2.${host}`, 60);
    const inAll = issuer.introspections.length;
    assert.ok(inAll < 700, String(inAll));
    now += 10;
    // It was good, wherever it comes from now.
    await tokens.verify("early", "192.0.2.1");
    // From its address came a good one.
    await tokens.verify("at-home", "198.51.100.1");
    // From its address came nothing bad.
    await tokens.verify("newcomer", "203.0.113.7");
    // Nothing tells it from the flood, and nothing is said against it.
    await assert.rejects(tokens.verify("beside", "192.0.2.1"), isLimited);
    now += 60;
    await tokens.verify("beside", "192.0.2.1");
    await assert.rejects(tokens.verify("one-more", "192.0.2.1"), because("token_inactive"));
  });

  test("of which the issuer says too little costs a bounded number of requests, too", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const tokens = tokensOf(settingsOf(issuer, { introspection }));
    issuer.introspected.set("for-nobody", { ...ACTIVE, aud: undefined });
    for (let round = 0; round < 200; round++)
      await assert.rejects(tokens.verify("for-nobody", "192.0.2.1"), UnavailableError);
    assert.equal(issuer.introspections.length, 60);
  });

  test("that was good and is no more has no privilege", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const tokens = tokensOf(settingsOf(issuer, { introspection }));
    issuer.introspected.set("early", ACTIVE);
    await tokens.verify("early", "198.51.100.1");
    issuer.introspected.delete("early");
    now += 10;
    await assert.rejects(tokens.verify("early", "192.0.2.1"), because("token_inactive"));
    await refusedFrom(tokens, "192.0.2.1", 60);
    now += 10;
    await assert.rejects(tokens.verify("early", "192.0.2.1"), isLimited);
  });

  test("costs no point during an outage of its issuer", async (t) => {
    const issuer = await startTokenIssuer(t, () => now);
    const endpoint = `${issuer.issuer}/introspect`;
    const tokens = tokensOf(settingsOf(issuer, { introspection: { ...introspection, endpoint } }));
    issuer.introspected.set("good", ACTIVE);
    issuer.trouble = 500;
    await refusedFrom(tokens, "192.0.2.1", 60);
    issuer.trouble = undefined;
    await tokens.verify("good", "192.0.2.1");
  });

  test("is nobody's where no issuer has opaque tokens", async () => {
    assert.equal(tokensOf(settingsOf(one)).recognizes("opaque"), false);
  });
});

test("a JWT of an unknown key is not asked for at introspection", async (t) => {
  const issuer = await startTokenIssuer(t, () => now);
  const introspection = { client: lookUpClient() };
  const tokens = tokensOf(settingsOf(issuer, { introspection }));
  const token = await issuer.sign(GOOD, { ...TYPE, key: await newKey() });
  await assert.rejects(tokens.verify(token), because("jwt_unknown_key"));
  assert.equal(issuer.introspections.length, 0);
});
