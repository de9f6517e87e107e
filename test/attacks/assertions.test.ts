/** Attacks with assertions, and what happens while one is being accepted. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, describe, test } from "node:test";
import { wildcard } from "../../src/access/pattern.ts";
import type { TrustedIssuer } from "../../src/issuers/trusted-issuer.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { endEntry, entriesOn, openConnections } from "../support/connections.ts";
import { held } from "../support/held.ts";
import { callTool, newBrowser, postForm, register, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer, type TestServer, useTestServer } from "../support/test-server.ts";
import { type Claims, startTokenIssuer } from "../support/token-issuer.ts";
import { reasonOf, sendRequest } from "./support.ts";

const GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SECRET = "the-secret-of-an-application-0123456789";
const ID_JAG = { typ: "oauth-id-jag+jwt" };
const company = await startTokenIssuer({ after });
const platform = await startTokenIssuer({ after });

const CLIENTS = JSON.stringify([
  { client_id: "app", client_name: "App", client_secret: SECRET, redirect_uris: ["https://app.example/cb"] },
]);
const asApp = { client_id: "app", client_secret: SECRET };
const common = { algorithms: ASYMMETRIC_ALGORITHMS, timeoutSeconds: 10 };

const crmTool = defineTool({
  name: "crm",
  description: "Finds a customer",
  scopes: ["crm:read"],
  run: () => "",
});
const CRM = {
  path: "/crm/mcp",
  name: "CRM",
  features: { tools: [crmTool], scopes: { "crm:read": "Read customers" } },
};

function trusting(people: { issuer: string; jwksUri?: string }): TrustedIssuer[] {
  return [
    { ...common, ...people, accept: "id-jag", subject: "sub", publicClients: true },
    {
      ...common,
      accept: "workload",
      issuer: platform.issuer,
      rules: [
        { claims: [{ claim: "sub", oneOf: [wildcard("batch:*")] }], scopes: ["weather:read", "crm:read"] },
      ],
    },
  ];
}

function ask({ baseUrl }: TestServer, assertion: string, fields: Record<string, string> = asApp) {
  return postForm(`${baseUrl}/token`, { grant_type: GRANT_TYPE, assertion, ...fields });
}

const identityAssertion = (testServer: TestServer, claims: Claims = {}) =>
  company.sign({ aud: testServer.baseUrl, sub: "u-17", client_id: "app", ...claims }, ID_JAG);

describe("an assertion", () => {
  const testServer = useTestServer({
    environment: { CLIENTS, CLIENT_ID_METADATA: "off" },
    furtherResources: [CRM],
    adjust: (config) => ({ ...config, issuers: trusting(company) }),
  });

  test("for one resource gives nothing at another, whatever the request names", async () => {
    const crm = `${testServer.baseUrl}/crm/mcp`;
    const other = await ask(testServer, await identityAssertion(testServer, { resource: crm }), {
      ...asApp,
      resource: testServer.url,
    });
    assert.deepEqual([other.status, other.body.error], [400, "invalid_target"]);
    const unnamed = await ask(testServer, await identityAssertion(testServer, { resource: crm }));
    assert.deepEqual([unnamed.status, unnamed.body.scope], [200, "crm:read"]);
    assert.equal((await callTool(testServer.url, unnamed.body.access_token, "whoami")).status, 401);
  });

  test("of a workload has of its rule the scopes of the resource that it is for", async () => {
    const sign = () => platform.sign({ aud: testServer.baseUrl, sub: "batch:nightly" });
    assert.equal((await ask(testServer, await sign(), {})).body.scope, "weather:read");
    const crm = await ask(testServer, await sign(), { resource: `${testServer.baseUrl}/crm/mcp` });
    assert.equal(crm.body.scope, "crm:read");
  });

  test("does not stand for the secret of the client that it names", async () => {
    const basic = (id: string, secret: string) => ({ authorization: `Basic ${btoa(`${id}:${secret}`)}` });
    const assertion = await identityAssertion(testServer);
    const request = { grant_type: GRANT_TYPE, assertion };
    for (const [fields, headers] of [
      [{ client_id: "app" }, {}],
      [{ client_id: "app", client_secret: "" }, {}],
      [{ client_id: "app", client_assertion: assertion }, {}],
      [{ client_assertion: assertion }, {}],
      [{}, basic("app", "")],
      [{}, basic("app", "wrong".repeat(10))],
      [{}, { authorization: `Bearer ${assertion}` }],
      [asApp, basic("app", SECRET)],
    ] as const) {
      const { status } = await postForm(`${testServer.baseUrl}/token`, { ...request, ...fields }, headers);
      assert.ok(status === 400 || status === 401, JSON.stringify([fields, headers, status]));
    }
    assert.equal((await ask(testServer, assertion)).status, 200, "it was not used up meanwhile");
  });

  test("is refused in the same words, whatever is wrong with it", async () => {
    const said = new Set<string>();
    for (const assertion of [
      "x",
      await platform.sign({ aud: testServer.baseUrl, sub: "nobody" }),
      await identityAssertion(testServer, { aud: "https://other.example.com" }),
      await identityAssertion(testServer, { client_id: "other" }),
      await identityAssertion(testServer, { iss: "https://other.example.com" }),
    ])
      said.add(JSON.stringify((await ask(testServer, assertion)).body));
    assert.equal(said.size, 1, [...said].join("\n"));
  });

  for (const name of ["grant_type", "assertion", "client_id", "client_secret", "scope"])
    test(`is refused in a request with ${name} twice`, async () => {
      const assertion = await identityAssertion(testServer);
      const form = Object.entries({ grant_type: GRANT_TYPE, assertion, scope: "weather:read", ...asApp });
      const twice = form.filter(([each]) => each === name);
      const { status, json } = await sendRequest(`${testServer.baseUrl}/token`, {
        form: [...form, ...twice],
      });
      assert.deepEqual([status, json.error], [400, "invalid_request"]);
    });
});

test("what a company lets in without asking ends no session that the person signed in for", async (t) => {
  const testServer = await startTestServer({
    environment: { CLIENTS, MAX_GRANTS_PER_USER: "4", MAX_GRANTS_PER_USER_AND_CLIENT: "3" },
    furtherResources: [CRM],
    adjust: (config) => ({
      ...config,
      issuers: trusting({ issuer: config.identityProviders[0].issuer, jwksUri: `${company.issuer}/keys` }),
    }),
  });
  t.after(() => testServer.close());
  const client = await register(testServer.baseUrl);
  const signedIn = await signInForTokens(testServer.baseUrl, client);
  const iss = testServer.config.identityProviders[0].issuer;
  for (let i = 0; i < 5; i++) {
    const assertion = await identityAssertion(testServer, { iss, sub: "alice" });
    assert.equal((await ask(testServer, assertion)).status, 200);
  }
  testServer.clock.ahead += 1;
  await signInForTokens(testServer.baseUrl, client);
  assert.equal((await callTool(testServer.url, signedIn.access_token, "whoami")).status, 200);
});

describe("access that is ended while an assertion is being verified", () => {
  /** The company's keys, which come when they are let go. */
  async function slowKeys(t: { after(close: () => void): void }) {
    const { reached: wereAsked, letGo, wait } = held();
    const server = createServer(async (_req, res) => {
      await wait();
      res.setHeader("content-type", "application/json");
      res.end(await (await fetch(`${company.issuer}/keys`)).text());
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    return { jwksUri: `http://127.0.0.1:${port}/`, letGo, wereAsked };
  }

  async function start(t: Parameters<typeof slowKeys>[0]) {
    const keys = await slowKeys(t);
    const testServer = await startTestServer({
      environment: { CLIENTS },
      furtherResources: [CRM],
      adjust: (config) => ({
        ...config,
        issuers: trusting({ issuer: config.identityProviders[0].issuer, jwksUri: keys.jwksUri }),
      }),
    });
    t.after(() => testServer.close());
    return { testServer, keys, iss: testServer.config.identityProviders[0].issuer };
  }

  test("by removing the client gives no token", async (t) => {
    const { testServer, keys, iss } = await start(t);
    const client = await register(testServer.baseUrl);
    const { client_id } = client;
    const assertion = await identityAssertion(testServer, { iss, sub: "alice", client_id });
    const answer = ask(testServer, assertion, { client_id });
    await keys.wereAsked();
    const removed = await fetch(String(client.registration_client_uri), {
      method: "DELETE",
      headers: { authorization: `Bearer ${client.registration_access_token}` },
    });
    assert.equal(removed.status, 204);
    keys.letGo();
    const { status, body } = await answer;
    assert.deepEqual([status, body.error], [400, "invalid_grant"]);
    assert.equal(await reasonOf(testServer, await answer), "ended_meanwhile");
  });

  test("by the person gives no token", async (t) => {
    const { testServer, keys, iss } = await start(t);
    const client = await register(testServer.baseUrl, { client_name: "Ended" });
    const { client_id } = client;
    await signInForTokens(testServer.baseUrl, client);
    const assertion = await identityAssertion(testServer, { iss, sub: "alice", client_id });
    const answer = ask(testServer, assertion, { client_id });
    await keys.wereAsked();
    const browser = newBrowser();
    const page = await openConnections(testServer.baseUrl, { browser });
    await endEntry(browser, page, entriesOn(page)[0]?.name ?? "");
    keys.letGo();
    assert.equal(await reasonOf(testServer, await answer), "ended_meanwhile");
  });
});
