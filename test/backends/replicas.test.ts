/**
 * Two processes, started from a CONFIG_FILE, with one Redis: the SDKs' clients of both generations, with real access tokens, at
 * real servers of both. Every request of a session may go to either process.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpServer as McpServerV1 } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { decodeJwt } from "jose";
import { type Cluster, startCluster } from "../support/cluster.ts";
import { eventually } from "../support/eventually.ts";
import { type Registered, register, revoke, signInForTokens } from "../support/oauth-client.ts";
import { skipWithoutRedisServer } from "../support/redis.ts";

/** MCP 2025-11-25, with sessions that one process of it keeps. */
const sessions = new Map<string, { transport: StreamableHTTPServerTransport; server: McpServerV1 }>();
const older = createServer(async (req, res) => {
  const known = sessions.get(String(req.headers["mcp-session-id"]));
  if (known !== undefined) return await known.transport.handleRequest(req, res);
  if (req.headers["mcp-session-id"] !== undefined) return void res.writeHead(404).end();
  const server = new McpServerV1({ name: "older", version: "1" });
  for (const name of ["find", "hidden"])
    server.registerTool(name, { description: name }, ({ requestInfo, sessionId }) => {
      const { sub } = decodeJwt(String(requestInfo?.headers["x-mcp-identity-assertion"]));
      const said = { sub, user: requestInfo?.headers["x-forwarded-user"], sessionId };
      return { content: [{ type: "text", text: JSON.stringify(said) }] };
    });
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: () => randomUUID(),
    onsessioninitialized: (id) => void sessions.set(id, { transport, server }),
    onsessionclosed: (id) => void sessions.delete(id),
  });
  await server.connect(transport as never);
  await transport.handleRequest(req, res);
});

/** MCP 2026-07-28, which has none. */
const handler = createMcpHandler(() => {
  const server = new McpServer(
    { name: "newer", version: "1" },
    { capabilities: { tools: { listChanged: true }, resources: { subscribe: true } } },
  );
  for (const name of ["find", "hidden"])
    server.registerTool(name, { description: name }, () => ({ content: [{ type: "text", text: name }] }));
  server.registerResource("public", "crm://public/all", {}, ({ href }) => ({
    contents: [{ uri: href, text: "public" }],
  }));
  return server;
});
const serveNewer = toNodeHandler(handler);
const newer = createServer((req, res) => void serveNewer(req as never, res));

const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;

