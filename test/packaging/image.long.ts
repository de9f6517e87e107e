/** What the image has in /app, without a container: its modules are bundled, and everything that loads others later still finds them. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { freePort } from "../support/free-port.ts";
import { type ImageTree, makeImageTree } from "../support/image-tree.ts";
import { callTool, register, signInForTokens, toolNames } from "../support/oauth-client.ts";
import { ranAsProcess } from "../support/ran.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { startedPrograms } from "../support/started-program.ts";
import { ALICE, AUDIENCE } from "../support/test-server.ts";
import { startCollector } from "../telemetry/collector.ts";

/** Of the package: the server; of zod: the same schemas as the server's; a scope that is checked while it runs. */
const TOOLS = `
import { defineTool, getAccessToken, requireScopes } from "mcp-oidc-proxy";
import { z } from "zod";
export const scopes = { "mcp:use": "Use it", "mcp:more": { description: "More", whenNeeded: true } };
export const tools = [
  defineTool({ name: "me", description: "Me", scopes: ["mcp:use"], input: z.object({ times: z.number().max(3) }),
    run: ({ times }) => getAccessToken().subject.repeat(times) }),
  defineTool({ name: "more", description: "More", run: async () => { await requireScopes("mcp:more"); return "more"; } }),
];`;

const STDIO_SERVER = fileURLToPath(new URL("../support/stdio-server.js", import.meta.url));

const backend = createServer(async (req, res) => {
  const server = new McpServer({ name: "notes", version: "1" });
  server.registerTool("read_note", { description: "Reads" }, () => ({
    content: [{ type: "text", text: "a note" }],
  }));
  const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
  await server.connect(transport as never);
  await transport.handleRequest(req, res);
});

