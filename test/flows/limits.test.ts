/** Rate limits of the token endpoint, shared by all replicas, and the address that they count. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { postForm, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { startTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

describe("limits of the token endpoint", redis, () => {
  test("an address is told to come back later on every replica, and loses nothing", async () => {
    const testServer = await startTestServer({
      redisUrl: redis.url ?? "",
      environment: { TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "3", TRUSTED_PROXIES: "127.0.0.1" },
    });
    try {
      const other = await testServer.replica();
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client); // 1
      const from = (address: string, baseUrl: string) =>
        postForm(
          `${baseUrl}/token`,
          { grant_type: "refresh_token", refresh_token: tokens.refresh_token, client_id: client.client_id },
          { "x-forwarded-for": address },
        );
      await from("127.0.0.1", testServer.baseUrl);
      await from("127.0.0.1", other);
      const limited = await from("127.0.0.1", other);
      assert.equal(limited.status, 429);
      assert.ok(Number(limited.headers.get("retry-after")) > 0);
      assert.equal((await from("127.0.0.1", testServer.baseUrl)).status, 429);
      assert.equal((await from("203.0.113.9", other)).status, 200);
    } finally {
      await testServer.close();
    }
  });

  test("X-Forwarded-For of somebody who is no trusted proxy changes nothing", async () => {
    const testServer = await startTestServer({ environment: { TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "2" } });
    try {
      const ask = (address: string) =>
        postForm(`${testServer.baseUrl}/token`, { grant_type: "x" }, { "x-forwarded-for": address });
      await ask("203.0.113.1");
      await ask("203.0.113.2");
      assert.equal((await ask("203.0.113.3")).status, 429);
    } finally {
      await testServer.close();
    }
  });

  test("a client that authenticates has a share of its own, which nobody uses up in its name", async () => {
    const testServer = await startTestServer({ environment: { TOKEN_REQUESTS_PER_CLIENT_PER_MINUTE: "2" } });
    try {
      const client = await register(testServer.baseUrl, { token_endpoint_auth_method: "client_secret_post" });
      const ask = (secret: string) =>
        postForm(`${testServer.baseUrl}/token`, {
          grant_type: "refresh_token",
          refresh_token: "x",
          client_id: client.client_id,
          client_secret: secret,
        });
      for (let i = 0; i < 5; i++) assert.equal((await ask("wrong")).status, 401);
      assert.equal((await ask(client.client_secret ?? "")).status, 400);
      assert.equal((await ask(client.client_secret ?? "")).status, 400);
      assert.equal((await ask(client.client_secret ?? "")).status, 429);
      const other = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, other);
      assert.equal((await refresh(testServer.baseUrl, other, tokens.refresh_token)).status, 200);
    } finally {
      await testServer.close();
    }
  });
});
