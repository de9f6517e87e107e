/** `mcp-oidc-proxy --server URL`, as somebody types it who has an MCP server and no line of code: from the start to a tool call. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { decodeJwt } from "jose";
import {
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { builtProgram } from "../support/built-program.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { register, rpc, signInForTokens } from "../support/oauth-client.ts";
import { type Ran, ranAsProcess } from "../support/ran.ts";
import { ALICE, BOB, SECRET_KEY } from "../support/test-server.ts";

/** An MCP server that stays as it is: it knows nothing of users. */
const backend = createServer(async (req, res) => {
  const server = new McpServer({ name: "notes", version: "1" });
  server.registerTool("read_note", { description: "Reads a note" }, ({ requestInfo }) => ({
    content: [{ type: "text", text: String(requestInfo?.headers["x-mcp-identity-assertion"]) }],
  }));
  const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
  await server.connect(transport as never);
  await transport.handleRequest(req, res);
});

describe("an MCP server, and no line of code", () => {
  const children: ChildProcess[] = [];
  let folder: string;
  let backendUrl: string;
  let port: number;
  let baseUrl: string;
  let identityProvider: RunningIdentityProvider;
  /** Where people sign in, a secret key, and nothing else. */
  let environment: Record<string, string>;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "zero-code-"));
    await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
    backendUrl = `http://127.0.0.1:${(backend.address() as AddressInfo).port}/mcp`;
    port = await freePort();
    baseUrl = `http://localhost:${port}`;
    identityProvider = await startIdentityProvider({
      port: 0,
      client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${baseUrl}/auth/callback`] },
      audience: "https://notes.example.com",
      scopes: ["mcp:use"],
      users: [{ ...ALICE, permissions: ["mcp:use"] }, BOB],
    });
    environment = {
      BASE_URL: baseUrl,
      OIDC_ISSUER: identityProvider.issuer,
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "proxy-secret",
      OIDC_AUDIENCE: "https://notes.example.com",
      SECRET_KEY,
      STORE: "memory",
      PORT: String(port),
      HOST: "127.0.0.1",
    };
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await identityProvider.close();
    backend.closeAllConnections();
    backend.close();
    rmSync(folder, { recursive: true });
  });

  async function started(...args: string[]) {
    const child = spawn(process.execPath, [builtProgram("src/cli/bin"), ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.push(child);
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        output += chunk.toString();
      });
    await eventually("it listens", () => {
      if (child.exitCode !== null) throw new Error(output);
      return output.includes("Listening");
    });
    return {
      output: () => output,
      async stop() {
        child.kill("SIGTERM");
        await once(child, "exit");
      },
    };
  }

  test("one command; a person signs in, allows it, and calls a tool, which is told who calls", async () => {
    const { output, stop } = await started("--server", backendUrl);
    await eventually("it says what is needed", () => /needs mcp:use: allowed by the person/.test(output()));
    const client = await register(baseUrl);
    const { access_token: token, scope } = await signInForTokens(baseUrl, client);
    assert.equal(scope, "mcp:use");
    const transport = new StreamableHTTPClientTransport(new URL(`${baseUrl}/mcp`), {
      requestInit: { headers: { authorization: `Bearer ${token}` } },
    });
    const mcp = new Client({ name: "test", version: "1" });
    await mcp.connect(transport as never);
    assert.deepEqual(
      (await mcp.listTools()).tools.map(({ name }) => name),
      ["read_note"],
    );
    const { content } = await mcp.callTool({ name: "read_note" });
    const { aud, email } = decodeJwt((content as Array<{ text: string }>)[0]?.text ?? "");
    assert.deepEqual([aud, email], [backendUrl, "alice@example.com"]);
    await mcp.close();

    // Whoever the provider does not give that one scope sees and calls nothing.
    const bob = await signInForTokens(baseUrl, client, { login: "bob" });
    const listed = await rpc(`${baseUrl}/mcp`, bob.access_token, "tools/list");
    assert.deepEqual(listed.body.result.tools, []);
    assert.equal(
      (await rpc(`${baseUrl}/mcp`, bob.access_token, "tools/call", { name: "read_note" })).status,
      403,
    );
    assert.equal((await rpc(`${baseUrl}/mcp`, undefined, "tools/list")).status, 401);
    await stop();
  });

  test("the same as a file, for what the command line does not say", async () => {
    const file = join(folder, "server.yaml");
    writeFileSync(
      file,
      `resources: { /notes: { server: "${backendUrl}", scopes: { "notes:read": Read }, needs: { tools: { "*": ["notes:read"] } } } }`,
    );
    const { output, stop } = await started("--config", file);
    await eventually("it says what is needed", () =>
      /\/notes is in front of .* needs notes:read/.test(output()),
    );
    await stop();
    const { code, stderr } = await run("--config", file, "--server", backendUrl);
    assert.equal(code, 1);
    assert.match(stderr, /BACKEND_URL \(--server\) is set, and \S*server\.yaml:1 has resources: remove it/);
  });

  const run = (...args: string[]): Promise<Ran> =>
    ranAsProcess("src/cli/bin", args, { env: environment, cwd: folder });

  for (const [line, said] of [
    ["--sevrer http://localhost:8000/mcp", /There is no option --sevrer: write --server if you mean that/],
    [
      "--port 3001",
      /There is no option --port: there are --server, --tools, --config\. Everything else is a setting/,
    ],
    ["--server", /--server needs the URL of an MCP server, such as http:/],
    ["--server --config server.yaml", /--server needs the URL of an MCP server/],
    ["--server http://a/mcp --server http://b/mcp", /--server is there twice: keep one/],
    ["--server http://a/mcp --tools tools.js", /--server and --tools are both there: keep one of them/],
    ["--server http://a/mcp http://b/mcp", /"http:\/\/b\/mcp" belongs to no option/],
  ] as const)
    test(`a wrong command line is told with its remedy: ${line}`, async () => {
      const { code, stdout, stderr } = await run(...line.split(" "));
      assert.match(stderr, said);
      assert.doesNotMatch(stderr, /^\s+at /m);
      assert.deepEqual([code, stdout], [2, ""]);
    });
});