describe("in the image", { skip: skipWithoutRedisServer() }, () => {
  const programs = startedPrograms();
  const secretKey = randomBytes(32).toString("base64"); // the doctor refuses those that were published
  let image: ImageTree;
  let redis: TestRedis;
  let identityProvider: RunningIdentityProvider;
  let port: number;
  let baseUrl: string;

  before(async () => {
    image = makeImageTree();
    redis = await startRedis();
    await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
    port = await freePort();
    baseUrl = `http://localhost:${port}`;
    identityProvider = await startIdentityProvider({
      port: 0,
      client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${baseUrl}/auth/callback`] },
      audience: AUDIENCE,
      scopes: ["mcp:use", "mcp:more"],
      users: [{ ...ALICE, permissions: ["mcp:use"] }],
      behaviour: { advertisesApiScopes: true },
    });
    mkdirSync(join(image.folder, "mounted"));
    writeFileSync(join(image.folder, "mounted/tools.js"), TOOLS);
    writeFileSync(
      join(image.folder, "mounted/server.yaml"),
      `resources:
  /mcp: { tools: ./tools.js }
  /notes/mcp:
    name: Notes
    server: http://127.0.0.1:${(backend.address() as AddressInfo).port}/mcp
    scopes: { "mcp:use": Use it }
    needs: { tools: { "*": ["mcp:use"] } }
  /files/mcp:
    name: Files
    command: [${JSON.stringify(process.execPath)}, ${JSON.stringify(STDIO_SERVER)}]
    scopes: { "mcp:use": Use it }
    needs: { tools: { "*": ["mcp:use"] } }
`,
      { mode: 0o600 },
    );
  });
  after(async () => {
    programs.endAll();
    backend.close();
    await identityProvider.close();
    await redis.stop();
    image.remove();
  });

  function environment(more: Record<string, string> = {}): Record<string, string> {
    return {
      PATH: process.env.PATH ?? "",
      BASE_URL: baseUrl,
      PORT: String(port),
      HOST: "127.0.0.1",
      REDIS_URL: redis.url,
      SECRET_KEY: secretKey,
      OIDC_ISSUER: identityProvider.issuer,
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "proxy-secret",
      OIDC_AUDIENCE: AUDIENCE,
      CLIENT_ID_METADATA: "on",
      ...more,
    };
  }

  /** Before each process is connected, it answers 503. */
  const startServer = (more: Record<string, string> = {}, processes = 1) =>
    programs.start(image.command, {
      cwd: image.folder,
      env: environment(more),
      ready: "Connected to Redis",
      times: processes,
    });
  const command = (name: string, args: string[], more: Record<string, string> = {}) =>
    ranAsProcess(join(image.folder, "dist/src/cli", name), args, {
      cwd: image.folder,
      env: environment(more),
    });

  test("there are a few files, and no type declarations or demo", () => {
    const files = readdirSync(join(image.folder, "dist"), { recursive: true, encoding: "utf8" });
    const modules = files.filter((name) => name.endsWith(".js"));
    assert.ok(modules.includes("src/cli/start.js") && modules.includes("src/index.js"), String(modules));
    assert.ok(modules.length < 40, String(modules));
    assert.deepEqual(
      files.filter((name) => name.endsWith(".ts") || name.startsWith("dev")),
      [],
    );
    assert.ok(!files.includes(".sources"), "the next build in that folder would change nothing");
  });

  test("every program that is named somewhere is there", () => {
    const said = ["package.json", "Dockerfile"].map((name) =>
      readFileSync(new URL(`../../${name}`, import.meta.url), "utf8"),
    );
    const [, commands = ""] = /^RUN for name in ([a-z ]+);/m.exec(said.join("\n")) ?? [];
    const named = said.flatMap((text) => text.match(/dist\/src\/[\w/-]+\.js/g) ?? []);
    const programs = new Set([...named, ...commands.split(" ").map((name) => `dist/src/cli/${name}.js`)]);
    assert.ok(programs.size >= 5, [...programs].join(", "));
    for (const program of programs) assert.ok(existsSync(join(image.folder, program)), program);
  });

  test("it serves the tools that come with it", async () => {
    const { stop } = await startServer();
    const { access_token: token } = await signInForTokens(baseUrl, await register(baseUrl));
    assert.ok((await toolNames(`${baseUrl}/mcp`, token)).includes("whoami"));
    assert.equal((await callTool(`${baseUrl}/mcp`, token, "whoami")).status, 200);
    assert.equal((await stop()).code, 0);
  });

  test("tools that were mounted have the server's own package, and what loads its parts later finds them", async (t) => {
    const collector = await startCollector();
    t.after(() => collector.close());
    const more = {
      CONFIG_FILE: "mounted/server.yaml",
      WORKERS: "2",
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    };
    const { stop } = await startServer(more, 2);
    const client = await register(baseUrl);
    const { access_token: token } = await signInForTokens(baseUrl, client);
    const called = (name: string, args: object) => callTool(`${baseUrl}/mcp`, token, name, args);
    assert.equal((await called("me", { times: 2 })).body.result.content[0].text, "alicealice");
    assert.match((await called("me", { times: 4 })).body.result.content[0].text, /times/);
    assert.equal((await called("more", {})).status, 403);
    const notes = await signInForTokens(baseUrl, client, { path: "/notes/mcp" });
    const note = await callTool(`${baseUrl}/notes/mcp`, notes.access_token, "read_note");
    assert.equal(note.body.result.content[0].text, "a note");
    const files = await signInForTokens(baseUrl, client, { path: "/files/mcp" });
    const echo = await callTool(`${baseUrl}/files/mcp`, files.access_token, "echo", { said: "hello" });
    assert.equal(echo.body.result.content[0].text, "hello");

    const listed = await command("admin.js", ["grants", "list", "--json"], more);
    assert.deepEqual([listed.code, listed.stderr], [0, ""]);
    // The other tests have sessions as well.
    const own = listed.stdout.split("\n").filter((line) => line.includes(client.client_id));
    assert.equal(own.length, 3, listed.stdout);
    const { code, stdout } = await command("doctor.js", ["--json"], more);
    const { canServe, findings } = JSON.parse(stdout);
    assert.ok(canServe && code === 0, stdout);
    assert.ok(findings.some(({ check }: { check: string }) => check.startsWith("backend")));
    const { code: ended, output } = await stop();
    assert.equal(ended, 0);
    assert.doesNotMatch(output, /^\s+at |"level":[56]0/m);
    assert.ok(collector.spans.some(({ name }) => /tools\/call/.test(name)));
  });

  test("what is wrong is said in words", async () => {
    const missing = await command("start.js", [], { SECRET_KEY: "" });
    assert.match(missing.stderr, /^mcp-oidc-proxy cannot start: .*SECRET_KEY is missing/s);
    const file = await command("start.js", ["--config", "mounted/none.yaml"]);
    assert.match(file.stderr, /none\.yaml/);
    const demo = await command("bin.js", ["strat"]);
    assert.match(demo.stderr, /^There is no command strat/);
    for (const { code, stderr } of [missing, file, demo]) {
      assert.ok(code === 1 || code === 2);
      assert.doesNotMatch(stderr, /^\s+at /m);
    }
  });
});
