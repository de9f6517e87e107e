/** createApp inside somebody's own express application: everything that the configuration asks for, and no other port. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import express from "express";
import { pino } from "pino";
import {
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import {
  type App,
  type Config,
  createApp,
  defineTool,
  getAccessToken,
  loadConfig,
  requestFields,
} from "../../src/index.ts";
import { freePort } from "../support/free-port.ts";
import {
  callTool,
  getJson,
  postForm,
  register,
  rpc,
  signInForTokens,
  toolNames,
} from "../support/oauth-client.ts";
import { ALICE, AUDIENCE, BOB, SECRET_KEY } from "../support/test-server.ts";

const silent = pino({ level: "silent" });
const whoami = defineTool({ name: "whoami", description: "Who", run: () => getAccessToken().subject });
const write = defineTool({
  name: "write",
  description: "Writes",
  scopes: ["notes:write"],
  run: () => "written",
});
const features = { tools: [whoami, write], scopes: { "notes:write": "Write notes" } };

function configOf(baseUrl: string, issuer: string, more: Record<string, string> = {}): Config {
  return loadConfig({
    BASE_URL: baseUrl,
    STORE: "memory",
    SECRET_KEY,
    OIDC_ISSUER: issuer,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
    OIDC_AUDIENCE: AUDIENCE,
    ...more,
  });
}

describe("createApp", () => {
  const folder = mkdtempSync(join(tmpdir(), "create-app-"));
  const audited: string[] = [];
  const logged: Array<Record<string, unknown>> = [];
  let identityProvider: RunningIdentityProvider;
  let baseUrl: string;
  let site: Server;
  let mcp: App;

  before(async () => {
    const port = await freePort();
    baseUrl = `http://localhost:${port}/tools`;
    identityProvider = await startIdentityProvider({
      port: 0,
      client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${baseUrl}/auth/callback`] },
      audience: AUDIENCE,
      scopes: ["notes:write"],
      users: [
        { ...ALICE, permissions: ["notes:write"] },
        { ...BOB, permissions: ["notes:write"] },
      ],
    });
    const policyFile = join(folder, "policy.yaml");
    writeFileSync(
      policyFile,
      "rules:\n  - name: bob only reads\n    for: { users: [bob] }\n    deny: { tools: [write] }\n",
    );
    const config = configOf(baseUrl, identityProvider.issuer, { POLICY_FILE: policyFile });
    mcp = await createApp(config, features, {
      log: pino(
        { level: "info", mixin: requestFields },
        { write: (line: string) => void logged.push(JSON.parse(line)) },
      ),
      auditStream: { write: (line) => audited.push(line) },
    });
    const app = express();
    // What applications often have in front of everything, and what reads bodies in another way than ours.
    app.use(express.json(), express.urlencoded({ extended: true }));
    app.get("/prices", (_req, res) => void res.json({ coffee: 3 }));
    app.use(mcp.handler);
    site = createServer(app).listen(port, "127.0.0.1");
    await once(site, "listening");
  });
  after(async () => {
    await identityProvider.close();
    rmSync(folder, { recursive: true });
  });

  test("beside the application's own routes, at a path of BASE_URL, with the documents at the root", async () => {
    assert.deepEqual(await getJson(new URL("/prices", baseUrl).href), { coffee: 3 });
    const metadata = await getJson(new URL("/.well-known/oauth-protected-resource/tools/mcp", baseUrl).href);
    assert.equal(metadata.resource, `${baseUrl}/mcp`);
    assert.equal((await rpc(`${baseUrl}/mcp`, undefined, "tools/list")).status, 401);
  });

  test("a whole sign-in, the policy, the audit log and the application's own log", async () => {
    const client = await register(baseUrl);
    const alice = await signInForTokens(baseUrl, client);
    const bob = await signInForTokens(baseUrl, client, { login: "bob" });
    const { body } = await callTool(`${baseUrl}/mcp`, alice.access_token, "write");
    assert.equal(body.result.content[0].text, "written");
    assert.deepEqual(await toolNames(`${baseUrl}/mcp`, bob.access_token), ["whoami"]);
    const events = audited.map((line) => JSON.parse(line));
    assert.ok(
      events.some(
        ({ event, tool, subject }) => event === "tool_call" && tool === "write" && subject === "alice",
      ),
    );
    assert.ok(logged.some(({ audit, requestId }) => audit === "tool_call" && typeof requestId === "string"));
  });

  test("bodies that the application's parsers nested are refused like any other nonsense", async () => {
    const nested = { "grant_type[$ne]": "x", "client_id[a]": "b" };
    const answer = await postForm(`${baseUrl}/token`, nested);
    assert.equal(answer.status, 400);
    assert.equal(answer.body.error, "invalid_request");
  });

  test("stop() takes it out of rotation, close() ends it", async () => {
    mcp.stop();
    assert.equal((await fetch(`${baseUrl}/readyz`)).status, 503);
    site.close();
    site.closeAllConnections();
    await mcp.close();
  });
});

describe("createApp refuses at the start", () => {
  const issuer = "http://localhost:9";

  test("a tool that needs a scope which nobody explains", async () => {
    const config = configOf("http://localhost:3000", issuer);
    await assert.rejects(createApp(config, { tools: [write], scopes: {} }, { log: silent }), /notes:write/);
  });

  test("a policy that speaks of tools which are not there", async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "create-app-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "policy.yaml");
    writeFileSync(path, "rules:\n  - name: none\n    for: { users: [bob] }\n    deny: { tools: [wirte] }\n");
    const config = configOf("http://localhost:3000", issuer, { POLICY_FILE: path });
    await assert.rejects(createApp(config, features, { log: silent }), /wirte/);
  });
});
