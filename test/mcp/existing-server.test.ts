/** A server of the MCP SDK 1.x behind our checks: what it learns of the caller, and that no check is bypassed. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { CallToolRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";
import { featuresOf, getAccessToken, getUpstreamAccessToken, requireScopes } from "../../src/index.ts";
import { eventually } from "../support/eventually.ts";
import { callTool, register, rpc, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const text = (words: string) => ({ content: [{ type: "text" as const, text: words }] });

describe("an existing server", () => {
  let alice: string;
  let bob: string;
  const cancelled: string[] = [];
  const seen: Array<Record<string, unknown>> = [];

  const testServer = useTestServer(async () => {
    const existing = new McpServer({ name: "existing", version: "1" });
    existing.registerTool("who", { description: "Who" }, async ({ authInfo }) => {
      seen.push({ ...authInfo });
      await delay(5);
      return text(`${getAccessToken().subject} ${authInfo?.extra?.subject}`);
    });
    existing.registerTool("weather", { description: "Weather" }, () => text("Rain"));
    existing.registerTool("maybe", { inputSchema: { write: z.boolean() } }, async ({ write }) => {
      await delay(5);
      if (write) requireScopes("weather:write");
      return text("done");
    });
    existing.registerTool("forgives", { description: "Catches what requireScopes() throws" }, () => {
      try {
        requireScopes("weather:write");
      } catch {
        return text("without writing");
      }
      return text("wrote");
    });
    existing.registerTool("fails", { description: "Fails" }, () => {
      throw new Error("the disk is full");
    });
    existing.registerTool("upstream", { description: "Uses the user's token" }, async () =>
      text(String((await getUpstreamAccessToken()).length > 100)),
    );
    existing.registerTool("slow", { description: "Never ends" }, async ({ signal }) => {
      seen.push({ slow: true });
      await once(signal, "abort");
      cancelled.push("slow");
      return text("");
    });
    existing.registerTool("asks", { description: "Asks the person behind the client" }, async () =>
      text(
        JSON.stringify(
          await existing.server.elicitInput({
            message: "Sure?",
            requestedSchema: { type: "object", properties: {} },
          }),
        ),
      ),
    );
    existing.registerResource("secret", "secret://one", { description: "A secret", size: 7 }, () => {
      throw new Error("password=hunter2");
    });
    const features = await featuresOf(existing, {
      tools: {
        who: [],
        weather: ["weather:read"],
        maybe: [],
        forgives: [],
        fails: [],
        upstream: [],
        slow: [],
        asks: [],
      },
      resources: { "secret://one": [] },
    });
    return {
      ...features,
      scopes: { "weather:write": { description: "Make weather", whenNeeded: true } },
      apiScopes: ["weather:write"],
    };
  });
  before(async () => {
    const client = await register(testServer.baseUrl);
    alice = (await signInForTokens(testServer.baseUrl, client)).access_token;
    bob = (await signInForTokens(testServer.baseUrl, client, { login: "bob" })).access_token;
  });

  const call = async (token: string, tool: string, args?: object) => {
    const { status, body, headers } = await callTool(testServer.url, token, tool, args);
    return { status, headers, text: body.result?.content?.[0]?.text, isError: body.result?.isError };
  };

  test("each call has its own caller, however many there are at once", async () => {
    const calls = Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? "alice" : "bob"));
    const answers = await Promise.all(calls.map((who) => call(who === "alice" ? alice : bob, "who")));
    assert.deepEqual(
      answers.map((answer) => answer.text),
      calls.map((who) => `${who} ${who}`),
    );
  });

  test("is not given the access token itself", () => {
    assert.ok(seen.length > 0);
    assert.doesNotMatch(JSON.stringify(seen), /mcp_at_/);
  });

  test("a scope that is missing stops a call before it is reached, and one that is missing inside makes a challenge", async () => {
    assert.equal((await call(alice, "weather")).text, "Rain");
    assert.equal((await call(bob, "weather")).status, 403);
    const calls = Array.from({ length: 20 }, (_, index) => index % 2 === 0);
    const answers = await Promise.all(calls.map((write) => call(alice, "maybe", { write })));
    assert.deepEqual(
      answers.map(({ status }) => status),
      calls.map((write) => (write ? 403 : 200)),
    );
    assert.match(answers[0]?.headers.get("www-authenticate") ?? "", /weather:read weather:write/);
    assert.equal((await call(alice, "forgives")).text, "without writing");
  });

  test("a session that has ended reaches nothing", async () => {
    const before = seen.length;
    assert.equal((await call(`${alice.slice(0, -4)}AAAA`, "who")).status, 401);
    assert.equal(seen.length, before);
  });

  test("its tools have the user's token at the provider", async () => {
    assert.equal((await call(alice, "upstream")).text, "true");
  });

  test("what its tools throw is told, as the SDK does; what went wrong elsewhere is not", async () => {
    const failed = await call(alice, "fails");
    assert.deepEqual([failed.isError, failed.text], [true, "the disk is full"]);
    const { body } = await rpc(testServer.url, alice, "resources/read", { uri: "secret://one" });
    assert.doesNotMatch(JSON.stringify(body), /hunter2/);
    assert.ok(
      testServer.log.some(({ reason }) => reason === "resource_failed"),
      "it is in the log",
    );
  });

  test("a server request to the client is refused, and nobody waits for an answer", async () => {
    assert.match((await call(alice, "asks")).text, /does not support/);
  });

  test("what it says of a resource is shown", async () => {
    const { body } = await rpc(testServer.url, alice, "resources/list");
    assert.deepEqual(body.result.resources, [
      { name: "secret", uri: "secret://one", description: "A secret", size: 7 },
    ]);
  });

  test("a call whose client goes away is cancelled", async () => {
    const gone = new AbortController();
    const answer = fetch(testServer.url, {
      method: "POST",
      headers: {
        authorization: `Bearer ${alice}`,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "slow" } }),
      signal: gone.signal,
    }).catch(() => {});
    await eventually("the tool runs", () => seen.some(({ slow }) => slow));
    gone.abort();
    await answer;
    await eventually("it is cancelled", () => cancelled.length > 0);
    assert.deepEqual(cancelled, ["slow"]);
  });
});

describe("an existing server is refused at the start", () => {
  function small(): McpServer {
    const server = new McpServer({ name: "small", version: "1" });
    server.registerTool("open", { description: "Open" }, () => text(""));
    server.registerTool("delete_everything", { description: "Delete" }, () => text(""));
    server.registerPrompt("ask", {}, () => ({ messages: [] }));
    return server;
  }

  test("if it offers something whose scopes nobody named", async () => {
    await assert.rejects(
      featuresOf(small(), { tools: { open: [] }, prompts: { ask: [] } }),
      /tool "delete_everything" needs/,
    );
    await assert.rejects(
      featuresOf(small(), { tools: { open: [], delete_everything: [] } }),
      /prompt "ask" needs/,
    );
  });

  test("if scopes are named for what it does not offer", async () => {
    const needs = { tools: { open: [], delete_everything: [], delete_all: ["admin"] }, prompts: { ask: [] } };
    await assert.rejects(featuresOf(small(), needs), /no tool "delete_all"/);
  });

  test("if it is connected already", async () => {
    const server = small();
    const needs = { tools: { open: [], delete_everything: [] }, prompts: { ask: [] } };
    await featuresOf(server, needs);
    await assert.rejects(featuresOf(server, needs), /Already connected/);
  });

  test("of many pages every one is read", async () => {
    const server = new Server({ name: "pages", version: "1" }, { capabilities: { tools: {} } });
    server.setRequestHandler(ListToolsRequestSchema, ({ params }) => {
      const page = Number(params?.cursor ?? 0);
      return {
        tools: [{ name: `tool_${page}`, inputSchema: { type: "object" } }],
        ...(page < 2 && { nextCursor: String(page + 1) }),
      };
    });
    server.setRequestHandler(CallToolRequestSchema, () => text(""));
    await assert.rejects(featuresOf(server, {}), /tool_0.*tool_1.*tool_2/);
  });
});
