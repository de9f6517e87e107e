/** Who a tool is told is calling: immutable, the same session for all access tokens of a grant, fields as documented. */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { describe, test } from "node:test";
import { createPolicy, DEFAULT_CLAIMS } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import type { AccessToken } from "../../src/resource/access-token-context.ts";
import {
  currentCaller,
  getAccessToken,
  getAccessTokenFor,
  getUpstreamAccessToken,
  withAuthenticatedRequest,
} from "../../src/resource/access-token-context.ts";
import type { Caller } from "../../src/resource/caller.ts";
import { eventually } from "../support/eventually.ts";
import { callTool, REDIRECT_URI, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { replaceablePolicy } from "../support/replaceable-policy.ts";
import { useTestServer } from "../support/test-server.ts";

/** What the last call was told. */
let seen: { caller: Caller; token: AccessToken } | undefined;
const observe = defineTool({
  name: "observe",
  description: "Notes who is calling",
  run() {
    seen = { caller: currentCaller("test"), token: getAccessToken() };
    return "noted";
  },
});

/** The paths of every object in `value` that can be changed. */
function changeable(value: unknown, path: string): string[] {
  if (typeof value !== "object" || value === null) return [];
  const inside = Object.entries(Object.getOwnPropertyDescriptors(value)).flatMap(([name, property]) =>
    changeable(property.value, `${path}.${name}`),
  );
  return Object.isFrozen(value) ? inside : [path, ...inside];
}

const waiting = new EventEmitter();
/** Runs until its caller's scopes are others, and tells what it was told before and after. */
const wait = defineTool({
  name: "wait",
  description: "Waits until the scopes change",
  async run() {
    const before = { caller: currentCaller("test"), scopes: getAccessToken().scopes };
    waiting.emit("begun");
    await eventually("the scopes change", () => getAccessToken().scopes !== before.scopes);
    const isAnother = currentCaller("test") !== before.caller;
    const scopes = [before.caller.scopes, getAccessToken().scopes].map((each) => each.join(" "));
    return JSON.stringify({ isAnother, scopes });
  },
});

const open = createPolicy({ default: "allow", claims: DEFAULT_CLAIMS, rules: [] });
const noWeather = createPolicy(
  parsePolicy("rules: [{ name: dry, deny: { scopes: [weather:read] } }]", "policy.yaml", {
    scopes: ["weather:read"],
    tools: [],
    resources: [],
    prompts: [],
  }),
);

describe("the caller", () => {
  const rules = replaceablePolicy(open);
  const testServer = useTestServer({ tools: [observe, wait], policy: rules.policy });

  async function observed(accessToken: string) {
    seen = undefined;
    assert.equal((await callTool(testServer.url, accessToken, "observe")).status, 200);
    assert.ok(seen !== undefined);
    return seen as { caller: Caller; token: AccessToken };
  }

  test("and the access token that tools are given cannot be changed, in no part of them", async () => {
    const client = await register(testServer.baseUrl);
    const { access_token: accessToken } = await signInForTokens(testServer.baseUrl, client);
    const { caller, token } = await observed(accessToken);
    assert.deepEqual([...changeable(caller, "caller"), ...changeable(token, "token")], []);
    assert.throws(() => Object.assign(caller, { sessionKey: "another" }), TypeError);
  });

  test("is another value when the policy takes a scope away while a call runs, which the call does not need", async () => {
    const client = await register(testServer.baseUrl);
    const { access_token: accessToken } = await signInForTokens(testServer.baseUrl, client);
    try {
      const called = callTool(testServer.url, accessToken, "wait");
      await once(waiting, "begun");
      rules.inForce = noWeather;
      const { body } = await called;
      assert.deepEqual(JSON.parse(body.result.content[0].text), {
        isAnother: true,
        scopes: ["weather:read", ""],
      });
    } finally {
      rules.inForce = open;
    }
  });

  test("has one session key for all access tokens of a grant, and another for another sign-in", async () => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const first = (await observed(tokens.access_token)).caller;
    const { body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.equal((await observed(body.access_token)).caller.sessionKey, first.sessionKey);
    // What replicas of an earlier version have stored is keyed by the grant's id.
    assert.equal(first.sessionKey, (await testServer.grantOf(tokens.access_token))?.id);
    const another = await signInForTokens(testServer.baseUrl, client);
    assert.notEqual((await observed(another.access_token)).caller.sessionKey, first.sessionKey);
  });

  test("is what getAccessToken() is made of", async () => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const { token } = await observed(tokens.access_token);
    const { claims, expiresAt, ...rest } = token;
    assert.deepEqual(rest, {
      subject: "alice",
      kind: "user",
      issuer: testServer.identityProvider.issuer,
      clientId: client.client_id,
      scopes: ["weather:read"],
      notGiven: [],
      resource: testServer.url,
      grantId: (await testServer.grantOf(tokens.access_token))?.id,
      redirectUri: REDIRECT_URI,
    });
    assert.equal(claims.email, "alice@example.com");
    assert.ok(expiresAt > Date.now() / 1000);
  });

  test("who has no token at the identity provider is told so when a tool asks for it", async () => {
    const client = await register(testServer.baseUrl);
    const { access_token: accessToken } = await signInForTokens(testServer.baseUrl, client);
    const { upstreamToken: _, otherApis: __, ...caller } = (await observed(accessToken)).caller;
    const request = {
      caller,
      verify: async () => ({ caller }),
      accept: () => {},
      checkScopes: caller.permissions.checkScopes,
      required: [],
      checkAuthentication: () => undefined,
    };
    await assert.rejects(
      withAuthenticatedRequest(request, () => getUpstreamAccessToken()),
      { reason: "no_upstream_tokens" },
    );
    await assert.rejects(
      withAuthenticatedRequest(request, () => getAccessTokenFor({ audience: "https://api.example.com" })),
      { reason: "no_upstream_tokens" },
    );
  });
});
