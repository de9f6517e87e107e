/** `resources` in CONFIG_FILE, served: modules of tools, and a backend behind a reverse proxy, each a resource of its own. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { pino } from "pino";
import { loadConfig } from "../../src/config/config.ts";
import { type App, createApp } from "../../src/server/create-app.ts";
import { loadFeatures } from "../../src/server/tools-module.ts";
import { freePort } from "../support/free-port.ts";
import { getJson, rpc } from "../support/oauth-client.ts";

const KEY = "the-key-of-the-reverse-proxy-0123456789";
const AUTHORING = pathToFileURL("src/mcp/authoring/define-tool.ts").href;

const module = (scope: string, tool: string) => `
  import { defineTool } from ${JSON.stringify(AUTHORING)};
  export const scopes = { ${JSON.stringify(scope)}: ${JSON.stringify(`Use ${scope}`)} };
  export const tools = [defineTool({ name: "${tool}", description: "…", scopes: ["${scope}"], run: () => "done" })];`;

const FILE = `resources:
  /mcp: { tools: ./weather.ts }
  /crm/mcp: { tools: ./crm.ts, name: CRM }
  /docs/mcp:
    name: Docs
    scopes: { "docs:read": Read the docs, "docs:write": Change the docs }
    forwardAuth: { key: ${KEY}, scopes: ["docs:read"], backendChecksHeaders: true }
    needs: { tools: { edit: ["docs:write"] } }
  /tickets/mcp:
    name: Tickets
    server: http://127.0.0.1:9/mcp
    scopes: { "tickets:read": Read tickets }
    needs: { tools: { find_ticket: ["tickets:read"] } }
`;

describe("resources in CONFIG_FILE", () => {
  const folder = mkdtempSync(join(tmpdir(), "resources-"));
  const server = createServer();
  let app: App;
  let baseUrl: string;

  before(async () => {
    writeFileSync(join(folder, "weather.ts"), module("weather:read", "find_weather"));
    writeFileSync(join(folder, "crm.ts"), module("crm:read", "find_customer"));
    writeFileSync(join(folder, "server.yaml"), FILE, { mode: 0o600 });
    // Its rules name features of every resource.
    const rules = ["find_weather", "find_customer", "edit", "find_ticket"].map(
      (tool) => `  - { name: no ${tool}, for: { users: [mallory] }, deny: { tools: [${tool}] } }`,
    );
    writeFileSync(join(folder, "policy.yaml"), `rules:\n${rules.join("\n")}\n`);
    const port = await freePort();
    baseUrl = `http://localhost:${port}`;
    const config = loadConfig({
      BASE_URL: baseUrl,
      STORE: "memory",
      SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
      OIDC_ISSUER: "http://localhost:9",
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "a-secret-of-the-proxy",
      CONFIG_FILE: join(folder, "server.yaml"),
      POLICY_FILE: join(folder, "policy.yaml"),
      CLIENT_ID_METADATA: "off",
    });
    app = await createApp(config, await loadFeatures(config), { log: pino({ level: "silent" }) });
    server.on("request", app.handler).listen(port, "127.0.0.1");
    await once(server, "listening");
    assert.equal((server.address() as AddressInfo).port, port);
  });
  after(async () => {
    server.close();
    await app.close();
    rmSync(folder, { recursive: true });
  });

  test("each has metadata of its own, with its scopes, and a challenge that leads there (RFC 9728)", async () => {
    for (const [path, scopes] of [
      ["/mcp", ["weather:read"]],
      ["/crm/mcp", ["crm:read"]],
      ["/docs/mcp", ["docs:read", "docs:write"]],
      ["/tickets/mcp", ["tickets:read"]],
    ] as const) {
      const at = `${baseUrl}/.well-known/oauth-protected-resource${path}`;
      const metadata = await getJson(at);
      assert.equal(metadata.resource, `${baseUrl}${path}`);
      assert.deepEqual(metadata.scopes_supported, scopes);
      const challenged = path === "/docs/mcp" ? `/auth/check${path}` : path;
      const answer = await fetch(`${baseUrl}${challenged}`, {
        method: "POST",
        headers: { "X-Forward-Auth-Key": KEY },
      });
      assert.equal(answer.status, 401, path);
      assert.ok(answer.headers.get("www-authenticate")?.includes(`resource_metadata="${at}"`), path);
    }
    const { protected_resources: all } = await getJson(`${baseUrl}/.well-known/oauth-authorization-server`);
    assert.deepEqual(all, [
      `${baseUrl}/mcp`,
      `${baseUrl}/crm/mcp`,
      `${baseUrl}/docs/mcp`,
      `${baseUrl}/tickets/mcp`,
    ]);
  });

  test("what is behind a reverse proxy is not answered here, and only the proxy is told anything", async () => {
    const check = `${baseUrl}/auth/check/docs/mcp`;
    assert.equal((await fetch(check)).status, 403);
    const here = await rpc(`${baseUrl}/docs/mcp`, "mcp_at_made-up", "tools/list");
    assert.notEqual(here.status, 200);
  });

  test("the page for people names all of them", async () => {
    const page = await (await fetch(`${baseUrl}/`, { headers: { accept: "text/html" } })).text();
    const text = await (await fetch(`${baseUrl}/`, { headers: { accept: "text/plain" } })).text();
    const json = await fetch(`${baseUrl}/`, { headers: { accept: "application/json" } });
    const { further_resources: further } = (await json.json()) as { further_resources: object[] };
    for (const [name, path] of [
      ["CRM", "/crm/mcp"],
      ["Docs", "/docs/mcp"],
    ]) {
      for (const each of [page, text])
        assert.ok(each.includes(`${baseUrl}${path}`) && each.includes(`${name}`));
      assert.ok(further.some((each) => JSON.stringify(each).includes(`"${baseUrl}${path}"`)));
    }
  });
});
