/** What backends are told of a caller: a JWT that they verify with this server's keys, and that is good for nothing else. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader } from "jose";
import type { Principal } from "../../src/access/principal.ts";
import type { TrustedIssuer } from "../../src/issuers/trusted-issuer.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { currentCaller } from "../../src/resource/access-token-context.ts";
import type { Caller } from "../../src/resource/caller.ts";
import { identityKeys } from "../../src/resource/identity-keys.ts";
import { createSignIdentity } from "../../src/resource/signed-identity.ts";
import { reasonOf } from "../attacks/support.ts";
import { callTool, postForm, register, rpc, signInForTokens } from "../support/oauth-client.ts";
import { ALICE, SECRET_KEY, useTestServer } from "../support/test-server.ts";

const BACKEND = "http://crm.internal:8000/mcp";
const ANOTHER_KEY = "another-secret-key-with-more-than-32-bytes-4567890";
const APP_SECRET = "the-secret-of-an-application-0123456789";
const CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

let seen: Caller | undefined;
const observe = defineTool({
  name: "observe",
  description: "Notes who is calling",
  run() {
    seen = currentCaller("test");
    return "noted";
  },
});

/** Nobody may configure that; it shows that not only the configuration prevents it. */
function trustingItself(issuer: string): TrustedIssuer[] {
  const common = { issuer, algorithms: ASYMMETRIC_ALGORITHMS, timeoutSeconds: 10 };
  return [
    { ...common, accept: "id-jag", subject: "sub", publicClients: true },
    { ...common, accept: "workload", rules: [{ claims: [], scopes: ["weather:read"] }] },
    {
      ...common,
      accept: "access-token",
      types: ["at+jwt", "jwt", "none"],
      scopeClaims: ["scope"],
      scopes: new Map([["weather:read", ["weather:read"]]]),
    },
  ].map((each) => ({ ...each, jwksUri: `${issuer}/.well-known/jwks.json` }) as TrustedIssuer);
}

