/** What holds for every JWT of a trusted issuer, whatever it is for. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { createIssuerAccess } from "../../src/issuers/issuer-keys.ts";
import { JwtRefused, verifyJwt } from "../../src/issuers/jwt.ts";
import { silent } from "../clients/support.ts";
import { type Recipe, strangeJwt } from "../support/strange-jwts.ts";
import { newKey, startTokenIssuer } from "../support/token-issuer.ts";

const SERVER = "https://mcp.example.com";
const NOW = 1_800_000_000;
const issuer = await startTokenIssuer({ after }, () => NOW);
const anotherKey = await newKey();
const GOOD = { iss: issuer.issuer, aud: SERVER, iat: NOW, exp: NOW + 300, sub: "alice" };

async function jwt(recipe: Partial<Recipe>): Promise<string> {
  const { key } = issuer;
  const all: Recipe = { header: [], claims: [], payload: undefined, signature: "right", text: [], ...recipe };
  const header = { alg: key.alg, kid: key.kid, typ: "JWT" };
  return (await strangeJwt(all, { header, claims: GOOD, key, anotherKey })).text;
}

function verify(token: string, algorithms: readonly string[] = ["RS256", "ES256"]) {
  const settings = { issuer: issuer.issuer, algorithms, timeoutSeconds: 10 };
  const { keys } = createIssuerAccess(settings, { now: () => NOW, monotonicNow: () => NOW, log: silent });
  return verifyJwt(token, {
    settings,
    keys,
    types: ["jwt"],
    audiences: [SERVER],
    soleAudience: true,
    now: NOW,
  });
}

async function refusedBecause(reason: string, token: string, algorithms?: readonly string[]) {
  await assert.rejects(verify(token, algorithms), (error) => {
    assert.ok(error instanceof JwtRefused, String(error));
    assert.equal(error.reason, reason, error.message);
    return true;
  });
}

describe("a JWT of a trusted issuer", () => {
  test("is accepted as it comes, and with members that nobody has to understand", async () => {
    await verify(await jwt({}));
    await verify(await jwt({ header: [["x5t", "set", '"x"']], claims: [["act", "set", '{"sub":"a"}']] }));
  });

  const EXTENSIONS: ReadonlyArray<[what: string, header: Recipe["header"]]> = [
    [
      "an unencoded payload",
      [
        ["b64", "set", "false"],
        ["crit", "set", '["b64"]'],
      ],
    ],
    ["an unencoded payload that is not called critical", [["b64", "set", "false"]]],
    [
      "a critical extension",
      [
        ["exp", "set", "1"],
        ["crit", "set", '["exp"]'],
      ],
    ],
    ["an empty list of critical extensions", [["crit", "set", "[]"]]],
  ];
  for (const [what, header] of EXTENSIONS)
    test(`is refused with ${what}, although it is signed`, async () => {
      await refusedBecause("jwt_malformed", await jwt({ header }));
    });

  test("is verified by one of the algorithms that are configured, of its own and of its key", async () => {
    await verify(await jwt({}), ["ES256"]);
    await refusedBecause("jwt_algorithm", await jwt({}), ["RS256", "PS256"]);
    for (const alg of ['"ES384"', '"RS256"', '"EdDSA"'])
      await refusedBecause("jwt_unknown_key", await jwt({ header: [["alg", "set", alg]] }), [
        "ES256",
        "ES384",
        "RS256",
        "EdDSA",
      ]);
    for (const alg of ['["ES256"]', '"es256"', "null", '"none"', '"HS256"', '{"0":"ES256"}'])
      await refusedBecause("jwt_algorithm", await jwt({ header: [["alg", "set", alg]] }));
  });

  test("is refused with the signature of another key, of no key, and of the public key as a secret", async () => {
    for (const signature of ["another-key", "zeros", "random", "none"] as const)
      await refusedBecause("jwt_signature", await jwt({ signature }));
    const symmetric = { header: [["alg", "set", '"HS256"']], signature: "public-key-as-secret" } as const;
    await refusedBecause("jwt_algorithm", await jwt(symmetric));
    await refusedBecause("jwt_algorithm", await jwt(symmetric), ["ES256"]);
  });

  test("whose names come twice counts by the last of each (RFC 7519 §4), and so does its issuer", async () => {
    await refusedBecause(
      "jwt_wrong_issuer",
      await jwt({ claims: [["iss", "again", '"https://evil.example"']] }),
    );
    await refusedBecause(
      "jwt_wrong_audience",
      await jwt({ claims: [["aud", "again", '"https://a.example"']] }),
    );
    await refusedBecause("jwt_algorithm", await jwt({ header: [["alg", "again", '"none"']] }));
  });

  for (const time of ["1e999", '"1800000300"', "[1800000300]", "null", "{}", "true"])
    test(`is refused with ${time} for a time`, async () => {
      for (const claim of ["exp", "nbf", "iat"])
        await assert.rejects(verify(await jwt({ claims: [[claim, "set", time]] })), JwtRefused, claim);
    });

  test("is good for as long as clocks may differ, and not a second longer", async () => {
    const ending = (exp: number) => jwt({ claims: [["exp", "set", String(exp)]] });
    await verify(await ending(NOW - 29));
    await refusedBecause("jwt_expired", await ending(NOW - 30));
    for (const [claim, reason] of [
      ["nbf", "jwt_not_yet_valid"],
      ["iat", "jwt_issued_in_future"],
    ] as const) {
      const beginning = (at: number) => jwt({ claims: [[claim, "set", String(at)]] });
      await verify(await beginning(NOW + 30));
      await refusedBecause(reason, await beginning(NOW + 31));
    }
  });

  test("is refused with another typ, or none", async () => {
    await verify(await jwt({ header: [["typ", "set", '"application/JWT"']] }));
    for (const typ of ['"at+jwt"', '"oauth-id-jag+jwt"', '""', "null", '["JWT"]'])
      await refusedBecause("jwt_wrong_type", await jwt({ header: [["typ", "set", typ]] }));
    await refusedBecause("jwt_wrong_type", await jwt({ header: [["typ", "delete", ""]] }));
  });

  test("is refused if it is for anybody else, or for nobody", async () => {
    await verify(await jwt({ claims: [["aud", "set", `["${SERVER}"]`]] }));
    for (const aud of [
      `["${SERVER}","https://a.example"]`,
      `["${SERVER}","${SERVER}"]`,
      "[]",
      "null",
      `[["${SERVER}"]]`,
    ])
      await refusedBecause("jwt_wrong_audience", await jwt({ claims: [["aud", "set", aud]] }));
  });

  test("is refused if it is bound to a key of its sender, which nobody checks", async () => {
    for (const cnf of ['{"jkt":"a"}', "null", "{}"])
      await refusedBecause("jwt_sender_constrained", await jwt({ claims: [["cnf", "set", cnf]] }));
  });

  test("of an issuer that publishes a key that is none is refused", async (t) => {
    const broken = await startTokenIssuer(t, () => NOW);
    const token = await broken.sign({ ...GOOD, iss: broken.issuer });
    Object.assign(broken.key.jwk, { x: "AAAA" });
    const settings = { issuer: broken.issuer, algorithms: ["ES256"], timeoutSeconds: 10 };
    const { keys } = createIssuerAccess(settings, { now: () => NOW, monotonicNow: () => NOW, log: silent });
    const rules = { settings, keys, types: ["jwt"], audiences: [SERVER], soleAudience: true, now: NOW };
    await assert.rejects(verifyJwt(token, rules), JwtRefused);
  });

  test("is not read beyond 16 KB", async () => {
    const padded = (length: number) => jwt({ claims: [["padding", "set", `"${"x".repeat(length)}"`]] });
    await verify(await padded(11_000));
    await refusedBecause("jwt_malformed", await padded(12_500));
  });
});
