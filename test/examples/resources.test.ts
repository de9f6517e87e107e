/** examples/resources.yaml is a configuration that starts, and its resources keep their tokens apart. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { pino } from "pino";
import { loadConfig } from "../../src/config/config.ts";
import { type App, createApp } from "../../src/server/create-app.ts";
import { loadFeatures } from "../../src/server/tools-module.ts";
import { freePort } from "../support/free-port.ts";
import { postForm, rpc } from "../support/oauth-client.ts";

const KEY = "the-key-of-the-reverse-proxy-0123456789";
const SECRET = "a-secret-of-the-machine-0123456789abcdef";
const SCOPES = { "/mcp": "weather:read", "/crm/mcp": "crm:read", "/docs/mcp": "docs:read" };

describe("examples/resources.yaml", () => {
  const server = createServer();
  let app: App;
  let baseUrl: string;
  before(async () => {
    const port = await freePort();
    baseUrl = `http://localhost:${port}`;
    const config = loadConfig({
      BASE_URL: baseUrl,
      STORE: "memory",
      SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
      OIDC_ISSUER: "http://localhost:9",
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "a-secret-of-the-proxy",
      CONFIG_FILE: "examples/resources.yaml",
      CRM_URL: "http://127.0.0.1:9/mcp",
      DOCS_PROXY_KEY: KEY,
      CLIENT_ID_METADATA: "off",
      CLIENTS: JSON.stringify([
        {
          client_id: "nightly",
          client_secret: SECRET,
          grant_types: ["client_credentials"],
          scope: Object.values(SCOPES).join(" "),
        },
      ]),
    });
    app = await createApp(config, await loadFeatures(config), { log: pino({ level: "silent" }) });
    server.on("request", app.handler).listen(port, "127.0.0.1");
    await once(server, "listening");
  });
  after(async () => {
    server.close();
    await app.close();
  });

  /** With its scopes, and no others. */
  async function tokenFor(path: string): Promise<string> {
    const { status, body } = await postForm(`${baseUrl}/token`, {
      grant_type: "client_credentials",
      client_id: "nightly",
      client_secret: SECRET,
      resource: `${baseUrl}${path}`,
    });
    assert.deepEqual([status, body.scope], [200, SCOPES[path as keyof typeof SCOPES]]);
    return body.access_token;
  }
  /** At the one with a reverse proxy, as that asks. */
  async function statusAt(path: string, token: string): Promise<number> {
    if (path !== "/docs/mcp") return (await rpc(`${baseUrl}${path}`, token, "tools/list")).status;
    const headers = { authorization: `Bearer ${token}`, "x-forward-auth-key": KEY };
    return (await fetch(`${baseUrl}/auth/check${path}`, { headers })).status;
  }

  test("each takes its own tokens, and refuses those of every other", async () => {
    for (const path of Object.keys(SCOPES)) {
      const token = await tokenFor(path);
      for (const at of Object.keys(SCOPES)) {
        // Nothing listens where the CRM would be: who may call it learns that.
        const own = at === "/crm/mcp" ? 502 : 200;
        assert.equal(await statusAt(at, token), at === path ? own : 401, `a token for ${path} at ${at}`);
      }
    }
  });
});
