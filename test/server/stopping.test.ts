/** A process that is about to end: whoever is connected gets their answer, and comes back to another process. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { loadConfig } from "../../src/config/config.ts";
import { createShutdown } from "../../src/runtime/shutdown.ts";
import { listenWith } from "../../src/server/serve.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { freePort } from "../support/free-port.ts";
import { held } from "../support/held.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { SECRET_KEY, useTestServer } from "../support/test-server.ts";

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

describe("a server that runs until it is stopped", () => {
  test("closes the store after what its last requests began and did not wait for", async () => {
    const shutdown = createShutdown();
    const done: string[] = [];
    const answer = held();
    const app = {
      async handler(_req, res) {
        await answer.wait();
        // As the end of a lock, or a renewal whose caller got a 503.
        shutdown.waitUntil(delay(100).then(() => done.push("work")));
        res.end();
      },
      shutdown,
      metrics: createMetrics(),
      log: pino({ level: "silent" }),
      close: async () => void done.push("closed"),
    } satisfies Parameters<typeof listenWith>[0];
    const config = loadConfig({
      STORE: "memory",
      PORT: String(await freePort()),
      SHUTDOWN_DELAY_SECONDS: "0",
      BASE_URL: "http://localhost",
      SECRET_KEY,
      OIDC_ISSUER: "http://localhost:1",
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "secret",
    });
    const server = await listenWith(app, config, { stopOnSignals: false });
    const sent = request({ port: server.port, headers: { Connection: "close" } }, (res) =>
      res.resume(),
    ).end();
    const answered = once(sent, "response");
    await answer.reached();
    const stopped = server.stop();
    await delay(50); // it waits for the request alone
    answer.letGo();
    await Promise.all([answered, stopped]);
    assert.deepEqual(done, ["work", "closed"]);
  });
});
