/** Several MCP servers behind one resource: one sign-in, their features under names of their own, and one that is down leaves the others. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpServer, ResourceTemplate } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  CompleteResultSchema,
  ElicitRequestSchema,
  ListToolsRequestSchema,
  ResourceUpdatedNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";
import { mergedServersOf } from "../../src/config/merged-servers.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { type Registered, register, signInForTokens } from "../support/oauth-client.ts";
import { people, useTestServer } from "../support/test-server.ts";

const text = (said: string) => ({ content: [{ type: "text" as const, text: said }] });
const cancelled: string[] = [];

/** Each has a tool of the same name, and a resource of the same URI. */
function namedServer(name: string): McpServer {
  const server = new McpServer(
    { name, version: "1" },
    { capabilities: { logging: {}, resources: { subscribe: true } }, instructions: `This is ${name}.` },
  );
  server.registerTool("find", { description: `Finds in ${name}` }, () => text(`found in ${name}`));
  server.registerTool("edit_all", { description: "Changes" }, () => text("changed"));
  server.registerTool("links", {}, () => ({
    content: [
      { type: "resource_link", uri: "doc:///one", name: "one" },
      { type: "resource", resource: { uri: "doc:///two", text: 'uri: "doc:///two"' } },
      { type: "text", text: "doc:///three" },
    ],
  }));
  server.registerTool("ask", {}, async () => {
    const { content } = await server.server.elicitInput({
      message: `${name} asks`,
      requestedSchema: { type: "object", properties: { who: { type: "string" } } },
    });
    return text(`${name}: ${content?.who}`);
  });
  server.registerTool("steps", {}, async ({ sendNotification, _meta }) => {
    for (const progress of [1, 2])
      await sendNotification({
        method: "notifications/progress",
        params: { progressToken: _meta?.progressToken ?? "none", progress, total: 2 },
      });
    return text("done");
  });
  server.registerTool("wait", {}, ({ signal }) => {
    return new Promise(() => signal.addEventListener("abort", () => void cancelled.push(name)));
  });
  server.registerTool("grow", {}, async () => {
    server.registerTool("grown", {}, () => text("grown"));
    await server.server.sendResourceUpdated({ uri: "doc:///one" });
    return text("grows");
  });
  server.registerResource("one", "doc:///one", {}, ({ href }) => ({
    contents: [{ uri: href, text: `one of ${name}` }],
  }));
  server.registerResource(
    "each",
    new ResourceTemplate("doc:///each/{id}", { list: undefined, complete: { id: () => [`${name}-1`] } }),
    {},
    ({ href }) => ({ contents: [{ uri: href, text: `each of ${name}` }] }),
  );
  server.registerPrompt("greet", { argsSchema: { who: z.string() } }, ({ who }) => ({
    messages: [
      {
        role: "user",
        content: { type: "resource", resource: { uri: "doc:///one", text: `${name} greets ${who}` } },
      },
    ],
  }));
  return server;
}

const sessions = new Map<string, { transport: StreamableHTTPServerTransport; of: string }>();
function overHttp(name: string): Server {
  return createServer(async (req, res) => {
    const id = req.headers["mcp-session-id"];
    const known = sessions.get(String(id));
    if (id !== undefined && known?.of !== name)
      return void res
        .writeHead(404, { "content-type": "application/json" })
        .end('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}');
    const transport =
      known?.transport ??
      new StreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        onsessioninitialized: (id) => void sessions.set(id, { transport, of: name }),
        onsessionclosed: (id) => void sessions.delete(id),
      });
    if (known === undefined) await namedServer(name).connect(transport as never);
    await transport.handleRequest(req, res);
  });
}

