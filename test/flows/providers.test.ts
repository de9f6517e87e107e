/** Identity providers differ in behaviour: with each a user signs in, and scopes and claims are the same. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ProviderBehaviour } from "../../dev/identity-provider/identity-provider.ts";
import { callTool, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer } from "../support/test-server.ts";

const profiles: Array<[string, ProviderBehaviour, Record<string, string>?]> = [
  ["like Auth0 with an audience", { permissionsClaim: true }],
  ["with opaque access tokens", { accessTokens: "opaque" }],
  ["with scopes in scp", { scopeClaim: "scp", permissionsClaim: false }],
  ["with scopes in permissions only", { scopeClaim: "none", permissionsClaim: true }],
  ["with scopes in the token response only", { scopeClaim: "none", permissionsClaim: false }],
  ["with an issuer that ends with a slash", { trailingSlashIssuer: true }],
  ["that does not rotate refresh tokens", { refreshTokens: "static" }],
  ["strict about unknown resources", { unknownResource: "refused" }],
  ["strict about unknown scopes", { unknownScopes: "refused" }],
  ["that takes the secret in a header only", { clientAuthentication: "basic" }],
  [
    "that takes the secret in a header only, and does not say so",
    { clientAuthentication: "basic", advertisesClientAuthentication: false },
  ],
  ["that takes the secret in the body only", { clientAuthentication: "post" }],
  [
    "that takes the secret in the body only, and does not say so",
    { clientAuthentication: "post", advertisesClientAuthentication: false },
  ],
  [
    "that takes it in a header only, as it was set here",
    { clientAuthentication: "basic", advertisesClientAuthentication: false },
    { OIDC_TOKEN_ENDPOINT_AUTH_METHOD: "client_secret_basic" },
  ],
  [
    "that hides its API scopes from discovery, with the scope configured",
    { advertisesApiScopes: false },
    { OIDC_SCOPES: "openid profile email offline_access weather:read" },
  ],
];

describe("an identity provider", () => {
  for (const [name, behaviour, environment = {}] of profiles)
    test(name, async () => {
      const testServer = await startTestServer({ behaviour, environment });
      try {
        const client = await register(testServer.baseUrl);
        const tokens = await signInForTokens(testServer.baseUrl, client);
        assert.equal(tokens.scope, "weather:read");
        const me = (await callTool(testServer.url, tokens.access_token, "whoami")).body.result
          .structuredContent;
        assert.deepEqual([me.subject, me.name, me.email], ["alice", "Alice Example", "alice@example.com"]);
        testServer.clock.ahead += 3_500;
        const refreshed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
        assert.equal(refreshed.status, 200);
        testServer.clock.ahead += 3_500;
        assert.equal((await refresh(testServer.baseUrl, client, refreshed.body.refresh_token)).status, 200);
      } finally {
        await testServer.close();
      }
    });

  test("that gives no refresh token: the session ends with the access token", async () => {
    const testServer = await startTestServer({
      behaviour: { refreshTokens: "never", accessTokenSeconds: 600 },
    });
    try {
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client);
      assert.ok(tokens.expires_in <= 600, "ours does not outlive what it stands for");
      testServer.clock.ahead += 500;
      const refreshed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(refreshed.status, 200);
      assert.ok(refreshed.body.expires_in <= 100);
      testServer.clock.ahead += 200;
      assert.equal((await callTool(testServer.url, refreshed.body.access_token, "whoami")).status, 401);
      assert.equal(
        (await refresh(testServer.baseUrl, client, refreshed.body.refresh_token)).body.error,
        "invalid_grant",
      );
    } finally {
      await testServer.close();
    }
  });

  test("that rotates its signing keys: sign-in goes on", async () => {
    const testServer = await startTestServer();
    try {
      const client = await register(testServer.baseUrl);
      await signInForTokens(testServer.baseUrl, client);
      await testServer.identityProvider.rotateKeys();
      // Key sets are fetched again for an unknown key, but not more than once a second.
      testServer.clock.ahead += 2;
      assert.equal((await signInForTokens(testServer.baseUrl, client)).scope, "weather:read");
    } finally {
      await testServer.close();
    }
  });
});
