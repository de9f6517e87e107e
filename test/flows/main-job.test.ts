/** The main job on both stores: discover → register → consent → login → code → tokens → call → refresh → revoke. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import {
  authorize,
  callTool,
  getJson,
  newBrowser,
  redeem,
  refresh,
  register,
  revoke,
  rpc,
  signInForTokens,
  toolNames,
  VERIFIER,
} from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { useTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

for (const store of ["memory", "redis"] as const) {
  describe(`the main job on ${store}`, { skip: store === "redis" && redis.skip }, () => {
    const testServer = useTestServer(
      store === "redis" && redis.url !== undefined ? { redisUrl: redis.url } : {},
    );

    test("a client that knows only the endpoint gets all the way, and out again", async () => {
      const { url, baseUrl } = testServer;

      const unauthorized = await rpc(url, undefined, "initialize");
      assert.equal(unauthorized.status, 401);
      const challenge = unauthorized.headers.get("www-authenticate") ?? "";
      assert.doesNotMatch(challenge, /error=/);
      const metadataUrl = /resource_metadata="([^"]+)"/.exec(challenge)?.[1] ?? "";
      assert.match(challenge, /scope="weather:read"/);

      const resource = await getJson(metadataUrl);
      assert.equal(resource.resource, url);
      assert.deepEqual(resource.authorization_servers, [baseUrl]);
      assert.deepEqual(resource.scopes_supported, ["weather:read"]);

      const server = await getJson(
        `${resource.authorization_servers[0]}/.well-known/oauth-authorization-server`,
      );
      assert.equal(server.issuer, baseUrl);
      assert.deepEqual(server.code_challenge_methods_supported, ["S256"]);
      assert.equal(server.authorization_response_iss_parameter_supported, true);

      const client = await register(baseUrl);
      assert.equal(client.token_endpoint_auth_method, "none");
      assert.equal(client.client_secret, undefined);

      const browser = newBrowser();
      const response = await authorize(baseUrl, client, { browser });
      assert.equal(response.get("state"), "the-state");
      assert.equal(response.get("iss"), baseUrl);
      assert.ok(browser.history.some((step) => step.url.includes("/auth/callback")));

      const redeemed = await redeem(baseUrl, client, response.get("code"));
      assert.equal(redeemed.status, 200);
      assert.equal(redeemed.headers.get("cache-control"), "no-store");
      const tokens = redeemed.body;
      assert.equal(tokens.token_type, "Bearer");
      assert.equal(tokens.scope, "weather:read");
      assert.match(tokens.access_token, /^mcp_at_/);
      assert.match(tokens.refresh_token, /^mcp_rt_/);

      assert.equal(
        (await rpc(url, tokens.access_token, "initialize", initializeParams)).body.result.serverInfo.name,
        "Test server",
      );
      assert.deepEqual(await toolNames(url, tokens.access_token), ["whoami", "say_hello", "current_weather"]);

      const me = (await callTool(url, tokens.access_token, "whoami")).body.result.structuredContent;
      assert.deepEqual(
        { subject: me.subject, name: me.name, clientId: me.clientId, scopes: me.scopes },
        { subject: "alice", name: "Alice Example", clientId: client.client_id, scopes: ["weather:read"] },
      );
      const weather = (await callTool(url, tokens.access_token, "current_weather", { city: "Berlin" })).body
        .result;
      assert.equal(weather.structuredContent.city, "Berlin");
      assert.equal(weather.structuredContent.requestedBy, "alice");
      assert.equal(typeof weather.structuredContent.temperatureCelsius, "number");
      const hello = (await callTool(url, tokens.access_token, "say_hello", { name: "Ada" })).body.result;
      assert.equal(hello.content[0].text, "Hello, Ada!");

      const refreshed = await refresh(baseUrl, client, tokens.refresh_token);
      assert.equal(refreshed.status, 200);
      assert.notEqual(refreshed.body.access_token, tokens.access_token);
      assert.notEqual(refreshed.body.refresh_token, tokens.refresh_token);
      assert.equal((await callTool(url, refreshed.body.access_token, "whoami")).status, 200);

      assert.equal((await revoke(baseUrl, client, refreshed.body.refresh_token)).status, 200);
      for (const token of [tokens.access_token, refreshed.body.access_token]) {
        const refused = await callTool(url, token, "whoami");
        assert.equal(refused.status, 401);
        assert.match(refused.headers.get("www-authenticate") ?? "", /error="invalid_token"/);
      }
      assert.equal(
        (await refresh(baseUrl, client, refreshed.body.refresh_token)).body.error,
        "invalid_grant",
      );
    });

    test("a user without the permission does not see the tool, and a call says what is missing", async () => {
      const client = await register(testServer.baseUrl);
      const { access_token, scope } = await signInForTokens(testServer.baseUrl, client, { login: "bob" });
      assert.equal(scope, "");
      assert.deepEqual(await toolNames(testServer.url, access_token), ["whoami", "say_hello"]);
      const refused = await callTool(testServer.url, access_token, "current_weather", { city: "Berlin" });
      assert.equal(refused.status, 403);
      const challenge = refused.headers.get("www-authenticate") ?? "";
      assert.match(challenge, /error="insufficient_scope"/);
      assert.match(challenge, /scope="weather:read"/);
      assert.match(challenge, /resource_metadata="/);
    });

    test("a confidential client authenticates by the method it was given", async () => {
      const client = await register(testServer.baseUrl, { token_endpoint_auth_method: undefined });
      assert.equal(client.token_endpoint_auth_method, "client_secret_basic");
      const code = (await authorize(testServer.baseUrl, client)).get("code");
      assert.equal((await redeem(testServer.baseUrl, client, code)).status, 401);
      const basic = Buffer.from(`${client.client_id}:${client.client_secret}`).toString("base64");
      const answer = await fetch(`${testServer.baseUrl}/token`, {
        method: "POST",
        headers: { authorization: `Basic ${basic}` },
        body: new URLSearchParams({
          grant_type: "authorization_code",
          code: code ?? "",
          code_verifier: VERIFIER,
        }),
      });
      assert.equal(answer.status, 200);
    });

    test("denial comes back with state and iss, and nobody is signed in", async () => {
      const client = await register(testServer.baseUrl);
      const response = await authorize(testServer.baseUrl, client, { approve: false });
      assert.equal(response.get("error"), "access_denied");
      assert.equal(response.get("state"), "the-state");
      assert.equal(response.get("iss"), testServer.baseUrl);
    });
  });
}

const initializeParams = {
  protocolVersion: "2025-06-18",
  capabilities: {},
  clientInfo: { name: "test", version: "1" },
};
