/** Other resource servers ask about our tokens (RFC 7662). */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import {
  postForm,
  REDIRECT_URI,
  type Registered,
  refresh,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const SECRET = "the-secret-of-another-resource-server-0123456789";

describe("introspection", () => {
  let client: Registered;
  const testServer = useTestServer({
    environment: {
      CLIENTS: JSON.stringify([
        {
          client_id: "backend",
          client_secret: SECRET,
          redirect_uris: [REDIRECT_URI],
          token_endpoint_auth_method: "client_secret_post",
        },
      ]),
    },
  });
  before(async () => {
    client = await register(testServer.baseUrl);
  });

  const backend = { client_id: "backend", client_secret: SECRET };
  const introspect = (token: string, credentials: Record<string, string> = backend) =>
    postForm(`${testServer.baseUrl}/introspect`, { token, ...credentials });

  test("tells a client of the configuration about both kinds of token, until they end", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const access = (await introspect(tokens.access_token)).body;
    assert.deepEqual(
      { ...access, iat: 0, exp: 0 },
      {
        active: true,
        token_type: "Bearer",
        scope: "weather:read",
        client_id: client.client_id,
        sub: "alice",
        aud: testServer.url,
        iss: testServer.baseUrl,
        iat: 0,
        exp: 0,
      },
    );
    const refreshToken = (await introspect(tokens.refresh_token)).body;
    assert.equal(refreshToken.active, true);
    assert.equal("token_type" in refreshToken, false, "RFC 7662 §2.2: as in RFC 6749 §7.1");
    assert.equal("iat" in refreshToken, false, "when it was issued is not known");
    testServer.clock.ahead += 3_700;
    assert.deepEqual((await introspect(tokens.access_token)).body, { active: false });
    assert.equal((await introspect(tokens.refresh_token)).body.active, true);
    await revoke(testServer.baseUrl, client, tokens.refresh_token);
    assert.deepEqual((await introspect(tokens.refresh_token)).body, { active: false });
    assert.deepEqual((await introspect("garbage")).body, { active: false });
  });

  test("iat is the token's, not the grant's (RFC 7662 §2.2)", async () => {
    const first = await signInForTokens(testServer.baseUrl, client);
    const before = (await introspect(first.access_token)).body;
    testServer.clock.ahead += 1_000;
    const next = (await refresh(testServer.baseUrl, client, first.refresh_token)).body;
    const after = (await introspect(next.access_token)).body;
    assert.ok(after.iat >= before.iat + 1_000);
    assert.equal(after.exp, after.iat + next.expires_in);
    assert.equal((await introspect(first.access_token)).body.iat, before.iat);
  });

  test("a client that registered itself learns about its own tokens only, a public one nothing", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const stranger = await register(testServer.baseUrl, { token_endpoint_auth_method: "client_secret_post" });
    const asStranger = { client_id: stranger.client_id, client_secret: stranger.client_secret ?? "" };
    assert.deepEqual((await introspect(tokens.access_token, asStranger)).body, { active: false });
    const asPublic = await introspect(tokens.access_token, { client_id: client.client_id });
    assert.equal(asPublic.status, 403);
    assert.equal((await introspect(tokens.access_token, { ...backend, client_secret: "wrong" })).status, 401);
  });
});
