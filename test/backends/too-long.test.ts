/** What a backend leaves without an answer, where the operator says how long a call may take. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { type AnsweringBackend, openCrm, startAnsweringBackend } from "./answering-backend.ts";

describe("what takes too long at a backend", () => {
  let backend: AnsweringBackend;
  let token: string;
  let session = "";
  const testServer = useTestServer(async () => {
    backend = await startAnsweringBackend();
    backend.answer = (res, body) => {
      if (!body.includes("initialize")) return; // and never anything
      res
        .writeHead(200, { "content-type": "application/json", "mcp-session-id": "one" })
        .end(JSON.stringify({ jsonrpc: "2.0", id: 0, result: {} }));
    };
    return {
      environment: { MAX_CALL_SECONDS: "1" },
      furtherResources: [openCrm(backend)],
    };
  });
  before(async () => {
    const client = await register(testServer.baseUrl);
    ({ access_token: token } = await signInForTokens(testServer.baseUrl, client, { path: "/crm/mcp" }));
    const answer = await send({ id: 0, method: "initialize", params: {} });
    session = answer.headers.get("mcp-session-id") ?? "";
  });
  after(() => backend.close());

  function send(message?: object) {
    return fetch(`${testServer.baseUrl}/crm/mcp`, {
      method: message === undefined ? "GET" : "POST",
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...(session !== "" && { "mcp-session-id": session }),
      },
      ...(message !== undefined && { body: JSON.stringify({ jsonrpc: "2.0", ...message }) }),
    });
  }

  async function ask(message?: object) {
    const answer = await send(message);
    const said = (await answer.json()) as { id: unknown; error?: { data: { reason: string } } };
    return [answer.status, said.id, said.error?.data.reason];
  }

  test("a request has an error as its result; a stream and a notification have a status that says so", async () => {
    const [request, stream, notification] = await Promise.all([
      ask({ id: 1, method: "tools/call", params: { name: "find" } }),
      ask(),
      ask({ method: "notifications/roots/list_changed" }),
    ]);
    assert.deepEqual(request, [200, 1, "call_too_long"]);
    assert.deepEqual(stream, [504, null, "call_too_long"]);
    assert.deepEqual(notification, [504, null, "call_too_long"]);
  });
});
