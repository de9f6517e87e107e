/** What the access tokens of another issuer are worth here. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
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
});
