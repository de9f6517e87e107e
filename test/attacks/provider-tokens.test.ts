/**
 * Tokens that the identity provider signed, and that are not for us, not now, or not of this login. A key of the test's
 * is published beside the provider's own, so that nothing is refused for its signature alone.
 */
import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { decodeJwt, exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorize,
  callTool,
  postForm,
  type Registered,
  redeem,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const MINUTES = 60;
const LOGOUT = { "http://schemas.openid.net/event/backchannel-logout": {} };

describe("what the identity provider signed", () => {
  let upstream: FaultyProxy;
  let client: Registered;
  let signed: (claims: JWTPayload) => Promise<string>;
  let unencoded: (claims: JWTPayload) => Promise<string>;
  let hmacWithPublicKey: (claims: JWTPayload) => Promise<string>;
  const testServer = useTestServer(async () => {
    const { publicKey, privateKey } = await generateKeyPair("RS256");
    upstream = await startFaultyProxy();
    upstream.extraKey = { ...(await exportJWK(publicKey)), kid: "test", alg: "RS256", use: "sig" };
    signed = (claims) =>
      new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "test" }).sign(privateKey);
    unencoded = (claims) =>
      new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "test", b64: false }).sign(privateKey);
    const pem = await exportSPKI(publicKey);
    hmacWithPublicKey = async (claims) => {
      const [header, payload] = [{ alg: "HS256", kid: "test" }, claims].map((part) =>
        Buffer.from(JSON.stringify(part)).toString("base64url"),
      );
      const input = `${header}.${payload}`;
      return `${input}.${createHmac("sha256", pem).update(input).digest("base64url")}`;
    };
    return {
      throughProxy: upstream,
      behaviour: { accessTokenSeconds: 3_600 },
    };
  });
  before(async () => {
    client = await register(testServer.baseUrl);
  });
  afterEach(() => {
    upstream.rewrite = undefined;
  });
  after(() => upstream.close());

  type Kind = "id_token" | "access_token";
  type Change = (claims: JWTPayload) => JWTPayload;
  const withClaims =
    (more: JWTPayload): Change =>
    (claims) => ({ ...claims, ...more });
  /** As a provider says it whose clock is ahead by so many seconds; negative: behind. */
  const ahead =
    (seconds: number): Change =>
    ({ iat = 0, exp = 0, ...claims }) => ({ ...claims, iat: iat + seconds, exp: exp + seconds });
  /** Over for so many seconds. */
  const over =
    (seconds: number): Change =>
    (claims) => ({ ...claims, exp: Math.floor(Date.now() / 1000) - seconds });

  function signInWith(kind: Kind, change: Change, sign = signed): Promise<URLSearchParams> {
    upstream.rewrite = async (body) => ({
      ...body,
      [kind]: await sign(change(decodeJwt(String(body[kind])))),
    });
    return authorize(testServer.baseUrl, client);
  }

  const believed: Array<[string, Kind, Change]> = [
    ["an ID token that nobody changed", "id_token", withClaims({})],
    ["an access token that nobody changed", "access_token", withClaims({})],
    ["an ID token issued to us", "id_token", withClaims({ azp: "proxy" })],
    [
      "an ID token for us and others, issued to us",
      "id_token",
      withClaims({ aud: ["proxy", "b"], azp: "proxy" }),
    ],
    ["an ID token of a clock 5 minutes ahead", "id_token", ahead(5 * MINUTES)],
    ["an ID token of a clock 5 minutes behind", "id_token", ahead(-5 * MINUTES)],
    ["an access token of a clock 5 minutes ahead", "access_token", ahead(5 * MINUTES)],
    ["an access token of a clock 5 minutes behind", "access_token", ahead(-5 * MINUTES)],
  ];
  for (const [name, kind, change] of believed)
    test(`${name} signs in`, async () => {
      const response = await signInWith(kind, change);
      const { body } = await redeem(testServer.baseUrl, client, response.get("code"));
      assert.equal((await callTool(testServer.url, body.access_token, "whoami")).status, 200);
      const refreshed = await refresh(testServer.baseUrl, client, body.refresh_token);
      assert.equal(refreshed.status, 200);
    });

  const refused: Array<[string, Kind, Change, string]> = [
    ["an ID token for another client", "id_token", withClaims({ aud: "another-client" }), "aud"],
    ["an ID token of another issuer", "id_token", withClaims({ iss: "https://evil.example" }), "iss"],
    ["an ID token with another nonce", "id_token", withClaims({ nonce: "of another login" }), "nonce"],
    ["an ID token without a nonce", "id_token", ({ nonce: _, ...claims }) => claims, "nonce"],
    ["an ID token that is over for 5 minutes", "id_token", over(5 * MINUTES), "exp"],
    ["an ID token with an empty subject", "id_token", withClaims({ sub: "" }), "sub"],
    ["an ID token with a subject of 256 characters", "id_token", withClaims({ sub: "s".repeat(256) }), "sub"],
    ["an ID token with a subject of 10,000", "id_token", withClaims({ sub: "s".repeat(10_000) }), "sub"],
    ["an ID token with a line break in the subject", "id_token", withClaims({ sub: "a\nb" }), "sub"],
    ["an ID token with a control character there", "id_token", withClaims({ sub: "a\u001b[2J" }), "sub"],
    ["an ID token with a subject that is not ASCII", "id_token", withClaims({ sub: "\u0430lice" }), "sub"],
    ["an ID token with a number for a subject", "id_token", withClaims({ sub: 7 as never }), "sub"],
    ["an ID token without a subject", "id_token", ({ sub: _, ...claims }) => claims, "sub"],
    ["an ID token issued to another client", "id_token", withClaims({ azp: "another" }), "azp"],
    [
      "an ID token for us and others, issued to another",
      "id_token",
      withClaims({ aud: ["proxy", "another"], azp: "another" }),
      "azp",
    ],
    [
      "an ID token for us and others, issued to nobody knows whom",
      "id_token",
      withClaims({ aud: ["proxy", "another"] }),
      "aud",
    ],
    ["an ID token issued to an object", "id_token", withClaims({ azp: {} }), "azp"],
    ["an access token for another API", "access_token", withClaims({ aud: "https://else.example" }), "aud"],
    ["an access token of another issuer", "access_token", withClaims({ iss: "https://evil.example" }), "iss"],
    ["an access token that is over for 5 minutes", "access_token", over(5 * MINUTES), "exp"],
  ];
  for (const [name, kind, change, claim] of refused)
    test(`${name} signs nobody in, and the log names the claim`, async () => {
      await assertRefused(signInWith(kind, change), new RegExp(`"${claim}"`));
    });

  for (const kind of ["id_token", "access_token"] as const)
    test(`an ${kind} whose HS256 has the public key for its secret signs nobody in (RFC 8725 §3.1)`, async () => {
      await assertRefused(signInWith(kind, withClaims({}), hmacWithPublicKey), /alg/i);
    });

  for (const kind of ["id_token", "access_token"] as const)
    test(`an ${kind} whose header says that its payload is not encoded signs nobody in (RFC 7797 §7)`, async () => {
      await assertRefused(signInWith(kind, withClaims({}), unencoded), /extension/);
    });

  async function assertRefused(signingIn: Promise<unknown>, cause: RegExp): Promise<void> {
    const from = testServer.log.length;
    await assert.rejects(signingIn, /Signing in failed/);
    const line = () =>
      testServer.log.slice(from).find(({ msg, path }) => msg === "request" && path === "/auth/callback");
    const { reason, cause: logged } = await eventually("a line of the log", line);
    assert.equal(reason, "upstream_refused");
    assert.match(String(logged), cause);
  }

  describe("of a sign-out", () => {
    const report = (logout_token: string) =>
      postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token });
    function logoutClaims(more: object = {}): JWTPayload {
      const iat = Math.floor(Date.now() / 1000);
      const { issuer: iss } = testServer.identityProvider;
      return {
        iss,
        aud: "proxy",
        sub: "alice",
        jti: randomUUID(),
        iat,
        exp: iat + 120,
        events: LOGOUT,
        ...more,
      };
    }
    const isAlive = async (token: string) => (await callTool(testServer.url, token, "whoami")).status === 200;

    test("ends what it names, if it is as it should be", async () => {
      const { access_token } = await signInForTokens(testServer.baseUrl, client);
      assert.equal((await report(await signed(logoutClaims()))).status, 200);
      assert.equal(await isAlive(access_token), false);
    });

    test("ends nothing if it is for another client, of another issuer, too old, or no report of a sign-out", async () => {
      const { access_token } = await signInForTokens(testServer.baseUrl, client);
      const { iat = 0 } = logoutClaims();
      const forgeries = [
        signed(logoutClaims({ aud: "another-client" })),
        signed(logoutClaims({ iss: "https://evil.example" })),
        signed(logoutClaims({ iat: iat - 10 * MINUTES })),
        signed(logoutClaims({ exp: iat - 5 * MINUTES })),
        signed(logoutClaims({ iat: iat + 5 * MINUTES })),
        signed(logoutClaims({ events: {} })),
        signed(logoutClaims({ nonce: "as in an ID token" })),
        signed(logoutClaims({ exp: undefined })),
        signed(logoutClaims({ jti: undefined })),
        signed(logoutClaims({ sub: undefined })),
        signed(logoutClaims({ sub: "" })),
        signed(logoutClaims({ sub: "s".repeat(10_000) })),
        signed(logoutClaims({ sub: "alice\n" })),
        hmacWithPublicKey(logoutClaims()),
        unencoded(logoutClaims()),
      ];
      for (const [i, forgery] of forgeries.entries())
        assert.equal((await report(await forgery)).status, 400, `forgery ${i}`);
      assert.equal(await isAlive(access_token), true);
    });
  });
});