/** A server of many tools, a page at a time, without sessions. */
const paged = createServer(async (req, res) => {
  const transport = new StreamableHTTPServerTransport({});
  const server = new McpServer({ name: "paged", version: "1" }, { capabilities: { tools: {} } });
  server.server.setRequestHandler(ListToolsRequestSchema, ({ params }) => {
    const at = Number(params?.cursor ?? 0);
    const tools = [{ name: `tool${at}`, inputSchema: { type: "object" as const } }];
    return { tools, ...(at < 2 && { nextCursor: String(at + 1) }) };
  });
  await server.connect(transport as never);
  await transport.handleRequest(req, res);
});

const [crm, wiki] = [overHttp("crm"), overHttp("wiki")];
/** Answers nothing at all. */
const silent = createServer(() => {});
const listening = (server: Server) => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;

const SCOPES = { "all:use": "Use it", "all:edit": { description: "Change it", whenNeeded: true } };
const needs = {
  tools: { "*": ["all:use"], edit_all: ["all:edit"] },
  resources: { "*": ["all:use"] },
  prompts: { "*": ["all:use"] },
};
const PROGRAM = join(import.meta.dirname, "../support/stdio-server.js");

describe("several MCP servers behind one resource", () => {
  const testServer = useTestServer(async () => {
    await Promise.all([crm, wiki, paged, silent].map(listening));
    const merged = (path: string, servers: Record<string, Record<string, unknown>>) => ({
      path,
      name: "Everything",
      features: { tools: [], scopes: SCOPES },
      backend: mergedServersOf({ servers }),
    });
    const [inCrm, inWiki] = [crm, wiki].map((each) => ({ server: urlOf(each), needs }));
    return {
      furtherResources: [
        merged("/all/mcp", { crm: inCrm as never, wiki: inWiki as never }),
        merged("/mixed/mcp", {
          crm: inCrm as never,
          paged: { server: urlOf(paged), needs },
          files: { command: [process.execPath, PROGRAM], needs },
        }),
        merged("/partly/mcp", {
          crm: inCrm as never,
          gone: { server: `http://127.0.0.1:${await freePort()}/mcp`, needs },
          silent: { server: urlOf(silent), needs },
        }),
        merged("/none/mcp", { gone: { server: `http://127.0.0.1:${await freePort()}/mcp`, needs } }),
      ],
      apiScopes: Object.keys(SCOPES),
      users: people(["alice", "bob"], ["all:use"]),
    };
  });
  let registered: Registered;
  const clients: Client[] = [];
  before(async () => {
    registered = await register(testServer.baseUrl);
  });
  after(async () => {
    await Promise.all(clients.map((each) => each.close()));
    for (const each of [crm, wiki, paged, silent]) {
      each.closeAllConnections();
      each.close();
    }
  });

  async function tokenFor(path: string, login = "alice"): Promise<string> {
    return (await signInForTokens(testServer.baseUrl, registered, { login, path })).access_token;
  }
  async function connected(path: string, login?: string) {
    const token = await tokenFor(path, login);
    const client = new Client({ name: "test", version: "1" }, { capabilities: { elicitation: {} } });
    const transport = new StreamableHTTPClientTransport(new URL(`${testServer.baseUrl}${path}`), {
      requestInit: { headers: { authorization: `Bearer ${token}` } },
    });
    await client.connect(transport as never);
    clients.push(client);
    return { client, transport, token };
  }
  const said = (result: unknown) => (result as { content: Array<{ text: string }> }).content[0]?.text ?? "";
  const send = (path: string, token: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${testServer.baseUrl}${path}`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...headers,
      },
      body: JSON.stringify(body),
    });

  describe("each over HTTP, with sessions", () => {
    let client: Client;
    let transport: StreamableHTTPClientTransport;
    let token: string;
    before(async () => {
      ({ client, transport, token } = await connected("/all/mcp"));
    });

    test("say what they are as one", () => {
      assert.equal(client.getServerVersion()?.name, "Everything");
      assert.equal(client.getInstructions(), "crm: This is crm.\n\nwiki: This is wiki.");
      assert.deepEqual(Object.keys(client.getServerCapabilities() ?? {}).sort(), [
        "completions",
        "logging",
        "prompts",
        "resources",
        "tools",
      ]);
    });

    test("list what their reader may use, under names of their own", async () => {
      const names = (await client.listTools()).tools.map(({ name }) => name);
      assert.ok(names.includes("crm_find") && names.includes("wiki_find"));
      assert.ok(!names.some((name) => name.endsWith("edit_all")));
      assert.deepEqual(
        (await client.listPrompts()).prompts.map(({ name }) => name),
        ["crm_greet", "wiki_greet"],
      );
      assert.deepEqual(
        (await client.listResources()).resources.map(({ uri }) => uri),
        ["crm+doc:///one", "wiki+doc:///one"],
      );
      assert.deepEqual(
        (await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate),
        ["crm+doc:///each/{id}", "wiki+doc:///each/{id}"],
      );
    });

    test("are called by those names, and no other", async () => {
      assert.equal(said(await client.callTool({ name: "crm_find" })), "found in crm");
      assert.equal(said(await client.callTool({ name: "wiki_find" })), "found in wiki");
      for (const name of ["find", "_find", "other_find", "CRM_find", "crm"])
        await assert.rejects(client.callTool({ name }), /no such feature/);
    });

    test("a tool that needs more is challenged, whose ever it is", async () => {
      const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "wiki_edit_all" } };
      const refused = await send("/all/mcp", token, call);
      assert.equal(refused.status, 403);
      assert.match(refused.headers.get("www-authenticate") ?? "", /all:edit/);
    });

    test("resources and prompts are read of whose they are, and say so", async () => {
      const { contents } = await client.readResource({ uri: "wiki+doc:///one" });
      assert.deepEqual(contents[0], { uri: "wiki+doc:///one", text: "one of wiki" });
      const [each] = (await client.readResource({ uri: "crm+doc:///each/5" })).contents;
      assert.equal(each?.uri, "crm+doc:///each/5");
      const { messages } = await client.getPrompt({ name: "crm_greet", arguments: { who: "Ann" } });
      assert.deepEqual(messages[0]?.content, {
        type: "resource",
        resource: { uri: "crm+doc:///one", text: "crm greets Ann" },
      });
    });

    test("a link in a result leads to whose it is; what only looks like one stays", async () => {
      const { content } = (await client.callTool({ name: "wiki_links" })) as { content: unknown[] };
      assert.deepEqual(content, [
        { type: "resource_link", uri: "wiki+doc:///one", name: "one" },
        { type: "resource", resource: { uri: "wiki+doc:///two", text: 'uri: "doc:///two"' } },
        { type: "text", text: "doc:///three" },
      ]);
    });

    test("completion", async () => {
      const { completion } = await client.request(
        {
          method: "completion/complete",
          params: {
            ref: { type: "ref/resource", uri: "wiki+doc:///each/{id}" },
            argument: { name: "id", value: "" },
          },
        },
        CompleteResultSchema,
      );
      assert.deepEqual(completion.values, ["wiki-1"]);
    });

    test("both may ask the client at once, with the same ids", async () => {
      client.setRequestHandler(ElicitRequestSchema, ({ params }) => ({
        action: "accept",
        content: { who: String((params as { message: string }).message) },
      }));
      const answers = await Promise.all(["crm_ask", "wiki_ask"].map((name) => client.callTool({ name })));
      assert.deepEqual(answers.map(said), ["crm: crm asks", "wiki: wiki asks"]);
    });

    test("progress, and a cancellation", async () => {
      const progress: number[] = [];
      await client.callTool({ name: "wiki_steps" }, undefined, {
        onprogress: (now) => void progress.push(now.progress),
      });
      assert.deepEqual(progress, [1, 2]);
      const stop = new AbortController();
      const waiting = client.callTool({ name: "wiki_wait" }, undefined, { signal: stop.signal });
      waiting.catch(() => {});
      await client.ping();
      stop.abort();
      await assert.rejects(waiting);
      await eventually("wiki hears of it", () => cancelled.includes("wiki"));
    });

    test("what they say by themselves comes in one stream", async () => {
      const updated: string[] = [];
      let changes = 0;
      client.setNotificationHandler(
        ResourceUpdatedNotificationSchema,
        ({ params }) => void updated.push(params.uri),
      );
      client.setNotificationHandler(ToolListChangedNotificationSchema, () => void changes++);
      for (const name of ["crm_grow", "wiki_grow"]) await client.callTool({ name });
      await eventually("both are heard", () => updated.length === 2 && changes >= 2);
      assert.deepEqual(updated.sort(), ["crm+doc:///one", "wiki+doc:///one"]);
    });

    test("a session is its caller's, and of one server alone when that has lost it", async () => {
      const bob = await tokenFor("/all/mcp", "bob");
      const ping = { jsonrpc: "2.0", id: 1, method: "ping" };
      const headers = { "mcp-session-id": transport.sessionId ?? "" };
      assert.equal((await send("/all/mcp", bob, ping, headers)).status, 404);
      const another = await connected("/all/mcp");
      const [last] = [...sessions].filter(([, { of }]) => of === "wiki").slice(-1);
      sessions.delete(last?.[0] ?? "");
      const call = (name: string) => ({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name } });
      const its = { "mcp-session-id": another.transport.sessionId ?? "" };
      assert.equal((await send("/all/mcp", another.token, call("crm_find"), its)).status, 200);
      assert.equal((await send("/all/mcp", another.token, call("wiki_find"), its)).status, 404);
    });

    test("one message at a time", async () => {
      const batch = [1, 2].map((id) => ({ jsonrpc: "2.0", id, method: "ping" }));
      assert.equal((await send("/all/mcp", token, batch)).status, 400);
    });

    test("a DELETE ends the session of each", async () => {
      const another = await connected("/all/mcp");
      const before = sessions.size;
      await another.transport.terminateSession();
      assert.equal(sessions.size, before - 2);
    });
  });

  test("a program, a server without sessions and one that pages are put together", async () => {
    const { client } = await connected("/mixed/mcp");
    const names: string[] = [];
    let cursor: string | undefined;
    let pages = 0;
    do {
      const page = await client.listTools(cursor === undefined ? {} : { cursor });
      names.push(...page.tools.map(({ name }) => name));
      cursor = page.nextCursor;
      pages++;
    } while (cursor !== undefined);
    assert.equal(pages, 3);
    for (const name of ["crm_find", "paged_tool0", "paged_tool1", "paged_tool2", "files_echo"])
      assert.equal(names.filter((each) => each === name).length, 1, name);
    assert.equal(said(await client.callTool({ name: "files_echo", arguments: { said: "hello" } })), "hello");
    const { contents } = await client.readResource({ uri: "files+files:///readme" });
    assert.equal(contents[0]?.uri, "files+files:///readme");
    await assert.rejects(client.listTools({ cursor: "nonsense" }), /cursor is none/);
  });

  test("one that is down, and one that never answers, leave the others", async () => {
    const { client } = await connected("/partly/mcp");
    const names = (await client.listTools()).tools.map(({ name }) => name);
    assert.ok(names.includes("crm_find"));
    assert.equal(said(await client.callTool({ name: "crm_find" })), "found in crm");
    await assert.rejects(client.callTool({ name: "gone_find" }), /cannot be reached/);
    for (const server of ["gone", "silent"])
      assert.ok(
        testServer.log.some(({ backend, level }) => backend === `/partly/mcp#${server}` && level === 40),
      );
  });

  test("all are down: an error that says so", async () => {
    const refused = await send("/none/mcp", await tokenFor("/none/mcp"), {
      jsonrpc: "2.0",
      id: 1,
      method: "tools/list",
    });
    assert.equal(refused.status, 502);
  });
});
