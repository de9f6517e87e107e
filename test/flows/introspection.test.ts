/** Other resource servers ask about our tokens (RFC 7662). */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  postForm,
  REDIRECT_URI,
  type Registered,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { type Stage, startStage } from "../support/stage.ts";

const SECRET = "the-secret-of-another-resource-server-0123456789";

describe("introspection", () => {
  let stage: Stage;
  let client: Registered;
  before(async () => {
    stage = await startStage({
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
    client = await register(stage.baseUrl);
  });
  after(() => stage.close());

  const backend = { client_id: "backend", client_secret: SECRET };
  const introspect = (token: string, credentials: Record<string, string> = backend) =>
    postForm(`${stage.baseUrl}/introspect`, { token, ...credentials });

  test("tells a client of the configuration about both kinds of token, until they end", async () => {
    const tokens = await signInForTokens(stage.baseUrl, client);
    const access = (await introspect(tokens.access_token)).body;
    assert.deepEqual(
      { ...access, iat: 0, exp: 0 },
      {
        active: true,
        token_type: "Bearer",
        scope: "weather:read",
        client_id: client.client_id,
        sub: "alice",
        aud: stage.url,
        iss: stage.baseUrl,
        iat: 0,
        exp: 0,
      },
    );
    assert.equal((await introspect(tokens.refresh_token)).body.token_type, "refresh_token");
    stage.clock.ahead += 3_700;
    assert.deepEqual((await introspect(tokens.access_token)).body, { active: false });
    assert.equal((await introspect(tokens.refresh_token)).body.active, true);
    await revoke(stage.baseUrl, client, tokens.refresh_token);
    assert.deepEqual((await introspect(tokens.refresh_token)).body, { active: false });
    assert.deepEqual((await introspect("garbage")).body, { active: false });
  });

  test("a client that registered itself learns about its own tokens only, a public one nothing", async () => {
    const tokens = await signInForTokens(stage.baseUrl, client);
    const stranger = await register(stage.baseUrl, { token_endpoint_auth_method: "client_secret_post" });
    const asStranger = { client_id: stranger.client_id, client_secret: stranger.client_secret ?? "" };
    assert.deepEqual((await introspect(tokens.access_token, asStranger)).body, { active: false });
    const asPublic = await introspect(tokens.access_token, { client_id: client.client_id });
    assert.equal(asPublic.status, 403);
    assert.equal((await introspect(tokens.access_token, { ...backend, client_secret: "wrong" })).status, 401);
  });
});
