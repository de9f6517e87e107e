/** What the access tokens of another issuer are worth here. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { wildcard } from "../../src/access/pattern.ts";
import { verifyForeignAccessToken } from "../../src/issuers/foreign-access-token.ts";
import { createIssuerAccess } from "../../src/issuers/issuer-keys.ts";
import { JwtRefused } from "../../src/issuers/jwt.ts";
import type { AccessTokenIssuer } from "../../src/issuers/trusted-issuer.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { silent } from "../clients/support.ts";
import { startTokenIssuer } from "../support/token-issuer.ts";

const RESOURCE = "https://mcp.example.com/mcp";
const NOW = 1_800_000_000;
const tenant = await startTokenIssuer({ after }, () => NOW);

const settings: AccessTokenIssuer = {
  accept: "access-token",
  issuer: tenant.issuer,
  algorithms: ASYMMETRIC_ALGORITHMS,
  timeoutSeconds: 10,
  types: ["at+jwt"],
  scopeClaims: ["scope", "scp", "permissions"],
  scopes: new Map([
    ["read:all", ["weather:read"]],
    ["write:all", ["weather:read", "weather:write"]],
    ["reader", ["weather:read"]],
  ]),
};
const GOOD = { sub: "auth0|alice", aud: RESOURCE, scope: "openid read:all", azp: "app" };
const TYPE = { typ: "at+jwt" };

function verify(token: string, changes: Partial<AccessTokenIssuer> = {}) {
  const issuer = { ...settings, ...changes };
  const { keys } = createIssuerAccess(issuer, { now: () => NOW, monotonicNow: () => NOW, log: silent });
  return verifyForeignAccessToken(token, issuer, { keys, resource: RESOURCE, now: NOW });
}

const because = (reason: string) => (error: unknown) => {
  assert.ok(error instanceof JwtRefused, String(error));
  assert.equal(error.reason, reason, error.message);
  return true;
};

describe("an access token of another issuer", () => {
  test("names the user, the client, and what the map makes of its scopes", async () => {
    const { issuer, subject, clientId, isClients, scopes } = await verify(await tenant.sign(GOOD, TYPE));
    assert.deepEqual(
      { issuer, subject, clientId, isClients, scopes },
      {
        issuer: tenant.issuer,
        subject: "auth0|alice",
        clientId: "app",
        isClients: false,
        scopes: ["weather:read"],
      },
    );
  });

  test("counts for half a minute longer than it says, and so does what it allows", async () => {
    const { expiresAt } = await verify(await tenant.sign({ ...GOOD, exp: NOW - 29 }, TYPE));
    assert.equal(expiresAt, NOW + 1);
    await assert.rejects(verify(await tenant.sign({ ...GOOD, exp: NOW - 30 }, TYPE)), because("jwt_expired"));
  });

  test("may have no typ, where the operator says so and it shows that it is one", async () => {
    const okta = { sub: "alice@example.com", aud: RESOURCE, cid: "0oa1", uid: "00u1", scp: ["read:all"] };
    const untyped = { types: ["jwt", "none"] };
    const token = await tenant.sign(okta, { typ: "" });
    await assert.rejects(verify(token), because("jwt_wrong_type"));
    await assert.rejects(verify(token, { types: ["jwt"] }), because("jwt_wrong_type"));
    const { clientId, scopes } = await verify(token, untyped);
    assert.deepEqual([clientId, scopes], ["0oa1", ["weather:read"]]);
    // ID tokens of the same issuer, with this audience.
    const person = {
      sub: "alice@example.com",
      aud: RESOURCE,
      azp: "0oa1",
      email: "alice@example.com",
      groups: ["a"],
    };
    for (const claims of [person, { ...person, scp: ["openid"], nonce: "n" }, { ...okta, at_hash: "x" }])
      await assert.rejects(
        verify(await tenant.sign(claims, { typ: "" }), untyped),
        because("jwt_wrong_type"),
      );
  });

  test("vouches for an e-mail address in its issuer's own domains only", async () => {
    const token = await tenant.sign({ ...GOOD, email: "alice@example.com", email_verified: true }, TYPE);
    const email_verified = async (changes: Partial<AccessTokenIssuer>) =>
      (await verify(token, changes)).claims.email_verified;
    assert.equal(await email_verified({}), true);
    assert.equal(await email_verified({ vouchedEmailDomains: ["example.org"] }), false);
    assert.equal(await email_verified({ emailDomainsOfOthers: ["example.com"] }), false);
  });

  test("is a client's own only where its subject or the operator's rule says so", async () => {
    const entra = { sub: "service-principal", aud: RESOURCE, azp: "app", roles: ["reader"] };
    const rule = { clientClaims: [{ claim: "idtyp", oneOf: [wildcard("app")] }] };
    const isClients = async (claims: Record<string, unknown>, changes: Partial<AccessTokenIssuer> = {}) =>
      (await verify(await tenant.sign(claims, TYPE), changes)).isClients;
    assert.equal(await isClients({ ...entra, idtyp: "app" }), false);
    assert.equal(await isClients({ ...entra, idtyp: "app" }, rule), true);
    assert.equal(await isClients({ ...entra, idtyp: "user" }, rule), false);
    assert.equal(await isClients(entra, rule), false);
    const keycloak = {
      clientClaims: [
        { claim: "client_id", oneOf: [wildcard("*")] },
        { claim: "preferred_username", oneOf: [wildcard("service-account-*")] },
      ],
    };
    const account = { sub: "f00", aud: RESOURCE, azp: "app", preferred_username: "service-account-app" };
    assert.equal(await isClients({ ...account, client_id: "app" }, keycloak), true);
    // A person who chose that name.
    assert.equal(await isClients(account, keycloak), false);
    const nameless = await tenant.sign({ ...entra, azp: undefined, idtyp: "app" }, TYPE);
    await assert.rejects(verify(nameless, rule), because("token_claims"));
    assert.equal(await isClients({ ...entra, sub: "app@clients", gty: "client-credentials" }), true);
    assert.equal(await isClients({ ...entra, sub: "other@clients", gty: "client-credentials" }), false);
  });

  const SCOPES: ReadonlyArray<[claims: Record<string, unknown>, scopes: string[]]> = [
    [{ scope: "write:all" }, ["weather:read", "weather:write"]],
    [{ scope: ["read:all", "write:all"] }, ["weather:read", "weather:write"]],
    [{ scp: "read:all" }, ["weather:read"]],
    [{ scp: ["read:all"] }, ["weather:read"]],
    [{ permissions: ["read:all", "delete:all"] }, ["weather:read"]],
    [{ scope: "weather:read weather:write" }, []],
    [{ scope: "" }, []],
    [{ scope: "constructor __proto__ toString" }, []],
    [{ scope: { "read:all": true } }, []],
    [{}, []],
  ];
  for (const [claims, scopes] of SCOPES)
    test(`with ${JSON.stringify(claims)} is worth ${scopes.join(" ") || "nothing"}`, async () => {
      const token = await tenant.sign({ ...GOOD, scope: undefined, ...claims }, TYPE);
      assert.deepEqual((await verify(token)).scopes, scopes);
    });

  test("can carry roles at a path", async () => {
    const token = await tenant.sign({ ...GOOD, realm_access: { roles: ["reader"] } }, TYPE);
    const { scopes } = await verify(token, { scopeClaims: ["realm_access.roles"] });
    assert.deepEqual(scopes, ["weather:read"]);
  });

  test("has no scope of a part of a role's name, and that of a name with spaces", async () => {
    const groups = ["not an admin", "Weather Readers"];
    const token = await tenant.sign({ ...GOOD, scope: undefined, groups }, TYPE);
    const scopes = new Map([
      ["admin", ["weather:write"]],
      ["Weather Readers", ["weather:read"]],
    ]);
    const found = await verify(token, { scopeClaims: ["groups"], scopes });
    assert.deepEqual(found.scopes, ["weather:read"]);
  });

  for (const [sub, azp] of [
    ["machine", "machine"],
    ["machine@clients", "machine"],
  ])
    test(`of ${sub} for ${azp} is the client's own`, async () => {
      assert.equal((await verify(await tenant.sign({ ...GOOD, sub, azp }, TYPE))).isClients, true);
    });

  test("may be for others, too, and for an audience that is configured", async () => {
    const userinfo = `${tenant.issuer}/userinfo`;
    await verify(await tenant.sign({ ...GOOD, aud: [RESOURCE, userinfo] }, TYPE));
    await assert.rejects(
      verify(await tenant.sign({ ...GOOD, aud: userinfo }, TYPE)),
      because("jwt_wrong_audience"),
    );
    const audience = "https://weather.example.com";
    await verify(await tenant.sign({ ...GOOD, aud: audience }, TYPE), { audience });
    await assert.rejects(verify(await tenant.sign(GOOD, TYPE), { audience }), because("jwt_wrong_audience"));
  });

  test("has the type of an access token, or the one that is configured", async () => {
    await verify(await tenant.sign(GOOD, { typ: "application/AT+JWT" }));
    for (const typ of ["JWT", "", "oauth-id-jag+jwt", "logout+jwt"])
      await assert.rejects(verify(await tenant.sign(GOOD, { typ })), because("jwt_wrong_type"));
    await verify(await tenant.sign(GOOD), { types: ["jwt"] });
  });

  for (const claim of ["nonce", "at_hash", "c_hash"])
    test(`with ${claim} is an ID token, whatever its type`, async () => {
      const token = await tenant.sign({ ...GOOD, [claim]: "x" });
      await assert.rejects(verify(token, { types: ["jwt"] }), because("jwt_wrong_type"));
    });

  // Entra gives out both as JWT, and an ID token of the code flow has neither a nonce nor a hash, but roles.
  for (const [what, claims] of [
    ["names no client", { azp: undefined }],
    ["is for the client that it names", { azp: "66666666-7777-8888-9999-000000000000" }],
    ["is for the client that it names as client_id", { client_id: "66666666-7777-8888-9999-000000000000" }],
  ] as const)
    test(`that ${what} is an ID token, where the type does not tell`, async () => {
      const audience = "66666666-7777-8888-9999-000000000000";
      const entra = { audience, types: ["jwt"], scopeClaims: ["roles"] };
      const token = { ...GOOD, scope: undefined, roles: ["reader"], aud: audience };
      assert.deepEqual((await verify(await tenant.sign(token), entra)).scopes, ["weather:read"]);
      await assert.rejects(
        verify(await tenant.sign({ ...token, ...claims }), entra),
        because("jwt_wrong_type"),
      );
      // Whose type says what it is, may be a client's that calls itself.
      await verify(await tenant.sign({ ...token, ...claims }, TYPE), { ...entra, types: ["at+jwt"] });
    });

  test("is refused without a user", async () => {
    for (const sub of [undefined, "", 5, "a\u0000"])
      await assert.rejects(verify(await tenant.sign({ ...GOOD, sub }, TYPE)), because("token_claims"));
  });

  for (const claim of ["client_id", "azp", "cid", "appid"])
    test(`is refused when its ${claim} is too long for a log, or has in it what writes lines of its own`, async () => {
      await verify(await tenant.sign({ ...GOOD, [claim]: "c".repeat(2_048) }, TYPE));
      for (const value of ["c".repeat(2_049), "a\u0000", "a\nb", "", 5])
        await assert.rejects(
          verify(await tenant.sign({ ...GOOD, [claim]: value }, TYPE)),
          because("token_claims"),
        );
    });
});