describe("the signed identity", () => {
  const testServer = useTestServer({
    tools: [observe],
    environment: {
      SECRET_KEY: `${SECRET_KEY},${ANOTHER_KEY}`,
      CLIENTS: JSON.stringify([
        { client_id: "app", client_secret: APP_SECRET, redirect_uris: ["https://app.example/cb"] },
      ]),
    },
    adjust: (config) => ({ ...config, issuers: trustingItself(config.baseUrl) }),
  });
  let alice: Caller;
  const clock = { now: Math.floor(Date.now() / 1000) };

  /** As another replica has it: from the same SECRET_KEY. */
  const signer = (secretKeys = [SECRET_KEY, ANOTHER_KEY]) =>
    createSignIdentity({
      keys: identityKeys(secretKeys),
      issuer: testServer.baseUrl,
      now: () => clock.now,
      randomBytes,
    });

  before(async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    await callTool(testServer.url, access_token, "observe");
    alice = seen ?? assert.fail("the tool was called");
  });

  describe("a backend", () => {
    /** The example of the documentation, for this server. */
    let whoCalls: (headers: Record<string, string>) => Promise<Record<string, unknown>>;
    before(async () => {
      const guide = readFileSync("docs/forward-auth.md", "utf8");
      const example = /^```js\n(.*?)^```/ms.exec(guide)?.[1] ?? assert.fail("there is an example");
      const folder = join("node_modules", ".cache", "mcp-oidc-proxy");
      mkdirSync(folder, { recursive: true });
      const file = join(folder, `who-calls-${process.pid}.mjs`);
      writeFileSync(file, example.replaceAll("https://mcp.example.com", testServer.baseUrl));
      ({ whoCalls } = await import(pathToFileURL(file).href));
    });
    const ask = (jwt: string) => whoCalls({ "x-mcp-identity-assertion": jwt });

    test("verifies as the documentation says who calls, by which client, and what they may do", async () => {
      const { iat, exp, jti, ...claims } = await ask(await signer()(alice, BACKEND));
      assert.deepEqual(claims, {
        iss: testServer.baseUrl,
        aud: BACKEND,
        sub: `${testServer.identityProvider.issuer}#alice`,
        sub_id: { format: "iss_sub", iss: testServer.identityProvider.issuer, sub: "alice" },
        principal: "user",
        client_id: alice.client.id,
        resource: testServer.url,
        scope: "weather:read",
        email: ALICE.email,
        email_verified: true,
      });
      assert.deepEqual([iat, exp, typeof jti], [clock.now, clock.now + 60, "string"]);
    });

    test("refuses one for another backend, one that nobody here signed, one that has ended, and none", async () => {
      await assert.rejects(ask(await signer()(alice, "http://other.internal/mcp")), /"aud"/);
      await assert.rejects(
        ask(await signer(["a-third-secret-key-with-more-than-32-bytes-012345"])(alice, BACKEND)),
        /no applicable key/,
      );
      const early = clock.now;
      clock.now -= 61;
      await assert.rejects(ask(await signer()(alice, BACKEND)), /"exp"/);
      clock.now = early;
      await assert.rejects(whoCalls({}));
    });

    test("knows the keys of every SECRET_KEY, so the order of them can change", async () => {
      const answer = await fetch(`${testServer.baseUrl}/.well-known/jwks.json`);
      assert.equal(answer.headers.get("cache-control"), "public, max-age=300");
      const { keys } = (await answer.json()) as { keys: Array<Record<string, string>> };
      assert.equal(keys.length, 2);
      for (const key of keys) {
        assert.deepEqual(Object.keys(key).sort(), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert.equal(key.kid, await calculateJwkThumbprint(key));
      }
      const older = await signer([ANOTHER_KEY, SECRET_KEY])(alice, BACKEND);
      assert.deepEqual(decodeProtectedHeader(older), {
        alg: "ES256",
        typ: "mcp-identity+jwt",
        kid: keys[1]?.kid,
      });
      await ask(older);
    });
  });

  describe("what is said", () => {
    const said = async (principal: Principal, more: Partial<Caller> = {}) =>
      decodeJwt(await signer()({ ...alice, ...more, principal }, BACKEND));
    const claims = {};

    test("the same name at two issuers, and of a client, is three subjects", async () => {
      const subjects = [
        await said({ kind: "user", issuer: "https://one.example", subject: "app", claims }),
        await said({ kind: "workload", issuer: "https://two.example", subject: "app", claims }),
        await said({ kind: "client", clientId: "app" }),
      ];
      assert.deepEqual(
        subjects.map(({ sub, principal }) => [principal, sub]),
        [
          ["user", "https://one.example#app"],
          ["workload", "https://two.example#app"],
          ["client", "app"],
        ],
      );
      assert.equal(subjects[2]?.sub_id, undefined);
    });

    test("an address that nobody vouches for is left out, and so are groups of which there may be more", async () => {
      const of = (claims: Record<string, unknown>) =>
        said({ kind: "user", issuer: "https://one.example", subject: "s", claims });
      const known = await of({ email: "s@one.example", email_verified: true, groups: ["staff"] });
      assert.deepEqual([known.email, known.groups], ["s@one.example", ["staff"]]);
      for (const unknown of [
        { email: "s@one.example", groups: ["staff"], hasgroups: true },
        { email: "s@one.example", email_verified: false, groups: [{ name: "staff" }] },
        { groups: Array.from({ length: 400 }, (_, index) => `group-${index}`) },
      ]) {
        const { email, email_verified, groups } = await of(unknown);
        assert.deepEqual([email, email_verified, groups], [undefined, undefined, undefined]);
      }
      assert.deepEqual((await of({ groups: [] })).groups, [], "none is not the same as unknown");
    });
  });

  describe("a signature", () => {
    test("is made once in half a minute, for each caller and backend", async () => {
      const sign = signer();
      const first = await sign(alice, BACKEND);
      clock.now += 29;
      assert.equal(await sign(alice, BACKEND), first);
      assert.notEqual(await sign(alice, "http://other.internal/mcp"), first);
      assert.notEqual(
        await sign({ ...alice, scopes: [] }, BACKEND),
        first,
        "it says what the caller may do now",
      );
      clock.now += 1;
      assert.notEqual(await sign(alice, BACKEND), first);
      clock.now -= 3_600;
      const { exp = 0 } = decodeJwt(await sign(alice, BACKEND));
      assert.equal(exp, clock.now + 60, "also after the clock was set back");
      clock.now += 3_570;
    });

    test("is good for no longer than the access token", async () => {
      const { exp } = decodeJwt(await signer()({ ...alice, expiresAt: clock.now + 5 }, BACKEND));
      assert.equal(exp, clock.now + 5);
    });
  });

  test("this server takes it for nothing, even if it were told to trust itself", async () => {
    const { baseUrl, url } = testServer;
    const forUs = [url, baseUrl, `${baseUrl}/token`, BACKEND];
    const client = { client_id: "app", client_secret: APP_SECRET };
    for (const jwt of await Promise.all(forUs.map((audience) => signer()(alice, audience)))) {
      const call = await rpc(url, jwt, "tools/list");
      assert.deepEqual([call.status, call.body.error], [401, "invalid_token"]);
      assert.equal(await reasonOf(testServer, call), "jwt_wrong_type");

      const grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
      for (const fields of [client, {}]) {
        const answer = await postForm(`${baseUrl}/token`, { grant_type: grant, assertion: jwt, ...fields });
        assert.equal(answer.status, 400);
        assert.equal(await reasonOf(testServer, answer), "jwt_wrong_type");
      }
      const refreshed = await postForm(`${baseUrl}/token`, {
        grant_type: "refresh_token",
        refresh_token: jwt,
        ...client,
      });
      assert.deepEqual([refreshed.status, refreshed.body.error], [400, "invalid_grant"]);
      const asClient = await postForm(`${baseUrl}/token`, {
        grant_type: "client_credentials",
        client_assertion_type: CLIENT_ASSERTION,
        client_assertion: jwt,
      });
      assert.deepEqual([asClient.status, asClient.body.error], [401, "invalid_client"]);
      const introspected = await postForm(`${baseUrl}/introspect`, { token: jwt, ...client });
      assert.deepEqual([introspected.status, introspected.body], [200, { active: false }]);
      const logout = await postForm(`${baseUrl}/auth/backchannel-logout`, { logout_token: jwt });
      assert.equal(logout.status, 400);
    }
  });
});
