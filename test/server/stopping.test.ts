/** A process that is about to end: whoever is connected gets their answer, and comes back to another process. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { describe, test } from "node:test";
import { createShutdown } from "../../src/runtime/shutdown.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const HANDSHAKE = {
  protocolVersion: "2025-11-25",
  capabilities: {},
  clientInfo: { name: "test", version: "1" },
};

describe("a server that stops", () => {
  const shutdown = createShutdown();
  const testServer = useTestServer({ shutdown });

  /** What the answer says of its connection. */
  function connectionAfter(token: string, method: string, params: object): Promise<string | undefined> {
    const headers = {
      "Content-Type": "application/json",
      Accept: "application/json, text/event-stream",
      Authorization: `Bearer ${token}`,
      Connection: "keep-alive",
    };
    return new Promise((resolve, reject) => {
      const sent = request(testServer.url, { method: "POST", headers }, (res) => {
        assert.equal(res.statusCode, 200);
        res.resume().once("end", () => resolve(res.headers.connection));
      });
      sent.on("error", reject).end(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }));
    });
  }

  test("closes connections with their next answer, whoever made it", async () => {
    const { access_token: token } = await signInForTokens(
      testServer.baseUrl,
      await register(testServer.baseUrl),
    );
    const answers = () =>
      Promise.all([
        connectionAfter(token, "tools/call", { name: "whoami", arguments: {} }),
        connectionAfter(token, "initialize", HANDSHAKE),
      ]);
    assert.deepEqual(await answers(), ["keep-alive", "keep-alive"]);
    shutdown.stop();
    assert.deepEqual(await answers(), ["close", "close"]);
  });
});
