/** The list of connected applications as an operator asks for it: of one person, of one client, of all. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pino } from "pino";
import { buildServices } from "../../src/server/services.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer } from "../support/test-server.ts";

test("grants are listed of one person, of one client and of all, with names and last uses", async () => {
  const testServer = await startTestServer({
    environment: {
      CLIENTS: JSON.stringify([
        {
          client_id: "ci",
          client_name: "CI",
          redirect_uris: ["http://127.0.0.1:33418/callback"],
          token_endpoint_auth_method: "none",
        },
      ]),
    },
  });
  try {
    const named = await register(testServer.baseUrl, { client_name: "Claude Code" });
    const ci = { client_id: "ci", redirect_uris: [] };
    await signInForTokens(testServer.baseUrl, named);
    await signInForTokens(testServer.baseUrl, named, { login: "bob" });
    await signInForTokens(testServer.baseUrl, ci);
    // Another process of the same deployment: it knows what the store knows.
    const { config, records } = testServer;
    const { connections, lastUse, clients } = buildServices({
      config,
      records,
      log: pino({ level: "silent" }),
      tools: [],
      scopes: {},
    });
    const alice = { issuer: config.identityProviders[0].issuer, subject: "alice" };
    const alices = await connections.ofUser(alice);
    assert.deepEqual(
      alices.map(({ subject, clientId, clientName, vouchedBy, lastUsedAt }) => [
        subject,
        clientId,
        clientName,
        vouchedBy,
        lastUsedAt,
      ]),
      [
        ["alice", named.client_id, "Claude Code", "nobody", undefined],
        ["alice", "ci", "CI", "operator", undefined],
      ],
    );
    lastUse.note(alices[0]?.grantId ?? "");
    assert.ok((await connections.ofUser(alice))[0]?.lastUsedAt);
    const all = [];
    for await (const { grantId } of connections.all()) all.push(grantId);
    assert.equal(all.length, 3);

    // Whoever forgets a registration has not forgotten what its users allowed.
    const registered = await clients.findRegistration(named.client_id);
    assert.ok(registered !== undefined);
    await clients.remove(registered, async () => {});
    assert.equal((await connections.ofUser(alice))[0]?.clientName, "Claude Code");
  } finally {
    await testServer.close();
  }
});
