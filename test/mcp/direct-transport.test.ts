/** The direct transport answers as the SDK's HTTP handler would: compared message by message. */
import assert from "node:assert/strict";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { toWebRequest } from "@modelcontextprotocol/node";
import { createMcpHandler, inputRequired, Server } from "@modelcontextprotocol/server";
import express from "express";
import { answerDirectly, directRequest } from "../../src/mcp/transport/direct-transport.ts";

const NEW = "2026-07-28";

function engine(revision?: string): Server {
  const server = new Server(
    { name: "test", version: "1" },
    {
      capabilities: { tools: {} },
      ...(revision !== undefined && { supportedProtocolVersions: [revision] }),
    },
  );
  server.setRequestHandler("tools/list", () => ({ tools: [] }));
  server.setRequestHandler("tools/call", async ({ params }, { mcpReq }) => {
    const { progressToken } = mcpReq._meta ?? {};
    if (params.name === "fails") throw new Error("it failed");
    if (params.name === "asks") return inputRequired({ inputRequests: { roots: inputRequired.listRoots() } });
    if (params.name === "throws and catches") {
      const { stack } = new Error("caught");
      return { content: [{ type: "text", text: stack ?? "" }] };
    }
    if (params.name === "unspeakable") return { content: [], structuredContent: { big: 1n } };
    if (progressToken !== undefined)
      await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress: 1 } });
    return { content: [{ type: "text", text: JSON.stringify(params.arguments ?? null) }] };
  });
  return server;
}

describe("the direct transport", () => {
  let http: HttpServer;
  let url: string;
  /** How the last request was served. */
  let served: "directly" | "by the handler";

  before(async () => {
    const handler = createMcpHandler(() => engine(), { legacy: "stateless" });
    const app = express();
    app.use(express.json());
    app.post("/:how", async (req, res) => {
      const direct = req.params.how === "direct" ? directRequest(req, req.body) : undefined;
      const options = {
        running: { servedBy: () => {}, doubt: undefined },
        refuse: () => assert.fail(),
        onCancelled: () => () => {},
        onOver: () => {},
        ask: assert.fail,
        onerror: () => {},
      };
      if (direct && (await answerDirectly(direct, engine(direct.revision), res, options))) {
        served = "directly";
        return;
      }
      served = "by the handler";
      const answer = await handler.fetch(await toWebRequest(req, req.body), { parsedBody: req.body });
      res.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text());
    });
    http = createServer(app).listen(0, "127.0.0.1");
    await new Promise((resolve) => http.once("listening", resolve));
    url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  });
  after(() => http.close());

  async function ask(how: "direct" | "handler", body: unknown, headers: Record<string, string>) {
    const response = await fetch(`${url}/${how}`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...headers,
      },
    });
    const text = await response.text();
    const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") ?? false;
    const data = text.split("\n").filter((line) => line.startsWith("data: "));
    const messages = isStream ? data.map((line) => JSON.parse(line.slice(6))) : [JSON.parse(text || "null")];
    return { status: response.status, messages };
  }

  const request = (method: string, params: object = {}) => ({ jsonrpc: "2.0", id: 7, method, params });
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const modern = (method: string, params: object = {}) => request(method, { ...params, _meta });
  const call = { name: "echo", arguments: { city: "Bern" } };
  const old = { "mcp-protocol-version": "2025-11-25" };
  const named = (method: string, name?: string) => ({
    "mcp-protocol-version": NEW,
    "mcp-method": method,
    ...(name !== undefined && { "mcp-name": name }),
  });

  const cases: Array<[string, "directly" | "by the handler", unknown, Record<string, string>]> = [
    ["a call of 2025", "directly", request("tools/call", call), old],
    ["a call without a version", "directly", request("tools/call", call), {}],
    ["a list of 2025", "directly", request("tools/list"), old],
    ["a ping", "directly", request("ping"), old],
    ["a call that fails", "directly", request("tools/call", { name: "fails" }), old],
    ["a call with wrong parameters", "directly", request("tools/call", { name: 1 }), old],
    ["progress", "directly", request("tools/call", { ...call, _meta: { progressToken: 5 } }), old],
    ["a call of 2026", "directly", modern("tools/call", call), named("tools/call", "echo")],
    ["a list of 2026", "directly", modern("tools/list"), named("tools/list")],
    [
      "a failing call of 2026",
      "directly",
      modern("tools/call", { name: "fails" }),
      named("tools/call", "fails"),
    ],
    [
      "progress of 2026",
      "directly",
      request("tools/call", { ...call, _meta: { ..._meta, progressToken: "p" } }),
      named("tools/call", "echo"),
    ],
    [
      "a call of 2026 that asks what the client cannot answer",
      "directly",
      modern("tools/call", { name: "asks" }),
      named("tools/call", "asks"),
    ],
    [
      "another name in the header",
      "by the handler",
      modern("tools/call", call),
      named("tools/call", "other"),
    ],
    ["no name in the header", "by the handler", modern("tools/call", call), named("tools/call")],
    [
      "another method in the header",
      "by the handler",
      modern("tools/call", call),
      named("tools/list", "echo"),
    ],
    ["an envelope without a header", "by the handler", modern("tools/call", call), {}],
    ["an envelope and an old header", "by the handler", modern("tools/call", call), old],
    [
      "a new header without an envelope",
      "by the handler",
      request("tools/call", call),
      named("tools/call", "echo"),
    ],
    [
      "an envelope that lacks something",
      "by the handler",
      request("tools/call", { ...call, _meta: { "io.modelcontextprotocol/protocolVersion": NEW } }),
      named("tools/call", "echo"),
    ],
    ["discovery", "by the handler", modern("server/discover"), named("server/discover")],
    [
      "an unknown version",
      "by the handler",
      request("tools/call", call),
      { "mcp-protocol-version": "1999-01-01" },
    ],
    ["an unknown method", "by the handler", request("tools/nonsense"), old],
    [
      "the handshake",
      "by the handler",
      request("initialize", {
        protocolVersion: "2025-11-25",
        capabilities: {},
        clientInfo: { name: "test", version: "1" },
      }),
      {},
    ],
    ["a batch", "by the handler", [request("tools/list")], old],
    ["no JSON accepted", "by the handler", request("tools/list"), { ...old, accept: "text/event-stream" }],
    ["no JSON-RPC", "by the handler", { hello: 1 }, old],
    ["an answer nobody waits for", "by the handler", { jsonrpc: "2.0", id: 1, result: {} }, old],
    ["both a request and an answer", "by the handler", { ...request("tools/list"), result: {} }, old],
  ];
  test("the errors of a handler have a stack trace, those of the messages that follow as well", async () => {
    const sent = request("tools/call", { name: "throws and catches" });
    for (let call = 0; call < 2; call++) {
      const { messages } = await ask("direct", sent, old);
      assert.equal(served, "directly");
      assert.match(messages[0].result.content[0].text, /direct-transport\.test\.ts/);
    }
  });

  test("what JSON cannot say is an error, not an answer that never comes", async () => {
    for (const _meta of [{}, { progressToken: 1 }]) {
      const { messages } = await ask("direct", request("tools/call", { name: "unspeakable", _meta }), old);
      assert.equal(messages.at(-1).error.code, -32603);
    }
  });

  for (const [name, how, body, headers] of cases)
    test(`${name} is served ${how}, and says the same`, async () => {
      const direct = await ask("direct", body, headers);
      assert.equal(served, how);
      assert.deepEqual(direct, await ask("handler", body, headers));
    });
});
