/**
 * MCP servers that nobody here wrote, as programs that this server starts: the official reference server, and one in Go, each alone
 * and both as one resource.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { arch, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { commandServerOf } from "../../src/config/command-server.ts";
import { mergedServersOf } from "../../src/config/merged-servers.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { everythingServer } from "./backend-process.ts";
import { node22 } from "./node-22.ts";

/** Its program for this one machine: the package that chooses names others, which not every registry has. */
const KUBERNETES = "kubernetes-mcp-server-linux-amd64";
const KUBECONFIG = `apiVersion: v1
kind: Config
clusters: [{ name: none, cluster: { server: "http://127.0.0.1:9" } }]
users: [{ name: nobody, user: {} }]
contexts: [{ name: none, context: { cluster: none, user: nobody } }]
current-context: none
`;

describe(`${everythingServer.name} ${everythingServer.version} and kubernetes-mcp-server, started by this server`, {
  skip: arch() !== "x64" && "the one in Go is tried on x64",
}, () => {
  const folder = mkdtempSync(join(tmpdir(), "stdio-backends-"));
  const kubeconfig = join(folder, "kubeconfig");
  const needs = {
    tools: { "*": ["all:use"] },
    resources: { "*": ["all:use"] },
    prompts: { "*": ["all:use"] },
  };
  const everything = {
    command: [node22, resolve(everythingServer.program("mcp-server-everything")), "stdio"],
    needs,
  };
  const clusters = {
    command: [
      resolve("test/interop/node_modules", KUBERNETES, "bin", KUBERNETES),
      "--kubeconfig",
      kubeconfig,
    ],
    needs: { tools: { configuration_view: ["all:use"] } },
  };
  const testServer = useTestServer(() => {
    writeFileSync(kubeconfig, KUBECONFIG);
    const resource = (
      path: string,
      backend: ReturnType<typeof commandServerOf | typeof mergedServersOf>,
    ) => ({
      path,
      name: path,
      features: { tools: [], scopes: { "all:use": "Use it" } },
      backend,
    });
    return {
      furtherResources: [
        resource("/everything/mcp", commandServerOf(everything)),
        resource("/k8s/mcp", commandServerOf({ ...clusters, processPer: "principal" })),
        resource("/company/mcp", mergedServersOf({ servers: { demo: everything, k8s: clusters } })),
      ],
      apiScopes: ["all:use"],
      users: [{ subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["all:use"] }],
    };
  });
  const clients: Client[] = [];
  const client = () => new Client({ name: "test", version: "1" });
  async function through(path: string): Promise<Client> {
    const url = `${testServer.baseUrl}${path}`;
    const registered = await register(testServer.baseUrl);
    const { access_token: token } = await signInForTokens(testServer.baseUrl, registered, {
      parameters: { resource: url },
    });
    const connected = client();
    const requestInit = { headers: { authorization: `Bearer ${token}` } };
    await connected.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }) as never);
    clients.push(connected);
    return connected;
  }
  async function direct([command = "", ...args]: readonly string[]): Promise<Client> {
    const connected = client();
    await connected.connect(new StdioClientTransport({ command, args, stderr: "ignore" }));
    clients.push(connected);
    return connected;
  }
  const names = async (connected: Client) => (await connected.listTools()).tools.map(({ name }) => name);

  let there: Client;
  before(async () => {
    there = await direct(everything.command);
  });
  after(async () => {
    await Promise.all(clients.map((each) => each.close()));
    rmSync(folder, { recursive: true });
  });

  test("the reference server offers and answers the same as directly", async () => {
    const here = await through("/everything/mcp");
    assert.deepEqual(here.getServerVersion(), there.getServerVersion());
    assert.deepEqual(here.getInstructions(), there.getInstructions());
    async function alike<Seen>(see: (connected: Client) => Promise<Seen>): Promise<void> {
      assert.deepEqual(await see(here), await see(there));
    }
    await alike((each) => each.listTools());
    await alike((each) => each.listPrompts());
    await alike((each) => each.listResources());
    await alike((each) => each.listResourceTemplates());
    await alike((each) => each.callTool({ name: "echo", arguments: { message: "Grüße 🌍\n" } }));
    await alike((each) => each.callTool({ name: "get-sum", arguments: { a: 2, b: 3 } }));
    await alike((each) => each.callTool({ name: "get-tiny-image" }));
    const [{ uri } = { uri: "" }] = (await there.listResources()).resources;
    await alike((each) => each.readResource({ uri }));
  });

  test("the reference server reports progress, and is not shown our environment", async () => {
    const here = await through("/everything/mcp");
    const seen: number[] = [];
    await here.callTool(
      { name: "trigger-long-running-operation", arguments: { duration: 1, steps: 4 } },
      undefined,
      { onprogress: ({ progress }) => void seen.push(progress) },
    );
    assert.deepEqual(seen, [1, 2, 3, 4]);
    const environment = JSON.stringify(await here.callTool({ name: "get-env" }));
    assert.match(environment, /PATH/);
    assert.doesNotMatch(environment, /SECRET_KEY|HOME|npm_/);
  });

  test("the one in Go answers the same as directly", async () => {
    const [here, goDirectly] = await Promise.all([through("/k8s/mcp"), direct(clusters.command)]);
    assert.deepEqual(await names(here), ["configuration_view"]);
    const call = { name: "configuration_view", arguments: {} };
    assert.deepEqual(await here.callTool(call), await goDirectly.callTool(call));
  });

  test("both as one: the lists of both, the answers of each", async () => {
    const here = await through("/company/mcp");
    assert.deepEqual(await names(here), [
      ...(await names(there)).map((name) => `demo_${name}`),
      "k8s_configuration_view",
    ]);
    const { content } = await here.callTool({ name: "demo_echo", arguments: { message: "hello" } });
    assert.match(JSON.stringify(content), /hello/);
    const view = await here.callTool({ name: "k8s_configuration_view", arguments: {} });
    assert.match(JSON.stringify(view.content), /127\.0\.0\.1:9/);
    const [{ uri } = { uri: "" }] = (await here.listResources()).resources;
    assert.match(uri, /^demo\+/);
    assert.equal((await here.readResource({ uri })).contents[0]?.uri, uri);
  });
});
