/** Several protected resources: whoever looks at connections, grants, logs or metrics sees which one each thing is for. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createPolicy } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { runAdmin } from "../../src/cli/admin/program.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { knownNames } from "../../src/mcp/authoring/features.ts";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { whoami } from "../../src/tools/whoami.ts";
import { jsonLines } from "../admin/support.ts";
import { endEntry, entriesOn, openConnections, textOf } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import {
  authorize,
  callTool,
  newBrowser,
  type Registered,
  refresh,
  register,
  revoke,
  rpc,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { ran } from "../support/ran.ts";
import { redisForTests, skipWithoutRedisServer } from "../support/redis.ts";
import { replaceablePolicy } from "../support/replaceable-policy.ts";
import { ALICE, startTestServer, type TestServer, useTestServer } from "../support/test-server.ts";
import { scrape } from "../telemetry/scrape.ts";

const findCustomer = defineTool({
  name: "find_customer",
  description: "Finds a customer",
  scopes: ["crm:read"],
  run: () => "found",
});
const CRM = {
  path: "/crm/mcp",
  name: "CRM",
  // The first resource has a scope of this name too, with other words.
  features: {
    tools: [findCustomer],
    scopes: { "crm:read": "Read customers", "notes:read": "Notes about customers" },
  },
};
const OPTIONS = {
  furtherResources: [CRM],
  scopes: { "notes:read": { description: "Notes about the weather", whenNeeded: true } },
  apiScopes: ["crm:read", "notes:read"],
  users: [{ ...ALICE, permissions: ["weather:read", "crm:read", "notes:read"] }],
};

describe("several resources, to whoever looks after them", () => {
  const lines: Array<Record<string, unknown>> = [];
  const testServer = useTestServer({
    ...OPTIONS,
    auditStream: { write: (line) => lines.push(JSON.parse(line)) },
  });
  const crmUrl = () => `${testServer.baseUrl}${CRM.path}`;
  let client: Registered;
  before(async () => {
    client = await register(testServer.baseUrl, { client_name: "Claude" });
  });
  const signIn = (resource: string) =>
    signInForTokens(testServer.baseUrl, client, { parameters: { resource } });

  async function during(work: () => Promise<unknown>) {
    const from = lines.length;
    await work();
    return lines
      .slice(from)
      .map(({ event, decision, protectedResource }) => [event, decision, protectedResource]);
  }

  test("the audit log says what each decision is about, from consent to the end", async () => {
    const written = await during(async () => {
      const tokens = await signIn(crmUrl());
      await callTool(crmUrl(), tokens.access_token, "find_customer");
      const { body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      await refresh(testServer.baseUrl, client, body.refresh_token, { resource: testServer.url });
      await revoke(testServer.baseUrl, client, body.refresh_token);
    });
    assert.deepEqual(written, [
      ["consent", "allow", crmUrl()],
      ["sign_in", "allow", crmUrl()],
      ["token_issued", "allow", crmUrl()],
      ["tool_call", "allow", crmUrl()],
      ["token_refreshed", "allow", crmUrl()],
      ["token_refused", "deny", crmUrl()],
      ["grant_ended", "revoke", crmUrl()],
    ]);
  });

  test("a token of another resource is refused at this one, and that is what is written", async () => {
    const { access_token } = await signIn(crmUrl());
    const written = await during(() => rpc(testServer.url, access_token, "tools/list"));
    assert.deepEqual(written, [["access_refused", "deny", testServer.url]]);
  });

  test("who does not consent, and who was not given the scope", async () => {
    const parameters = { resource: crmUrl(), scope: "notes:read" };
    const denied = await during(() => authorize(testServer.baseUrl, client, { approve: false, parameters }));
    assert.deepEqual(denied, [["consent", "deny", crmUrl()]]);
    const { access_token } = await signInForTokens(testServer.baseUrl, client, { parameters });
    const lacking = await during(() => callTool(crmUrl(), access_token, "find_customer"));
    assert.deepEqual(lacking, [["tool_call", "deny", crmUrl()]]);
  });

  test("the request log names the resource of every request to one, also without a token", async () => {
    for (const url of [testServer.url, crmUrl()]) {
      const requestId = (await rpc(url, undefined, "tools/list")).headers.get("x-request-id");
      const line = await eventually("its line", () =>
        testServer.log.find((each) => each.msg === "request" && each.requestId === requestId),
      );
      assert.equal(line.protectedResource, url);
    }
  });

  test("metrics count by resource, and nothing that a client says becomes one", async () => {
    const { access_token, refresh_token } = await signIn(crmUrl());
    const previous = await scrape(testServer.baseUrl);
    await callTool(crmUrl(), access_token, "find_customer");
    await revoke(testServer.baseUrl, client, refresh_token);
    await rpc(`${testServer.baseUrl}/made-up`, access_token, "tools/list");
    const scraped = await scrape(testServer.baseUrl);
    const grew = (name: string, labels: Record<string, string>) =>
      scraped.sum(name, labels) - previous.sum(name, labels);
    const protected_resource = CRM.path;
    assert.equal(grew("mcp_tool_calls_total", { tool: "find_customer", protected_resource }), 1);
    assert.equal(grew("mcp_tool_call_seconds_count", { tool: "find_customer", protected_resource }), 1);
    assert.equal(grew("mcp_decisions_total", { event: "tool_call", protected_resource }), 1);
    assert.equal(grew("mcp_grants_ended_total", { reason: "revoked_by_client", protected_resource }), 1);
    for (const name of ["mcp_decisions_total", "mcp_tool_calls_total", "mcp_grants_ended_total"])
      for (const value of scraped.values(name, "protected_resource"))
        assert.ok(["", "/mcp", CRM.path].includes(value), `${name}: ${value}`);
    for (const path of ["/mcp", CRM.path])
      assert.ok(
        scraped.series.some(
          ({ name, labels }) =>
            name === "mcp_grants_ended_total" &&
            labels.reason === "code_replayed" &&
            labels.protected_resource === path,
        ),
        `a first theft at ${path} is an increase`,
      );
  });

  test("/connections says which one each application may use, in the words of that one", async () => {
    const own = await register(testServer.baseUrl, { client_name: "Both" });
    const both: Record<string, Tokens> = {};
    for (const resource of [testServer.url, crmUrl()])
      both[resource] = await signInForTokens(testServer.baseUrl, own, {
        login: "looks",
        parameters: { resource, scope: "notes:read" },
      });
    const browser = newBrowser();
    const page = await openConnections(testServer.baseUrl, { browser, login: "looks" });
    const shown = entriesOn(page).map(({ text }) => text);
    assert.equal(shown.length, 2);
    const ofCrm = shown.find((text) => text.includes("For CRM"));
    const ofFirst = shown.find((text) => text.includes("For Test server"));
    assert.ok(ofCrm?.includes(crmUrl()) && ofFirst?.includes(testServer.url), shown.join("\n"));
    assert.match(ofCrm ?? "", /Notes about customers/);
    assert.match(ofFirst ?? "", /Notes about the weather/);
    assert.match(ofCrm ?? "", /End access of Both, for CRM/, "for whoever hears the page");

    const first = entriesOn(page)[0]?.text.includes("For CRM") ? crmUrl() : testServer.url;
    const told = textOf((await endEntry(browser, page, "Both")).body);
    assert.match(
      told,
      first === crmUrl() ? /Access ended: Both \(CRM\)/ : /Access ended: Both \(Test server\)/,
    );
    for (const [resource, { access_token }] of Object.entries(both))
      assert.equal((await rpc(resource, access_token, "tools/list")).status, resource === first ? 401 : 200);
  });

  test("of one resource nothing of that is said", async () => {
    const alone = await startTestServer();
    try {
      await signInForTokens(alone.baseUrl, await register(alone.baseUrl, { client_name: "Claude" }));
      const [entry] = entriesOn(await openConnections(alone.baseUrl));
      assert.ok(entry !== undefined && !entry.text.includes("/mcp"), entry?.text);
      assert.doesNotMatch(entry.text, /For /);
    } finally {
      await alone.close();
    }
  });
});

describe("several resources, and a policy for one of them", () => {
  const known = knownNames([{ ...CRM.features, tools: [findCustomer, whoami] }]);
  const policyOf = (yaml: string) =>
    createPolicy(
      parsePolicy(yaml, "policy.yaml", { ...known, protectedResources: ["/mcp", CRM.path] }),
      scopeCatalogue(CRM.features.scopes, []),
    );
  const rules = replaceablePolicy(policyOf("rules: []"));
  const testServer = useTestServer({
    ...OPTIONS,
    furtherResources: [{ ...CRM, features: { ...CRM.features, tools: [findCustomer, whoami] } }],
    policy: rules.policy,
  });
  const urls = () => [testServer.url, `${testServer.baseUrl}${CRM.path}`];
  const signIn = (client: Registered, resource: string) =>
    signInForTokens(testServer.baseUrl, client, { parameters: { resource } });

  test("a tool is denied at one, and one of the same name stays at the other, as soon as the policy says so", async () => {
    const client = await register(testServer.baseUrl);
    rules.inForce = policyOf(
      `rules: [{ name: nobody asks the CRM, for: { protected_resources: [${CRM.path}] }, deny: { tools: [whoami] } }]`,
    );
    const [first = "", crm = ""] = urls();
    const allowed = await callTool(first, (await signIn(client, first)).access_token, "whoami");
    assert.equal(allowed.body.result.isError, undefined);
    const denied = await callTool(crm, (await signIn(client, crm)).access_token, "whoami");
    assert.match(denied.body.result.content[0].text, /rule "nobody asks the CRM"/);
  });

  test("who is not admitted to one cannot sign in for it, and their tokens for it stop; the other is as it was", async () => {
    const client = await register(testServer.baseUrl);
    const [first = "", crm = ""] = urls();
    rules.inForce = policyOf("rules: []");
    const tokens = { first: await signIn(client, first), crm: await signIn(client, crm) };
    rules.inForce = policyOf(
      `rules: [{ name: no alice, for: { protected_resources: [${CRM.path}], users: [alice] }, deny: everything }]`,
    );
    assert.equal((await rpc(first, tokens.first.access_token, "tools/list")).status, 200);
    assert.equal((await rpc(crm, tokens.crm.access_token, "tools/list")).status, 401);
    assert.equal((await refresh(testServer.baseUrl, client, tokens.first.refresh_token)).status, 200);
    const refused = await refresh(testServer.baseUrl, client, tokens.crm.refresh_token);
    assert.deepEqual([refused.status, refused.body.error], [400, "invalid_grant"]);
    await signIn(client, first);
    await assert.rejects(signIn(client, crm), /policy of this server does not let you in/);
    rules.inForce = policyOf("rules: []");
    assert.equal((await rpc(crm, tokens.crm.access_token, "tools/list")).status, 200, "nothing was ended");
    assert.equal((await refresh(testServer.baseUrl, client, tokens.crm.refresh_token)).status, 200);
  });
});

describe("several resources, on the operator's command line", { skip: skipWithoutRedisServer() }, () => {
  let testServer: TestServer;
  let environment: Record<string, string>;
  let tokens: Record<string, Tokens>;
  before(async () => {
    const redis = await redisForTests();
    testServer = await startTestServer({
      ...OPTIONS,
      ...(redis.url !== undefined && { redisUrl: redis.url }),
    });
    const folder = await mkdtemp(join(tmpdir(), "resources-"));
    const file = join(folder, "server.yaml");
    writeFileSync(
      file,
      `resources:\n  /mcp: {}\n  ${CRM.path}: { name: CRM, server: "http://127.0.0.1:9/mcp", scopes: { "crm:read": Read customers }, needs: {} }\n`,
      {
        mode: 0o600,
      },
    );
    environment = { ...testServer.environment, CONFIG_FILE: file };
    tokens = {};
    for (const path of ["/mcp", CRM.path])
      tokens[path] = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl), {
        path,
      });
  });
  after(() => testServer.close());

  const admin = (...args: string[]) => ran((streams) => runAdmin(args, () => environment, streams));

  test("grants are listed with the name of their resource, and those of one alone", async () => {
    const { stdout, stderr } = await admin("grants", "list");
    assert.match(stdout, /RESOURCE/, stderr);
    assert.match(stdout, /CRM/);
    const listed = async (...args: string[]) =>
      jsonLines((await admin("grants", "list", "--json", ...args)).stdout).map(
        ({ resource, resourceName }) => [resource, resourceName],
      );
    const ofCrm = [[`${testServer.baseUrl}${CRM.path}`, "CRM"]];
    assert.deepEqual(await listed("--protected-resource", CRM.path), ofCrm);
    assert.deepEqual(await listed("--protected-resource", `${testServer.baseUrl}${CRM.path}`), ofCrm);
    const [{ id }] = jsonLines(
      (await admin("grants", "list", "--json", "--protected-resource", CRM.path)).stdout,
    );
    assert.match((await admin("grants", "show", id)).stdout, /^Resource +CRM \(http.*\/crm\/mcp\)$/m);
    assert.doesNotMatch((await admin("grants", "list", "--protected-resource", CRM.path)).stdout, /RESOURCE/);
  });

  test("those of one resource are ended, and the others stay", async () => {
    const nothing = await admin("grants", "revoke", "--protected-resource", "/other", "--yes");
    assert.deepEqual([nothing.code, nothing.stderr.trim()], [2, "There is no such grant."]);
    const ended = await admin("grants", "revoke", "--protected-resource", CRM.path, "--yes");
    assert.equal(ended.code, 0, ended.stderr);
    assert.match(ended.stderr, /"protectedResource":"http[^"]*\/crm\/mcp"/, "in the audit log, too");
    for (const [path, { access_token }] of Object.entries(tokens))
      assert.equal(
        (await rpc(`${testServer.baseUrl}${path}`, access_token, "tools/list")).status,
        path === "/mcp" ? 200 : 401,
      );
  });
});
