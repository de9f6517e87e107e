/** Batches (MCP 2025-03-26): many messages in one request cost what one costs, or are refused before anything is decided. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { z } from "zod";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { reasonOf, sendRequest } from "./support.ts";

const SCOPES = Array.from({ length: 40 }, (_, n) => `room-${n}:enter-at-any-time-of-the-day`);
const dependencies = SCOPES.map((scope, n) =>
  defineTool({
    name: `room_${n}`,
    description: "Nobody here may use it",
    scopes: [scope],
    input: z.object({}),
    run: () => "entered",
  }),
);

describe("a batch", () => {
  const audited: Array<Record<string, unknown>> = [];
  let bob: string;
  const testServer = useTestServer({
    tools: dependencies,
    scopes: Object.fromEntries(SCOPES.map((scope) => [scope, scope])),
    auditStream: { write: (line) => audited.push(JSON.parse(line)) },
  });
  before(async () => {
    const client = await register(testServer.baseUrl);
    bob = (await signInForTokens(testServer.baseUrl, client, { login: "bob" })).access_token;
  });

  const call = (name: string, id: number) => ({
    jsonrpc: "2.0",
    id,
    method: "tools/call",
    params: { name, arguments: {} },
  });
  const send = (json: unknown) =>
    sendRequest(testServer.url, {
      json,
      headers: { accept: "application/json, text/event-stream", authorization: `Bearer ${bob}` },
    });
  const denied = () => audited.filter(({ event }) => event === "tool_call");

  test("of thousands of forbidden calls is refused whole, and none is decided", async () => {
    const { length } = testServer.log;
    const reply = await send(Array.from({ length: 5_000 }, (_, id) => call("current_weather", id)));
    assert.equal(reply.status, 400);
    assert.equal(reply.json.error.code, -32600);
    assert.match(reply.json.error.message, /at most 100 messages/);
    assert.equal(await reasonOf(testServer, reply), "batch_too_large");
    assert.equal(denied().length, 0);
    const lines = testServer.log.slice(length).filter(({ msg }) => msg === "request" || msg === "audit");
    assert.equal(lines.length, 1);
  });

  test("of 101 is one too many, of 100 is answered", async () => {
    const batch = (count: number) => Array.from({ length: count }, (_, id) => call("whoami", id));
    const refused = await send(batch(101));
    assert.equal(refused.status, 400);
    // The SDK refuses as many: by then each of them would have been decided.
    assert.equal(await reasonOf(testServer, refused), "batch_too_large");
    assert.equal((await send(batch(100))).status, 200);
  });

  test("of a hundred forbidden calls names each scope once, in a challenge that clients can read, and audits each tool once", async () => {
    audited.length = 0;
    const reply = await send(Array.from({ length: 100 }, (_, id) => call(`room_${id % 40}`, id)));
    assert.equal(reply.status, 403);
    const challenge = reply.headers.get("www-authenticate") ?? "";
    const asked = /[, ]scope="([^"]*)"/.exec(challenge)?.[1]?.split(" ") ?? [];
    assert.deepEqual(asked.toSorted(), SCOPES.toSorted());
    // Node's clients take 16 KB of headers, proxies 4 or 8.
    assert.ok(challenge.length < 2 * SCOPES.join(" ").length, String(challenge.length));
    assert.equal(denied().length, 40);
    assert.deepEqual(
      denied().map(({ calls }) => calls),
      SCOPES.map((_, n) => (n < 20 ? 3 : 2)),
    );
  });

  test("what is long in a request is short in the log", async () => {
    const long = "x".repeat(10_000);
    await reasonOf(testServer, await send({ ...call(long, 1), method: long }));
    await reasonOf(testServer, await send(call(long, 1)));
    const { baseUrl } = testServer;
    await reasonOf(testServer, await sendRequest(`${baseUrl}/${long}`));
    await reasonOf(testServer, await sendRequest(`${baseUrl}/register/${long}`));
    await reasonOf(testServer, await sendRequest(`${baseUrl}/authorize?client_id=${long}`));
    for (const line of testServer.log) assert.ok(JSON.stringify(line).length < 2_000, JSON.stringify(line));
  });
});
