/**
 * Programs of others, with the official reference server behind this one: the MCP Inspector's command line and mcp-remote, each with
 * nobody at the keyboard. They sign in here, and see of that server what their user may.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import { type TestServerOptions, useTestServer } from "../support/test-server.ts";
import { type BackendProcess, everythingServer, startEverythingServer } from "./backend-process.ts";
import { type Desktop, openDesktop } from "./desktop.ts";
import { type Inspector, inspector, openInspector } from "./inspector.ts";
import { mcpRemote, openRemote, type Remote } from "./mcp-remote.ts";

const PATH = "/everything/mcp";
const SCOPES = {
  "all:use": "Use it",
  "env:read": { description: "Read its environment", whenNeeded: true },
} as const;

/** get-env needs more than is asked for at first. */
function inFrontOf({ url: server }: BackendProcess): TestServerOptions {
  const anything = { "*": ["all:use"] };
  const needs = {
    tools: { ...anything, "get-env": ["env:read"] },
    resources: anything,
    prompts: anything,
  };
  const permissions = Object.keys(SCOPES);
  return {
    furtherResources: [
      {
        path: PATH,
        name: "Everything",
        features: { tools: [], scopes: SCOPES },
        backend: remoteServerOf({ server, needs }),
      },
    ],
    apiScopes: permissions,
    users: [{ subject: "alice", name: "Alice", email: "alice@example.com", permissions }],
  };
}

// The reference server speaks 2025-11-25 alone: a client that prefers the later generation has to find that out through this server.
for (const era of ["legacy", "auto"])
  describe(`MCP Inspector CLI ${inspector.version}, --protocol-era ${era}, and ${everythingServer.name} behind this server`, () => {
    let backend: BackendProcess;
    let inspecting: Inspector;
    const testServer = useTestServer(async () => {
      backend = await startEverythingServer();
      return inFrontOf(backend);
    });
    before(async () => {
      inspecting = await openInspector(era);
    });
    after(async () => {
      await inspecting?.close();
      backend.stop();
    });

    const byUrl = () => ["--server-url", `${testServer.baseUrl}${PATH}`, "--transport", "http"];
    const call = (tool: string, ...args: string[]) =>
      inspecting.inspect([...byUrl(), "--method", "tools/call", "--tool-name", tool, ...args]);

    test("its user signs in, and sees the tools that need no more", async () => {
      const [{ tools }] = await Promise.all([
        inspecting.inspect([...byUrl(), "--method", "tools/list"]),
        inspecting.desktop.signIn(),
      ]);
      const names = tools.map(({ name }: { name: string }) => name);
      assert.ok(names.includes("echo") && !names.includes("get-env"), names.join());
    });

    test("calls, reads and asks for prompts, each a process of its own, without a browser", async () => {
      const { content } = await call("echo", "--tool-arg", "message=Hello");
      assert.deepEqual(content, [{ type: "text", text: "Echo: Hello" }]);
      const { resources } = await inspecting.inspect([...byUrl(), "--method", "resources/list"]);
      assert.ok(resources.length > 0);
      const { prompts } = await inspecting.inspect([...byUrl(), "--method", "prompts/list"]);
      assert.ok(prompts.length > 0);
      assert.equal(await inspecting.desktop.opened(), 1);
    });

    test("what its user did not allow is refused", async () => {
      await assert.rejects(call("get-env"));
    });
  });

for (const protocol of ["legacy", "auto"])
  describe(`mcp-remote ${mcpRemote.version}, --protocol ${protocol}, and ${everythingServer.name} behind this server`, () => {
    let backend: BackendProcess;
    let desktop: Desktop;
    let remote: Remote;
    const testServer = useTestServer(async () => {
      backend = await startEverythingServer();
      return inFrontOf(backend);
    });
    before(async () => {
      desktop = await openDesktop();
      remote = openRemote(desktop, `${testServer.baseUrl}${PATH}`, protocol);
      await Promise.all([remote.connect(), desktop.signIn()]);
    });
    after(async () => {
      await remote?.client.close(); // ends the process
      await desktop?.close();
      backend.stop();
    });

    test("its user sees the tools that need no more, and calls one", async () => {
      const { tools } = await remote.client.listTools();
      const names = tools.map(({ name }) => name);
      assert.ok(names.includes("echo") && !names.includes("get-env"), names.join());
      const { content } = await remote.client.callTool({ name: "echo", arguments: { message: "Hello" } });
      assert.deepEqual(content, [{ type: "text", text: "Echo: Hello" }]);
    });

    test("hears of progress while a tool works", async () => {
      const seen: number[] = [];
      await remote.client.callTool(
        { name: "trigger-long-running-operation", arguments: { duration: 1, steps: 4 } },
        { onprogress: ({ progress }) => void seen.push(progress) },
      );
      // The last one may come in one piece with the result, upon which the client listens no more.
      assert.deepEqual(seen.slice(0, 3), [1, 2, 3]);
    });

    test("goes on in its session when its access token expired, without a browser", async () => {
      testServer.clock.ahead += 3_601;
      await remote.client.callTool({ name: "get-sum", arguments: { a: 2, b: 3 } });
      assert.ok(
        testServer.log.some(({ grantType, status }) => grantType === "refresh_token" && status === 200),
      );
      assert.equal(await desktop.opened(), 1);
    });

    test("steps up when a tool needs another scope", async () => {
      const [{ content }] = await Promise.all([
        remote.client.callTool({ name: "get-env", arguments: {} }),
        desktop.signIn(),
      ]);
      assert.match(JSON.stringify(content), /PATH/);
    });
  });