describe("backends of both generations, behind two processes", { skip: skipWithoutRedisServer() }, () => {
  const folder = mkdtempSync(join(tmpdir(), "backend-replicas-"));
  let cluster: Cluster;
  let client: Registered;
  before(async () => {
    for (const each of [older, newer])
      await new Promise<void>((resolve) => each.listen(0, "127.0.0.1", resolve));
    const CONFIG_FILE = join(folder, "server.yaml");
    writeFileSync(
      CONFIG_FILE,
      `resources:
  /older/mcp:
    name: Older
    server: ${urlOf(older)}
    audience: older
    identity: { headers: { user: x-forwarded-user } }
    scopes: { "weather:read": Read }
    needs: { tools: { find: ["weather:read"] } }
  /newer/mcp:
    name: Newer
    server: ${urlOf(newer)}
    health: ${urlOf(newer)}
    scopes: { "weather:read": Read }
    needs: { tools: { find: ["weather:read"] }, resources: { "crm://public/*": ["weather:read"] } }
`,
      { mode: 0o600 },
    );
    cluster = await startCluster(2, { CONFIG_FILE });
    client = await register(cluster.baseUrl);
  });
  after(async () => {
    await cluster?.close();
    await handler.close();
    for (const each of [older, newer]) {
      each.closeAllConnections();
      each.close();
    }
    rmSync(folder, { recursive: true });
  });

  const tokensFor = (path: string, login = "alice") =>
    signInForTokens(cluster.baseUrl, client, {
      login,
      path,
    });
  const at = (index: number, path: string) => new URL(`${cluster.servers[index]?.url}${path}`);
  const withToken = (token: string) => ({ requestInit: { headers: { authorization: `Bearer ${token}` } } });
  const textOf = (result: unknown) => (result as { content: Array<{ text: string }> }).content[0]?.text ?? "";

  test("2025-11-25: a session that was opened at one process goes on at the other, and is its caller's there, too", async () => {
    const { access_token: token } = await tokensFor("/older/mcp");
    const first = new TransportV1(at(0, "/older/mcp"), withToken(token));
    const opened = new ClientV1({ name: "test", version: "1" });
    await opened.connect(first as never);
    const sessionId = first.sessionId ?? assert.fail("a session");
    assert.ok(!sessions.has(sessionId), "not as the backend calls it");

    const second = new TransportV1(at(1, "/older/mcp"), { ...withToken(token), sessionId });
    const resumed = new ClientV1({ name: "test", version: "1" });
    await resumed.connect(second as never); // with a session there is no handshake
    const told = await Promise.all(
      [opened, resumed].map(async (each) => JSON.parse(textOf(await each.callTool({ name: "find" })))),
    );
    assert.deepEqual(told[0], told[1]);
    assert.match(told[0].sub, /#alice$/);
    assert.equal(told[0].user, told[0].sub);
    assert.ok(sessions.has(told[0].sessionId), "one session of the backend");
    const { tools } = await resumed.listTools();
    assert.deepEqual(
      tools.map(({ name }) => name),
      ["find"],
    );

    const { access_token: bobs } = await tokensFor("/older/mcp", "bob");
    const stolen = new TransportV1(at(1, "/older/mcp"), { ...withToken(bobs), sessionId });
    const thief = new ClientV1({ name: "test", version: "1" });
    await thief.connect(stolen as never);
    await assert.rejects(thief.listTools(), /404|not yours/);

    await second.terminateSession();
    assert.equal(sessions.has(told[0].sessionId), false, "ended at the other process");
    await assert.rejects(opened.listTools());
    for (const each of [opened, resumed, thief]) await each.close();
  });

  test("2026-07-28: lists, a call, a resource and a subscription, through both processes", async () => {
    const { access_token: token } = await tokensFor("/newer/mcp");
    const changed: string[] = [];
    const clients = await Promise.all(
      [0, 1].map(async (index) => {
        const mcp = new Client(
          { name: "test", version: "1" },
          { versionNegotiation: { mode: { pin: "2026-07-28" } } },
        );
        mcp.setNotificationHandler("notifications/resources/updated", ({ params }) => {
          changed.push(`${index} ${params.uri}`);
        });
        await mcp.connect(new StreamableHTTPClientTransport(at(index, "/newer/mcp"), withToken(token)));
        return mcp;
      }),
    );
    for (const mcp of clients) {
      assert.equal(mcp.getNegotiatedProtocolVersion(), "2026-07-28");
      const { tools } = await mcp.listTools();
      assert.deepEqual(
        tools.map(({ name }) => name),
        ["find"],
      );
      assert.equal(textOf(await mcp.callTool({ name: "find" })), "find");
      await assert.rejects(mcp.callTool({ name: "hidden" }), /no such feature here/);
      const { contents } = await mcp.readResource({ uri: "crm://public/all" });
      assert.equal((contents[0] as { text: string }).text, "public");
      await mcp.listen({ resourceSubscriptions: ["crm://public/all"] });
    }
    handler.notify.resourceUpdated("crm://public/all");
    await eventually("both are told", () => new Set(changed).size === 2);
    for (const mcp of clients) await mcp.close();
  });

  test("a session that is ended at one process ends the calls that run at the other", async () => {
    const { access_token: token, refresh_token } = await tokensFor("/newer/mcp");
    const mcp = new Client(
      { name: "test", version: "1" },
      { versionNegotiation: { mode: { pin: "2026-07-28" } } },
    );
    await mcp.connect(new StreamableHTTPClientTransport(at(1, "/newer/mcp"), withToken(token)));
    const subscription = await mcp.listen({ toolsListChanged: true });
    await revoke(cluster.servers[0]?.url ?? "", client, refresh_token);
    await Promise.race([subscription.closed, new Promise((_, late) => setTimeout(late, 10_000).unref())]);
    await assert.rejects(mcp.listTools());
    await mcp.close();
  });

  test("/readyz of both has the backend that is to be asked", async () => {
    for (const index of [0, 1]) {
      const ready = await fetch(at(index, "/readyz"));
      assert.deepEqual(await ready.json(), { status: "ok", store: "ok", backends: { "/newer/mcp": "ok" } });
    }
  });
});
