/** A refresh that repeats what was granted after the provider took some of it away (RFC 6749 §6): the rest goes on. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { pino } from "pino";
import { storedUsers } from "../../src/access/stored-users.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  type Registered,
  redeem,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { ALICE, BOB, SECRET_KEY, useTestServer } from "../support/test-server.ts";

const ALL = "weather:read orders:read orders:write";

describe("a refresh that names scopes", () => {
  let client: Registered;
  const grants = () =>
    encryptedStore({
      records: testServer.records,
      sealer: createSealer([SECRET_KEY]),
      log: pino({ level: "silent" }),
      kind: "grant",
      ...grantFormat(storedUsers(testServer.config.identityProviders)),
    });

  const testServer = useTestServer({
    behaviour: { accessTokenSeconds: 4_000 },
    scopes: { "orders:read": "See your orders", "orders:write": "Cancel your orders" },
    apiScopes: ["orders:read", "orders:write"],
    users: [{ ...ALICE, permissions: ALL.split(" ") }, BOB],
  });
  before(async () => {
    client = await register(testServer.baseUrl);
  });

  const permit = (permissions: string) =>
    testServer.identityProvider.changeUser("alice", { permissions: permissions.split(" ") });
  /** More than half of the provider's token is over: the next refresh asks there. */
  const untilRenewalIsDue = () => {
    testServer.clock.ahead += 2_100;
  };

  test("of which the provider took one away goes on with the others, every time, and says so", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client, { parameters: { scope: ALL } });
    assert.equal(tokens.scope, ALL);
    permit("weather:read orders:read");
    try {
      let current = tokens.refresh_token;
      for (let round = 0; round < 3; round++) {
        untilRenewalIsDue();
        const { status, body } = await refresh(testServer.baseUrl, client, current, { scope: ALL });
        assert.deepEqual([status, body.scope], [200, "weather:read orders:read"]);
        assert.equal((await callTool(testServer.url, body.access_token, "current_weather")).status, 200);
        current = body.refresh_token;
      }
      const lost = await refresh(testServer.baseUrl, client, current, { scope: "orders:write" });
      assert.deepEqual([lost.status, lost.body.scope], [200, ""], "it is not replaced by anything else");
    } finally {
      permit(ALL);
    }
  });

  test("of which the provider gave one not even at sign-in goes on with the others", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client, {
      login: "bob",
      parameters: { scope: ALL },
    });
    assert.equal(tokens.scope, "");
    const { status, body } = await refresh(testServer.baseUrl, client, tokens.refresh_token, { scope: ALL });
    assert.deepEqual([status, body.scope], [200, ""]);
  });

  test("of which the user refused one, or was never asked for one, is refused and costs nothing", async () => {
    const untick = await signIn(newBrowser(), authorizeUrl(testServer.baseUrl, client, { scope: ALL }), {
      login: "alice",
      approve: true,
      untick: ["orders:write"],
    });
    const unticked = (await redeem(testServer.baseUrl, client, untick.searchParams.get("code"))).body;
    const unasked = await signInForTokens(testServer.baseUrl, client, {
      parameters: { scope: "weather:read orders:read" },
    });
    permit("weather:read");
    try {
      for (const tokens of [unticked, unasked]) {
        assert.equal(tokens.scope, "weather:read orders:read");
        untilRenewalIsDue();
        const less = await refresh(testServer.baseUrl, client, tokens.refresh_token, { scope: tokens.scope });
        assert.deepEqual([less.status, less.body.scope], [200, "weather:read"]);
        const wider = await refresh(testServer.baseUrl, client, less.body.refresh_token, { scope: ALL });
        assert.deepEqual([wider.status, wider.body.error], [400, "invalid_scope"]);
        assert.match(wider.body.error_description, /was not for: orders:write\./);
        assert.equal((await refresh(testServer.baseUrl, client, less.body.refresh_token)).status, 200);
      }
    } finally {
      permit(ALL);
    }
  });

  test("is refused where a replica of an earlier version forgot what was granted, and widens nothing", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client, { parameters: { scope: ALL } });
    permit("weather:read");
    try {
      untilRenewalIsDue();
      const less = (await refresh(testServer.baseUrl, client, tokens.refresh_token, { scope: ALL })).body;
      const grant = await testServer.grantOf(less.access_token);
      assert.ok(grant);
      assert.deepEqual(grant.allowed, ALL.split(" "));
      const { allowed: _, ...asEarlier } = grant;
      await grants().put(grant.id, asEarlier, 3_600);
      const repeated = await refresh(testServer.baseUrl, client, less.refresh_token, { scope: ALL });
      assert.deepEqual([repeated.status, repeated.body.error], [400, "invalid_scope"]);
      const bare = await refresh(testServer.baseUrl, client, less.refresh_token);
      assert.deepEqual([bare.status, bare.body.scope], [200, "weather:read"]);
    } finally {
      permit(ALL);
    }
  });
});
