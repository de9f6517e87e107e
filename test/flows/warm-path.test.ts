/** The grant cache saves the look-up, and nothing else: every check still applies to a cached session. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { z } from "zod";
import { createPolicy, DEFAULT_CLAIMS } from "../../src/access/policy.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { getAccessToken } from "../../src/resource/access-token-context.ts";
import { eventually } from "../support/eventually.ts";
import { callTool, type Registered, register, revoke, signInForTokens } from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { replaceablePolicy } from "../support/replaceable-policy.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

/** Tries to give itself more than it has. */
const greedy = defineTool({
  name: "greedy",
  description: "Changes what it is told of its caller",
  input: z.object({}),
  run() {
    const token = getAccessToken() as unknown as { scopes: string[]; claims: Record<string, unknown> };
    const attempts = [() => token.scopes.push("weather:write"), () => (token.claims.admin = true)];
    const refused = attempts.filter((attempt) => {
      try {
        attempt();
        return false;
      } catch {
        return true;
      }
    });
    return `${refused.length} refused; ${token.scopes.join(" ")}; ${String(token.claims.admin)}`;
  },
});

const open = createPolicy({ default: "allow", claims: DEFAULT_CLAIMS, rules: [] });

describe("a session whose grant this replica has cached", redis, () => {
  let client: Registered;
  const rules = replaceablePolicy(open);

  const testServer = useTestServer({
    redisUrl: redis.url ?? "",
    policy: rules.policy,
    tools: [greedy],
    environment: { GRANT_CACHE_SECONDS: "300" },
  });
  before(async () => {
    client = await register(testServer.baseUrl);
  });

  /** A session that this process has in memory. */
  async function warm() {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    for (let i = 0; i < 3; i++)
      assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
    return tokens;
  }

  const statusOf = async (token: string, tool = "whoami") =>
    (await callTool(testServer.url, token, tool)).status;

  test("revoked here: refused at once", async () => {
    const { access_token: token } = await warm();
    await revoke(testServer.baseUrl, client, token);
    assert.equal(await statusOf(token), 401);
  });

  test("revoked on another replica: refused here by the published change, without waiting for GRANT_CACHE_SECONDS", async () => {
    const other = await testServer.replica();
    const { access_token: token } = await warm();
    await revoke(other, client, token);
    await eventually("it is refused", async () => (await statusOf(token)) === 401);
  });

  test("expired: refused, to the second", async () => {
    const { access_token: token, expires_in: seconds } = await warm();
    const ahead = testServer.clock.ahead;
    try {
      testServer.clock.ahead = ahead + seconds - 2;
      assert.equal(await statusOf(token), 200);
      testServer.clock.ahead = ahead + seconds + 1;
      assert.equal(await statusOf(token), 401);
    } finally {
      testServer.clock.ahead = ahead;
    }
  });

  test("its refresh token, and another access token that was never issued, are refused beside it", async () => {
    const { access_token: token, refresh_token: refreshToken } = await warm();
    assert.equal(await statusOf(refreshToken), 401);
    const forged = token.slice(0, -43) + token.slice(-43).split("").reverse().join("");
    assert.notEqual(forged, token);
    assert.equal(await statusOf(forged), 401);
    assert.equal(await statusOf(token), 200, "the rightful one is untouched");
  });

  test("for another resource: refused every time, also where its grant is kept", async () => {
    const { access_token: token } = await warm();
    const elsewhere = await startTestServer({ redisUrl: redis.url ?? "" });
    try {
      for (let i = 0; i < 3; i++) assert.equal((await callTool(elsewhere.url, token, "whoami")).status, 401);
    } finally {
      await elsewhere.close();
    }
  });

  test("a policy that changes counts for the next call, and so does one that is withdrawn", async () => {
    const { access_token: token } = await warm();
    const called = async () =>
      (await callTool(testServer.url, token, "current_weather", { city: "Berlin" })).status;
    assert.equal(await called(), 200);
    try {
      rules.inForce = createPolicy({ default: "deny", claims: DEFAULT_CLAIMS, rules: [] });
      assert.equal(await called(), 401, "nobody is admitted any more");
    } finally {
      rules.inForce = open;
    }
    assert.equal(await called(), 200);
  });

  test("a tool cannot change what the next call is told of its caller", async () => {
    const { access_token: token } = await warm();
    for (let i = 0; i < 2; i++) {
      const { body } = await callTool(testServer.url, token, "greedy");
      assert.equal(body.result.content[0].text, "2 refused; weather:read; undefined");
    }
  });
});
