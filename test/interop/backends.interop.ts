/**
 * MCP servers that nobody here wrote, behind this one, over Streamable HTTP with sessions: the official reference server, and one in
 * Go. The same client sees the same as directly, and less only where it may do less.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { arch, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import { installedPackage } from "../support/installed-package.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import {
  type BackendProcess,
  everythingServer,
  startBackendProcess,
  startEverythingServer,
} from "./backend-process.ts";

/** Its program for this one machine: the package that chooses names others, which not every registry has. */
const KUBERNETES = "kubernetes-mcp-server-linux-amd64";
const kubernetes = arch() === "x64" ? await installedPackage(KUBERNETES, "test/interop") : undefined;
const PATH = "/everything/mcp";

describe(`${everythingServer.name} ${everythingServer.version} behind this server`, () => {
  let backend: BackendProcess;
  let direct: Client;
  let through: Client;

  const testServer = useTestServer(async () => {
    backend = await startEverythingServer();
    return {
      furtherResources: [
        {
          path: PATH,
          name: "Everything",
          features: {
            tools: [],
            scopes: { "all:use": "Use it", "env:read": { description: "Read", whenNeeded: true } },
          },
          backend: remoteServerOf({
            server: backend.url,
            needs: {
              tools: { "*": ["all:use"], "get-env": ["env:read"] },
              resources: { "*": ["all:use"] },
              prompts: { "*": ["all:use"] },
            },
          }),
        },
      ],
      apiScopes: ["all:use", "env:read"],
      users: [
        { subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["all:use", "env:read"] },
      ],
    };
  });

  async function connected(url: string, token?: string): Promise<Client> {
    const client = new Client(
      { name: "test", version: "1" },
      { capabilities: { elicitation: {}, sampling: {}, roots: {} } },
    );
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { name: "Ada" } }));
    client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
      role: "assistant",
      model: "scripted",
      content: { type: "text", text: `Said to ${params.messages.length}` },
    }));
    client.setRequestHandler(ListRootsRequestSchema, () => ({
      roots: [{ uri: "file:///here", name: "Here" }],
    }));
    return await connectedTo(url, token, client);
  }

  before(async () => {
    const url = `${testServer.baseUrl}${PATH}`;
    const registered = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, registered, { parameters: { resource: url } });
    assert.equal(tokens.scope, "all:use");
    direct = await connected(backend.url);
    through = await connected(url, tokens.access_token);
  });
  after(async () => {
    await Promise.all([direct?.close(), through?.close()]);
    backend.stop();
  });

  /** What both see, which is the same. */
  async function alike<Seen>(see: (client: Client) => Promise<Seen>): Promise<Seen> {
    const [there, here] = [await see(direct), await see(through)];
    assert.deepEqual(here, there);
    return here;
  }

  test("says the same of itself, but for tasks, which are not passed on", async () => {
    await alike(async (client) => {
      const { tasks: _, ...capabilities } = client.getServerCapabilities() ?? {};
      return [client.getServerVersion(), capabilities, client.getInstructions()];
    });
    const offersTasks = (client: Client) => client.getServerCapabilities()?.tasks !== undefined;
    assert.deepEqual([direct, through].map(offersTasks), [true, false]);
  });

  test("offers the same, but for the tool that needs another scope", async () => {
    const names = async (client: Client) => (await client.listTools()).tools.map(({ name }) => name);
    const [there, here] = [await names(direct), await names(through)];
    assert.ok(there.includes("get-env"));
    assert.deepEqual(
      here,
      there.filter((name) => name !== "get-env"),
    );
    await alike((client) => client.listResources());
    await alike((client) => client.listResourceTemplates());
    await alike((client) => client.listPrompts());
  });

  test("answers the same: text, structured content, images, resources, prompts, suggestions", async () => {
    await alike((client) => client.callTool({ name: "echo", arguments: { message: "Grüße 🌍" } }));
    await alike((client) => client.callTool({ name: "get-sum", arguments: { a: 2, b: 3 } }));
    await alike((client) => client.callTool({ name: "get-tiny-image" }));
    await alike((client) =>
      client.callTool({ name: "get-structured-content", arguments: { location: "Chicago" } }),
    );
    const { resources } = await direct.listResources();
    const [{ uri } = { uri: "" }] = resources;
    await alike((client) => client.readResource({ uri }));
    const { prompts } = await direct.listPrompts();
    const plain = prompts.find(({ arguments: args = [] }) => args.length === 0)?.name ?? "";
    await alike((client) => client.getPrompt({ name: plain }));
    await alike(async (client) => {
      const failed = await client.callTool({ name: "get-sum", arguments: { a: "two" } });
      return failed.isError;
    });
  });

  test("reports progress while it works", async () => {
    const seen: number[] = [];
    await through.callTool(
      { name: "trigger-long-running-operation", arguments: { duration: 1, steps: 4 } },
      undefined,
      { onprogress: ({ progress }) => void seen.push(progress) },
    );
    assert.deepEqual(seen, [1, 2, 3, 4]);
  });

  test("asks the client back: a form, its model", async () => {
    const text = async (client: Client, call: Parameters<Client["callTool"]>[0]) =>
      JSON.stringify((await client.callTool(call)).content);
    assert.match(await text(through, { name: "trigger-elicitation-request" }), /Ada/);
    assert.match(
      await text(through, { name: "trigger-sampling-request", arguments: { prompt: "Hello", maxTokens: 9 } }),
      /Said to 1/,
    );
  });

  test("a tool that needs another scope is refused with a challenge for it, and never called", async () => {
    await assert.rejects(through.callTool({ name: "get-env" }), /insufficient_scope|403|env:read/);
  });
});

