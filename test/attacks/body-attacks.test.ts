/** Bodies that are small on the way and large in memory, or that never end: what one sender may cost everybody. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { eventually } from "../support/eventually.ts";
import { callTool, register, rpc, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { assertRefused, reasonOf, sendRequest } from "./support.ts";

const MEGABYTE = 1_048_576;
const FORM = "application/x-www-form-urlencoded";

describe("what a body may be", () => {
  let alice: string;
  const testServer = useTestServer();
  before(async () => {
    alice = (await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl))).access_token;
  });

  const send = (body: string | Buffer, headers: Record<string, string> = {}) =>
    sendRequest(testServer.url, {
      body: body as string,
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        authorization: `Bearer ${alice}`,
        ...headers,
      },
    });
  const callWith = (args: string) =>
    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"say_hello","arguments":${args}}}`;

  test("no route inflates what it is sent: 415, and which coding is taken (RFC 9110 §15.5.16)", async () => {
    const forms = ["/token", "/revoke", "/introspect", "/auth/backchannel-logout", "/authorize", "/consent"];
    const ownForms = ["/connections/sign-in", "/connections/end"];
    for (const path of ["/register", "/register/x", ...forms, ...ownForms])
      for (const coding of ["gzip", "GZIP", "deflate", "br", "zstd", "gzip, gzip", "nonsense"]) {
        const reply = await sendRequest(`${testServer.baseUrl}${path}`, {
          method: path === "/register/x" ? "PUT" : "POST",
          body: gzipSync("a=b") as unknown as string,
          headers: {
            accept: "application/json",
            origin: testServer.baseUrl,
            "content-type": path.startsWith("/register") ? "application/json" : FORM,
            "content-encoding": coding,
          },
        });
        assert.equal(reply.headers.get("accept-encoding"), "identity", path);
        await assertRefused(testServer, reply, {
          status: 415,
          error: "invalid_request",
          reason: "content_coding",
          describes: /without Content-Encoding/,
        });
      }
    const reply = await send(gzipSync(callWith("{}")), { "content-encoding": "gzip" });
    assert.equal(reply.status, 415);
    assert.equal(reply.headers.get("accept-encoding"), "identity");
    assert.equal(reply.json.error.code, -32600);
    assert.equal(await reasonOf(testServer, reply), "content_coding");
    assert.equal((await send(callWith('{"name":"A"}'), { "content-encoding": "identity" })).status, 200);
  });

  test("a megabyte of values, or of nesting, is refused", async () => {
    const values = await send(callWith(`{"x":[${"[],".repeat(MEGABYTE / 4)}[]]}`));
    assert.equal(values.status, 413);
    assert.match(values.json.error.message, /more than \d+ values/);
    assert.equal(await reasonOf(testServer, values), "too_many_values");
    for (const depth of [101, 400_000]) {
      const nested = await send(callWith(`${"[".repeat(depth)}${"]".repeat(depth)}`));
      assert.equal(nested.status, 400);
      assert.equal(await reasonOf(testServer, nested), "nested_too_deeply");
    }
    const registration = await sendRequest(`${testServer.baseUrl}/register`, {
      json: { redirect_uris: Array.from({ length: 10_000 }, () => []) },
    });
    await assertRefused(testServer, registration, {
      status: 413,
      error: "invalid_request",
      reason: "too_many_values",
    });
  });

  test("what tools really take passes: a large text, a table, what looks like structure inside a text", async () => {
    for (const text of ["x".repeat(MEGABYTE - 1_000), '[],{}:"'.repeat(50_000)]) {
      const reply = await rpc(testServer.url, alice, "tools/call", {
        name: "say_hello",
        arguments: { name: "A", text },
      });
      assert.equal(reply.status, 200);
    }
    const rows = Array.from({ length: 5_000 }, (_, row) => [row, row / 3, `row ${row}`]);
    assert.equal((await callTool(testServer.url, alice, "say_hello", { name: "A", rows })).status, 200);
  });

  test("sent byte by byte it is the same body", async () => {
    const text = callWith('{"name":"Ä"}');
    const pieces = [...Buffer.from(text)].map((byte) => Buffer.from([byte]));
    const response = await fetch(testServer.url, {
      method: "POST",
      body: new ReadableStream({
        start(controller) {
          for (const piece of pieces) controller.enqueue(piece);
          controller.close();
        },
      }),
      duplex: "half",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        authorization: `Bearer ${alice}`,
      },
    } as RequestInit);
    assert.match(await response.text(), /Ä/);
  });
});

describe("a body that never ends", () => {
  let alice: string;
  let bob: string;
  const sockets: Socket[] = [];
  const testServer = useTestServer();
  before(async () => {
    const client = await register(testServer.baseUrl);
    alice = (await signInForTokens(testServer.baseUrl, client)).access_token;
    bob = (await signInForTokens(testServer.baseUrl, client, { login: "bob" })).access_token;
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
  });

  test("counts for the session that sends it: 429 for that one, while others are served", async () => {
    const { port } = new URL(testServer.url);
    for (let n = 0; n < 32; n++) {
      const socket = connect(Number(port), "127.0.0.1").on("error", () => {});
      sockets.push(socket);
      socket.write(
        `POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${alice}\r\nContent-Type: application/json\r\n` +
          `Content-Length: ${MEGABYTE}\r\n\r\n"${"x".repeat(MEGABYTE - 1_000)}`,
      );
    }
    const said = sockets.map((socket) => {
      let text = "";
      socket.on("data", (data) => {
        text += data;
      });
      return () => text;
    });
    const refused = await eventually("one refused", () =>
      said.map((text) => text()).find((text) => text !== ""),
    );
    assert.match(refused, /^HTTP\/1\.1 429 /);
    assert.match(refused, /\r\nRetry-After: 1\r\n/i);
    assert.match(refused, /"jsonrpc":"2.0","error":\{"code":-32000/);
    assert.equal((await callTool(testServer.url, bob, "whoami")).status, 200);
    assert.equal((await fetch(`${testServer.baseUrl}/healthz`)).status, 200);
    const large = await rpc(testServer.url, alice, "tools/list", { x: "x".repeat(MEGABYTE - 1_000) });
    assert.equal(large.status, 429);
    for (const socket of sockets) socket.destroy();
    await eventually("what they held is given back", async () => {
      const again = await rpc(testServer.url, alice, "tools/list", { x: "x".repeat(MEGABYTE - 1_000) });
      return again.status === 200;
    });
  });
});
