/** A client that sends byte by byte does not hold a connection for ever. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { receivedUntilClosed } from "../support/received-until-closed.ts";
import { type ServerProcess, startServerProcess } from "../support/server-process.ts";
import { SECRET_KEY, startTestServer } from "../support/test-server.ts";

describe("a slow client", { concurrency: true }, () => {
  let server: ServerProcess;
  let port: number;
  before(async () => {
    port = await freePort();
    server = await startServerProcess({
      BASE_URL: `http://localhost:${port}`,
      PORT: String(port),
      HOST: "127.0.0.1",
      OIDC_ISSUER: "http://localhost:1",
      OIDC_CLIENT_ID: "x",
      OIDC_CLIENT_SECRET: "y",
      STORE: "memory",
      SECRET_KEY,
      LOG_LEVEL: "silent",
    });
  });
  after(() => server.kill());

  test("whose headers never end is answered 408 and cut, while others are served", async () => {
    const socket = connect(port, "127.0.0.1");
    const received = receivedUntilClosed(socket);
    socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n");
    const drip = setInterval(() => socket.write("X-A: b\r\n"), 500);
    try {
      assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
      assert.match(await received, /^HTTP\/1\.1 408 /);
    } finally {
      clearInterval(drip);
      socket.destroy();
    }
  });

  test("that does not take the end of its answer is cut after a minute or two", async (t) => {
    const big = defineTool({
      name: "big",
      description: "More than sockets hold",
      run: () => "x".repeat(32e6),
    });
    const testServer = await startTestServer({ tools: [big] });
    t.after(() => testServer.close());
    const { access_token } = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    const socket = connect(Number(new URL(testServer.baseUrl).port), "127.0.0.1");
    t.after(() => socket.destroy());
    const params = { name: "big", arguments: {} };
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params });
    socket
      .pause()
      .write(
        [
          "POST /mcp HTTP/1.1",
          "Host: localhost",
          `Authorization: Bearer ${access_token}`,
          "Content-Type: application/json",
          "Accept: application/json, text/event-stream",
          `Content-Length: ${body.length}`,
          "",
          body,
        ].join("\r\n"),
      );
    await eventually(
      "it is cut",
      () => testServer.log.some(({ path, reason }) => path === "/mcp" && reason === "answer_not_taken"),
      240,
    );
  });

  test("whose body never ends is answered 408 and cut after a minute, while others are served", async () => {
    const paths = ["/token", "/register", "/consent"];
    const sockets = paths.map((path) => {
      const type = path === "/register" ? "application/json" : "application/x-www-form-urlencoded";
      const socket = connect(port, "127.0.0.1");
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\nContent-Length: 1000\r\n\r\n`,
      );
      return socket;
    });
    const drip = setInterval(() => {
      for (const socket of sockets) if (socket.writable) socket.write("a");
    }, 500);
    try {
      const start = performance.now();
      const answers = sockets.map(receivedUntilClosed);
      assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
      for (const answer of await Promise.all(answers)) assert.match(answer, /^HTTP\/1\.1 408 /);
      assert.ok(performance.now() - start > 55_000, "a client that is only slow has time");
    } finally {
      clearInterval(drip);
      for (const socket of sockets) socket.destroy();
    }
  });
});