/** What it reads of clusters: there is none. */
const KUBECONFIG = `apiVersion: v1
kind: Config
clusters: [{ name: none, cluster: { server: "http://127.0.0.1:9" } }]
users: [{ name: nobody, user: {} }]
contexts: [{ name: none, context: { cluster: none, user: nobody } }]
current-context: none
`;

describe(`kubernetes-mcp-server ${kubernetes?.version}, in Go, behind this server`, {
  skip: kubernetes === undefined && "it is tried on x64",
}, () => {
  const folder = mkdtempSync(join(tmpdir(), "kubernetes-mcp-"));
  let backend: BackendProcess;

  const testServer = useTestServer(async () => {
    writeFileSync(join(folder, "kubeconfig"), KUBECONFIG);
    backend = await startBackendProcess((port) => {
      const config = `bind_address = "127.0.0.1"\nport = "${port}"\nkubeconfig = "${join(folder, "kubeconfig")}"\n`;
      writeFileSync(join(folder, "config.toml"), config);
      return {
        program: join("test/interop/node_modules", KUBERNETES, "bin", KUBERNETES),
        args: ["--config", join(folder, "config.toml")],
      };
    });
    return {
      furtherResources: [
        {
          path: "/k8s/mcp",
          name: "Clusters",
          features: { tools: [], scopes: { "k8s:read": "Look at clusters" } },
          backend: remoteServerOf({
            server: backend.url,
            needs: { tools: { configuration_view: ["k8s:read"], "*_list": ["k8s:read"] } },
          }),
        },
      ],
      apiScopes: ["k8s:read"],
      users: [{ subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["k8s:read"] }],
    };
  });
  after(() => {
    backend.stop();
    rmSync(folder, { recursive: true });
  });

  test("lists and calls what is named, with the same answers as directly; the rest is not there", async () => {
    const url = `${testServer.baseUrl}/k8s/mcp`;
    const registered = await register(testServer.baseUrl);
    const { access_token: token } = await signInForTokens(testServer.baseUrl, registered, {
      parameters: { resource: url },
    });
    const direct = await connectedTo(backend.url);
    const through = await connectedTo(url, token);
    const names = async (client: Client) => (await client.listTools()).tools.map(({ name }) => name);
    const there = await names(direct);
    assert.ok(there.includes("pods_delete"));
    assert.deepEqual(
      await names(through),
      there.filter((name) => name === "configuration_view" || name.endsWith("_list")),
    );
    const call = { name: "configuration_view", arguments: {} };
    assert.deepEqual(await through.callTool(call), await direct.callTool(call));
    await assert.rejects(
      through.callTool({ name: "pods_delete", arguments: { name: "a" } }),
      /pods_delete|not/,
    );
    await Promise.all([direct.close(), through.close()]);
  });
});

async function connectedTo(url: string, token?: string, client = new Client({ name: "test", version: "1" })) {
  const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  await client.connect(transport as never);
  return client;
}
