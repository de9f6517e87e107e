/** How long grants live, how many there may be, and that keys are rotated without losing one. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, describe, test } from "node:test";
import { defineTool, getUpstreamAccessToken } from "../../src/index.ts";
import { startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorize,
  callTool,
  postForm,
  redeem,
  refresh,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { SECRET_KEY, startTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

describe("grants", () => {
  test("the oldest ends first, per client and per user", async () => {
    const testServer = await startTestServer({
      environment: { MAX_GRANTS_PER_USER: "4", MAX_GRANTS_PER_USER_AND_CLIENT: "3" },
    });
    try {
      const [one, other] = [await register(testServer.baseUrl), await register(testServer.baseUrl)];
      const grants = [];
      for (const client of [one, one, one, one, other, other]) {
        testServer.clock.ahead += 1;
        grants.push((await signInForTokens(testServer.baseUrl, client)).access_token);
      }
      const bob = await signInForTokens(testServer.baseUrl, one, { login: "bob" });
      const alive = [];
      for (const token of grants)
        alive.push((await callTool(testServer.url, token, "whoami")).status === 200);
      assert.deepEqual(alive, [false, false, true, true, true, true]);
      assert.equal((await callTool(testServer.url, bob.access_token, "whoami")).status, 200);
    } finally {
      await testServer.close();
    }
  });

  test("one ends when it was unused for too long, and at its greatest age although it was used", async () => {
    const testServer = await startTestServer({
      environment: { GRANT_IDLE_SECONDS: "1000", GRANT_SECONDS: "2500", ACCESS_TOKEN_SECONDS: "600" },
      behaviour: { accessTokenSeconds: 100_000 },
    });
    try {
      const client = await register(testServer.baseUrl);
      let { refresh_token } = await signInForTokens(testServer.baseUrl, client);
      for (let i = 0; i < 3; i++) {
        testServer.clock.ahead += 800;
        const answer = await refresh(testServer.baseUrl, client, refresh_token);
        assert.equal(answer.status, 200);
        refresh_token = answer.body.refresh_token;
      }
      testServer.clock.ahead += 200;
      assert.equal((await refresh(testServer.baseUrl, client, refresh_token)).body.error, "invalid_grant");
    } finally {
      await testServer.close();
    }
  });

  test("SECRET_KEY is rotated without losing a session", { skip: redis.skip }, async () => {
    const NEW_KEY = "another-test-secret-key-with-more-than-32-bytes";
    const REDIS_KEY_PREFIX = `rotation-${Date.now()}`;
    const withKeys = (SECRET_KEYS: string) =>
      startTestServer({
        ...(redis.url && { redisUrl: redis.url }),
        environment: { SECRET_KEY: SECRET_KEYS, REDIS_KEY_PREFIX },
      });

    let testServer = await withKeys(SECRET_KEY);
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    await testServer.close();

    testServer = await withKeys(`${NEW_KEY},${SECRET_KEY}`);
    // The test server's address, and with it the resource, differs from run to run; this is about the stored records.
    assert.ok(await testServer.grantOf(tokens.access_token), "the old key still opens");
    await testServer.reencrypt();
    await testServer.close();

    testServer = await withKeys(NEW_KEY);
    assert.ok(await testServer.grantOf(tokens.access_token), "re-encrypted, the new key alone opens");
    await testServer.close();

    testServer = await withKeys(SECRET_KEY);
    assert.equal(await testServer.grantOf(tokens.access_token), undefined, "the old key alone does not");
    await testServer.close();
  });
});

describe("a tool that acts with the user's own upstream token", () => {
  const spy = defineTool({
    name: "upstream_token",
    description: "Shows what a backend would be sent; a real tool never returns it",
    run: async () => await getUpstreamAccessToken(),
  });

  test("gets a fresh one, renewed once, and an ended sign-in is a tool error", async () => {
    const upstream = await startFaultyProxy();
    const testServer = await startTestServer({
      throughProxy: upstream,
      tools: [spy],
      behaviour: { accessTokenSeconds: 600 },
      environment: { ACCESS_TOKEN_SECONDS: "86400" },
    });
    try {
      const client = await register(testServer.baseUrl);
      const { access_token } = await signInForTokens(testServer.baseUrl, client);
      const ask = async () => (await callTool(testServer.url, access_token, "upstream_token")).body.result;
      const first = (await ask()).content[0].text;
      assert.equal(first.split(".").length, 3, "a JWT of the provider");
      assert.equal((await ask()).content[0].text, first);
      testServer.clock.ahead += 560;
      upstream.seen.length = 0;
      const renewed = await Promise.all(Array.from({ length: 5 }, ask));
      assert.equal(new Set(renewed.map(({ content }) => content[0].text)).size, 1);
      assert.notEqual(renewed[0].content[0].text, first);
      assert.equal(upstream.seen.filter(({ grantType }) => grantType === "refresh_token").length, 1);
      assert.equal((await revoke(testServer.baseUrl, client, access_token)).status, 200);
    } finally {
      await testServer.close();
      await upstream.close();
    }
  });

  test("A11 the client's own tokens and codes go nowhere: neither to the provider nor to what a tool calls", async () => {
    const heard: string[] = [];
    const backend = createServer(async (req, res) => {
      heard.push(`${req.url}\n${req.rawHeaders.join("\n")}\n${await text(req)}`);
      res.writeHead(503).end();
    });
    await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
    const backendUrl = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`;
    const upstream = await startFaultyProxy();
    const testServer = await startTestServer({
      throughProxy: upstream,
      tools: [
        defineTool({
          name: "uses_backend",
          description: "Calls another server as the user",
          run: async () => {
            const authorization = `Bearer ${await getUpstreamAccessToken()}`;
            return String((await fetch(backendUrl, { headers: { authorization } })).status);
          },
        }),
      ],
      weather: { geocodingUrl: backendUrl, forecastUrl: backendUrl },
      behaviour: { accessTokenSeconds: 600, accessTokens: "opaque" },
    });
    try {
      const client = await register(testServer.baseUrl, { token_endpoint_auth_method: "client_secret_post" });
      const secret = { client_secret: client.client_secret ?? "" };
      const code = (await authorize(testServer.baseUrl, client)).get("code");
      const { body: tokens } = await redeem(testServer.baseUrl, client, code, secret);
      await callTool(testServer.url, tokens.access_token, "uses_backend");
      await callTool(testServer.url, tokens.access_token, "current_weather", { city: "Berlin" });
      testServer.clock.ahead += 400;
      const { body: next } = await refresh(testServer.baseUrl, client, tokens.refresh_token, secret);
      await callTool(testServer.url, next.access_token, "uses_backend");
      await postForm(`${testServer.baseUrl}/revoke`, {
        token: next.refresh_token,
        client_id: client.client_id,
        ...secret,
      });
      assert.ok(heard.length >= 3, "the backend was called");
      const paths = upstream.seen.map(({ path }) => path.split("?")[0]);
      for (const path of ["/auth", "/token", "/me", "/token/revocation"])
        assert.ok(paths.includes(path), path);
      assert.ok(upstream.seen.some(({ grantType }) => grantType === "refresh_token"));
      const sent = [...heard, ...upstream.seen.map(({ path, text }) => `${path}\n${text}`)].join("\n");
      for (const ours of [
        code,
        tokens.access_token,
        tokens.refresh_token,
        next.access_token,
        next.refresh_token,
      ])
        for (const form of [ours, encodeURIComponent(ours ?? "")]) assert.ok(!sent.includes(form ?? ""));
      assert.doesNotMatch(sent, /mcp_(ac|at|rt)_/);
      assert.ok(!sent.includes(client.client_secret ?? ""));
    } finally {
      await testServer.close();
      await upstream.close();
      backend.close();
    }
  });

  test("outside of a request there is no upstream token", () =>
    assert.rejects(getUpstreamAccessToken(), /outside of an authenticated request/));
});
