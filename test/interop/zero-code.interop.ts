/** The official reference server as a new user has it: one command in front of it, an entry that is written for it, and its tools pinned. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { loadConfig } from "../../src/config/config.ts";
import { builtProgram } from "../support/built-program.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { installedPackage } from "../support/installed-package.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { ranAsProcess } from "../support/ran.ts";
import { ALICE, SECRET_KEY } from "../support/test-server.ts";
import { node22 } from "./node-22.ts";

const everything = await installedPackage("@modelcontextprotocol/server-everything", "test/interop");

describe(`@modelcontextprotocol/server-everything ${everything.version}, and no line of code`, () => {
  const folder = mkdtempSync(join(tmpdir(), "zero-code-"));
  const children: ChildProcess[] = [];
  let backendUrl: string;
  let environment: Record<string, string>;
  let baseUrl: string;
  let close: () => Promise<void>;

  before(async () => {
    const [backendPort, port] = [await freePort(), await freePort()];
    backendUrl = `http://127.0.0.1:${backendPort}/mcp`;
    baseUrl = `http://localhost:${port}`;
    children.push(
      spawn(node22, [everything.program("mcp-server-everything"), "streamableHttp"], {
        env: { PATH: process.env.PATH, PORT: String(backendPort) },
        stdio: "ignore",
      }),
    );
    const answers = () =>
      fetch(backendUrl).then(
        () => true,
        () => false,
      );
    await eventually("the backend listens", answers);
    const identityProvider = await startIdentityProvider({
      port: 0,
      client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${baseUrl}/auth/callback`] },
      audience: "https://everything.example.com",
      scopes: ["mcp:use"],
      users: [{ ...ALICE, permissions: ["mcp:use"] }],
    });
    close = identityProvider.close;
    environment = {
      BASE_URL: baseUrl,
      OIDC_ISSUER: identityProvider.issuer,
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "proxy-secret",
      OIDC_AUDIENCE: "https://everything.example.com",
      SECRET_KEY,
      STORE: "memory",
      PORT: String(port),
      HOST: "127.0.0.1",
    };
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await close();
    rmSync(folder, { recursive: true });
  });
  const run = (...args: string[]) => ranAsProcess("src/cli/bin", args, { env: environment, cwd: folder });
  async function connected(url: string, headers: Record<string, string> = {}) {
    const client = new Client({ name: "test", version: "1" });
    await client.connect(
      new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }) as never,
    );
    return client;
  }

  test("one command, and a client sees the same as directly", async () => {
    const server = spawn(process.execPath, [builtProgram("src/cli/bin"), "--server", backendUrl], {
      cwd: folder,
      env: { PATH: process.env.PATH, ...environment },
      stdio: "ignore",
    });
    children.push(server);
    await eventually("it listens", () =>
      fetch(`${baseUrl}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      ),
    );
    const { access_token: token } = await signInForTokens(baseUrl, await register(baseUrl));
    const [there, here] = await Promise.all([
      connected(backendUrl),
      connected(`${baseUrl}/mcp`, { authorization: `Bearer ${token}` }),
    ]);
    assert.deepEqual(await here.listTools(), await there.listTools());
    assert.deepEqual(await here.listPrompts(), await there.listPrompts());
    const call = { name: "echo", arguments: { message: "Grüße 🌍" } };
    assert.deepEqual(await here.callTool(call), await there.callTool(call));
    await Promise.all([there.close(), here.close()]);
  });

  test("the entry that is written for it loads as it is", async () => {
    const { code, stdout, stderr } = await run(
      "admin",
      "backend",
      "inspect",
      backendUrl,
      "--name",
      "everything",
    );
    assert.equal(code, 0, stderr);
    writeFileSync(join(folder, "server.yaml"), stdout);
    const [{ source }] = loadConfig({ ...environment, CONFIG_FILE: join(folder, "server.yaml") }).resources;
    assert.ok(source.kind === "server");
    assert.deepEqual(source.settings.needs.tools.has("echo"), true);
  });

  test("its tools are pinned, and are the same when it is asked again", async () => {
    const pinned = await run("admin", "backend", "pin", backendUrl, "--pins", "everything.pins.json");
    assert.equal(pinned.code, 0, pinned.stderr);
    const { code, stdout, stderr } = await run(
      "admin",
      "backend",
      "drift",
      backendUrl,
      "--pins",
      "everything.pins.json",
    );
    assert.deepEqual([code, stdout], [0, ""], stderr);
  });
});
