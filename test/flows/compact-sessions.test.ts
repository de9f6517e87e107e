/** STORED_SESSIONS=compact: what it makes of a session, and that replicas with and without it serve the same sessions. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { readToken } from "../../src/grants/opaque-token.ts";
import { callTool, type Registered, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";

describe("compact sessions", () => {
  let testServer: TestServer;
  let compact: string;
  let client: Registered;
  before(async () => {
    testServer = await startTestServer();
    compact = await testServer.replica({ STORED_SESSIONS: "compact" });
    client = await register(testServer.baseUrl);
  });
  after(() => testServer.close());

  const recordOf = async (accessToken: string) =>
    (await testServer.records.get(`grant:${readToken("access", accessToken)?.grantId}`)) ?? "";

  test("a session takes half as much, and every replica goes on with it in its own form", async () => {
    const first = await signInForTokens(testServer.baseUrl, client);
    const readable = await recordOf(first.access_token);
    assert.match(readable, /^1\./);

    const second = (await refresh(compact, client, first.refresh_token)).body;
    const packed = await recordOf(first.access_token);
    assert.match(packed, /^3\./);
    const third = (await refresh(testServer.baseUrl, client, second.refresh_token)).body;
    const again = await recordOf(first.access_token);
    assert.match(again, /^1\./);
    assert.ok(packed.length < again.length / 2, `${packed.length} of ${again.length}`);

    const fourth = (await refresh(compact, client, third.refresh_token)).body;
    for (const url of [testServer.baseUrl, compact])
      assert.equal((await callTool(`${url}/mcp`, fourth.access_token, "whoami")).status, 200);
  });

  test("an ended one is ended everywhere", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const { body } = await refresh(compact, client, tokens.refresh_token);
    await refresh(compact, client, body.refresh_token);
    testServer.clock.ahead += 3_600;
    const reused = await refresh(testServer.baseUrl, client, body.refresh_token);
    assert.equal(reused.body.error, "invalid_grant");
    assert.equal(await recordOf(tokens.access_token), "");
  });
});
