/** `admin backend inspect`: what a server of another make offers becomes an entry of CONFIG_FILE. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the variables of a file of settings
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListToolsRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { parse } from "yaml";
import { runAdmin } from "../../src/cli/admin/program.ts";
import { loadConfig } from "../../src/config/config.ts";
import { backendFeatures } from "../../src/mcp/backends/backend-features.ts";
import { ran } from "../support/ran.ts";
import { SECRET_KEY } from "../support/test-server.ts";

const tool = (name: string, annotations?: object) => ({
  name,
  inputSchema: { type: "object" as const },
  ...(annotations && { annotations }),
});
const PAGES = [
  [tool("find", { readOnlyHint: true }), tool("remove", { destructiveHint: true })],
  [
    tool("change", { readOnlyHint: false, destructiveHint: false }),
    tool("true"),
    tool("${HOME} : {tenantid}"),
    tool("*"),
    tool("find"),
  ],
];

describe("admin backend inspect", () => {
  /** A list without an end. */
  let endless = false;
  const backend = createServer(async (req, res) => {
    if (req.headers["x-api-key"] !== undefined && req.headers["x-api-key"] !== "the-key")
      return void res.writeHead(401).end();
    const server = new Server(
      { name: "foreign", version: "1" },
      { capabilities: { tools: {}, resources: {}, prompts: {} } },
    );
    server.setRequestHandler(ListToolsRequestSchema, ({ params }) => {
      const page = Number(params?.cursor ?? 0);
      const isLast = page === PAGES.length - 1 && !endless;
      return { tools: PAGES[page] ?? [], ...(!isLast && { nextCursor: "1" }) };
    });
    server.setRequestHandler(ListResourcesRequestSchema, () => ({
      resources: [{ uri: "crm://all", name: "all" }],
    }));
    server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({
      resourceTemplates: [
        { uriTemplate: "crm://one/{id}", name: "one" },
        { uriTemplate: "crm://one/{id}/of/{+more}{?page,size}", name: "more" },
        { uriTemplate: "{+any}", name: "any" },
      ],
    }));
    server.setRequestHandler(ListPromptsRequestSchema, () => ({ prompts: [{ name: "greet" }] }));
    const transport = new StreamableHTTPServerTransport();
    await server.connect(transport as Parameters<typeof server.connect>[0]);
    await transport.handleRequest(req, res);
  });
  const folder = mkdtempSync(join(tmpdir(), "inspect-"));
  const FILE = join(folder, "server.yaml");
  let url: string;
  before(async () => {
    await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(backend.address() as AddressInfo).port}/mcp`;
  });
  after(() => {
    backend.closeAllConnections();
    backend.close();
    rmSync(folder, { recursive: true });
  });
  const inspect = (...args: string[]) => inspectWith({}, ...args);
  const inspectWith = (environment: Record<string, string>, ...args: string[]) =>
    ran((streams) => runAdmin(["backend", "inspect", ...args], () => environment, streams));

  /** As the server does. */
  function loaded(content: string, environment: Record<string, string> = {}) {
    writeFileSync(FILE, content);
    const [resource] = loadConfig({
      BASE_URL: "https://mcp.example.com",
      STORE: "memory",
      SECRET_KEY,
      OIDC_ISSUER: "https://login.example.com",
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "secret",
      CONFIG_FILE: FILE,
      ...environment,
    }).resources;
    assert.ok(resource.source.kind === "server");
    return resource.source;
  }
  const NEEDS = {
    tools: {
      find: ["crm:read"],
      change: ["crm:write"],
      remove: ["crm:write"],
      "${HOME} : {tenantid}": ["crm:write"],
      true: ["crm:write"],
    },
    resources: {
      "crm://all": ["crm:read"],
      "crm://one/*": ["crm:read"],
      "crm://one/*/of/*": ["crm:read"],
      "crm://one/{id}": ["crm:read"],
      "crm://one/{id}/of/{+more}{?page,size}": ["crm:read"],
    },
    prompts: { greet: ["crm:read"] },
  };

  test("what only reads needs less than what may change something, on all pages, and it loads as it is", async () => {
    const { code, stdout, stderr } = await inspect(url, "--name", "crm");
    assert.equal(code, 0, stderr);
    const { "/crm/mcp": entry } = parse(stdout).resources;
    assert.equal(entry.server, url);
    assert.deepEqual(entry.needs, NEEDS);
    assert.deepEqual(Object.keys(entry.scopes), ["crm:read", "crm:write"]);
    const { settings } = loaded(stdout);
    assert.deepEqual([...settings.needs.tools.keys()].sort(), Object.keys(NEEDS.tools).sort());
    assert.deepEqual(settings.needs.tools.get("remove"), [["crm:write"]]);
    assert.match(stderr, /7 tools/);
    assert.match(stderr, /Left out, because needs cannot name it: "\*", "\{\+any\}"/);
    const { feature } = backendFeatures(settings);
    for (const uri of ["crm://all", "crm://one/5", "crm://one/{id}", "crm://one/5/of/a/b?page=1"])
      assert.ok(feature("resource", uri), `${uri} can be read`);
    for (const uri of ["crm://other", "crm://two/5"]) assert.equal(feature("resource", uri), undefined, uri);
  });

  test("the tools are grouped by what they say of themselves", async () => {
    const { stdout } = await inspect(url);
    const tools = stdout.slice(stdout.indexOf("tools:"), stdout.indexOf("resources:", 20));
    const lines = tools.split("\n").map((line) => line.trim());
    const keys = lines.filter((line) => /^(#|[^-].*:$)/.test(line));
    assert.deepEqual(keys, [
      "tools:",
      "# Say that they only read (readOnlyHint):",
      "find:",
      "# Say that they change something, and destroy nothing (destructiveHint: false):",
      "change:",
      "# Say that they may destroy something (destructiveHint):",
      "remove:",
      "# Say nothing of what they do: by MCP's defaults they may destroy something:",
      '"${HOME} : {tenantid}":',
      '"true":',
    ]);
  });

  test("of a resource of CONFIG_FILE: by its own URL and key, before it has needs; and the key stays a variable", async () => {
    writeFileSync(
      FILE,
      `resources:
  /crm/mcp:
    name: Customers
    server: ${url}
    headers: { x-api-key: "\${CRM_KEY}" }
  /other/mcp:
    server: http://127.0.0.1:1/mcp
    headers: { x-api-key: "\${NOT_SET}" }
`,
    );
    const { code, stdout, stderr } = await inspectWith(
      { CRM_KEY: "the-key" },
      "--config",
      FILE,
      "--resource",
      "/crm/mcp",
    );
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stdout, /the-key/);
    const { settings } = loaded(stdout, { CRM_KEY: "the-key" });
    assert.deepEqual(settings.reach.kind === "http" && settings.reach.headers, { "x-api-key": "the-key" });
    assert.deepEqual(parse(stdout).resources["/crm/mcp"].needs, NEEDS);

    const wrong = await inspectWith({ CRM_KEY: "another" }, "--config", FILE, "--resource", "/crm/mcp");
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /\/crm\/mcp does not answer as an MCP server: It answered 401/);
    const unset = await inspectWith({ CONFIG_FILE: FILE }, "--resource", "/crm/mcp");
    assert.equal(unset.code, 1);
    assert.match(unset.stderr, /server\.yaml:\d+: .*CRM_KEY is not set/);
  });

  test("a key that is written out in the file is not shown", async () => {
    writeFileSync(FILE, `resources: { /crm/mcp: { server: "${url}", headers: { x-api-key: the-key } } }`);
    const { code, stdout, stderr } = await inspect("--config", FILE, "--resource", "/crm/mcp");
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stdout + stderr, /the-key/);
    assert.deepEqual(parse(stdout).resources["/crm/mcp"].headers, { "x-api-key": "${X_API_KEY}" });
    loaded(stdout, { X_API_KEY: "the-key" });
  });

  test("several servers of one resource: each under its own name, and one that is down stays as it is", async () => {
    const down = { server: "http://127.0.0.1:1/mcp", needs: { tools: { look: ["wiki:read"] } } };
    const servers = { crm: { server: url, headers: { "x-api-key": "the-key" } }, wiki: down };
    const scopes = { "wiki:read": "Read the wiki" };
    writeFileSync(FILE, JSON.stringify({ resources: { "/all/mcp": { name: "All", scopes, servers } } }));
    const { code, stdout, stderr } = await inspect("--config", FILE, "--resource", "/all/mcp");
    assert.equal(code, 1, "it is no whole answer");
    assert.match(stderr, /\/all\/mcp#wiki does not answer as an MCP server\. Its entry is as it was\./);
    assert.doesNotMatch(stdout + stderr, /the-key/);
    const entry = parse(stdout).resources["/all/mcp"];
    assert.deepEqual(entry.servers.crm.needs, NEEDS);
    assert.deepEqual(entry.servers.wiki, down);
    assert.deepEqual(Object.keys(entry.scopes), ["wiki:read", "crm:read", "crm:write"]);
    assert.match(stdout, /# Say that they only read \(readOnlyHint\):\n +find:/);
    const { settings } = loaded(stdout, { X_API_KEY: "the-key" });
    assert.deepEqual(settings.needs.tools.get("crm_find"), [["crm:read"]]);
    const both = { crm: { server: url }, wiki: { server: url } };
    writeFileSync(FILE, JSON.stringify({ resources: { "/all/mcp": { servers: both } } }));
    const whole = await inspect("--config", FILE, "--resource", "/all/mcp");
    assert.equal(whole.code, 0, whole.stderr);
    assert.match(whole.stderr, /14 tools/);
    assert.deepEqual([...loaded(whole.stdout).settings.needs.tools.keys()].includes("wiki_remove"), true);
    const none = { crm: { server: down.server } };
    writeFileSync(FILE, JSON.stringify({ resources: { "/all/mcp": { servers: none } } }));
    assert.match(
      (await inspect("--config", FILE, "--resource", "/all/mcp")).stderr,
      /\/all\/mcp#crm does not answer as an MCP server/,
    );
  });

  test("a list without an end is no list", async () => {
    endless = true;
    const { code, stderr } = await inspect(url);
    endless = false;
    assert.equal(code, 1);
    assert.match(stderr, /cursor comes again/);
  });

  test("what is no server is told, and so is a wrong command line", async () => {
    writeFileSync(FILE, `resources: { /crm/mcp: { server: "${url}" } }`);
    const silent = await inspect("http://127.0.0.1:1/mcp");
    assert.equal(silent.code, 1);
    assert.match(silent.stderr, /does not answer as an MCP server/);
    assert.equal((await inspect("crm.internal")).code, 2);
    assert.equal((await inspect(url, "--name", "CRM!")).code, 2);
    assert.equal((await inspect(url, "--name", "token")).code, 2);
    assert.equal((await inspect(url, "--resource", "/crm/mcp")).code, 2);
    assert.equal((await inspect()).code, 2);
    assert.equal((await inspect("--resource", "/crm/mcp")).code, 2);
    const none = await inspect("--config", FILE, "--resource", "/wiki");
    assert.equal(none.code, 1);
    assert.match(none.stderr, /resources\.\/wiki is not there: name one that is: \/crm\/mcp/);
  });
});
