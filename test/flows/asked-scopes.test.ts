/** Requests with unknown scopes, or with very many: the client signs in, and the token response names what was granted. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import {
  authorize,
  callTool,
  getJson,
  REDIRECT_URI,
  type Registered,
  refresh,
  register,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

const MANY = Array.from({ length: 30 }, (_, n) => `department-${n}:documents:read-write`);

describe("scopes that a client asks for", () => {
  let client: Registered;
  const testServer = useTestServer(() => {
    const clients = ["weather:read", "orders:write"].map((scope) => ({
      client_id: `only-${scope}`,
      redirect_uris: [REDIRECT_URI],
      scope,
    }));
    return {
      scopes: { "orders:write": { description: "Cancel your orders", whenNeeded: true } },
      apiScopes: ["orders:write"],
      environment: { CLIENTS: JSON.stringify(clients) },
    };
  });
  before(async () => {
    client = await register(testServer.baseUrl);
  });

  for (const scope of ["claudeai", "mcp:tools mcp:resources", "openid offline_access", "claudeai openid"])
    test(`only ones that nobody knows here (${scope}): the usual ones take their place, and the answer names them`, async () => {
      const tokens = await signInForTokens(testServer.baseUrl, client, { parameters: { scope } });
      assert.equal(tokens.scope, "weather:read");
      assert.equal((await callTool(testServer.url, tokens.access_token, "current_weather")).status, 200);
      const again = await refresh(testServer.baseUrl, client, tokens.refresh_token, { scope });
      assert.deepEqual([again.status, again.body.scope], [200, "weather:read"]);
    });

  test("an unknown one beside a known one is left out", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client, {
      parameters: { scope: "mcp:tools weather:read" },
    });
    assert.equal(tokens.scope, "weather:read");
  });

  test("the usual ones go no further than the scope that the operator gave a client in CLIENTS", async () => {
    const asked = async (clientId: string, scope: string) =>
      (
        await authorize(
          testServer.baseUrl,
          { client_id: clientId, redirect_uris: [REDIRECT_URI] },
          { parameters: { scope } },
        )
      ).get("error");
    const restricted = { client_id: "only-orders:write", redirect_uris: [REDIRECT_URI] };
    const tokens = await signInForTokens(testServer.baseUrl, restricted, {
      parameters: { scope: "claudeai" },
    });
    assert.equal(tokens.scope, "");
    assert.equal(await asked("only-weather:read", "orders:write"), "invalid_scope");
    assert.equal(await asked("only-weather:read", "orders:write claudeai"), "invalid_scope");
  });
});

test("a server whose tools need no scope signs in who asks for unknown ones, and names no empty list (RFC 9728 §3.2)", async () => {
  const testServer = await startTestServer({
    scopes: { "weather:read": { description: "x", whenNeeded: true } },
  });
  try {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client, { parameters: { scope: "claudeai" } });
    assert.equal(tokens.scope, "");
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
    const metadata = await getJson(`${testServer.baseUrl}/.well-known/oauth-protected-resource/mcp`);
    assert.equal("scopes_supported" in metadata, false);
  } finally {
    await testServer.close();
  }
});

test("a challenge of ours with thirty scopes is taken by our own /register and /authorize", async () => {
  const testServer = await startTestServer({
    scopes: Object.fromEntries(MANY.map((name) => [name, `What ${name} means`])),
    apiScopes: MANY,
  });
  try {
    const challenged = await rpc(testServer.url, undefined, "tools/list");
    const scope = /scope="([^"]+)"/.exec(challenged.headers.get("www-authenticate") ?? "")?.[1] ?? "";
    assert.ok(scope.length > 900);
    const client = await register(testServer.baseUrl, { scope });
    assert.equal(client.scope, scope);
    const tokens = await signInForTokens(testServer.baseUrl, client, { parameters: { scope } });
    assert.equal(tokens.scope, "weather:read", "the others are not this user's at the provider");
    const again = await refresh(testServer.baseUrl, client, tokens.refresh_token, { scope });
    assert.deepEqual([again.status, again.body.scope], [200, "weather:read"]);
  } finally {
    await testServer.close();
  }
});
