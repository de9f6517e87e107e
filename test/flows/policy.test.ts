/** A policy file over HTTP: at issue and at call, also for tokens that were issued before it changed. */
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { type LivePolicy, watchPolicy } from "../../src/access/live-policy.ts";
import { runAdmin } from "../../src/cli/admin/program.ts";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { requireScopes } from "../../src/resource/access-token-context.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  newBrowser,
  postForm,
  type Registered,
  redeem,
  refresh,
  register,
  rpc,
  signInForTokens,
  toolNames,
} from "../support/oauth-client.ts";
import { ran } from "../support/ran.ts";
import { redisForTests } from "../support/redis.ts";
import { signIn } from "../support/sign-in.ts";
import { ALICE, BOB, SECRET_KEY, startTestServer, useTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

const tools = [
  defineTool({ name: "place_order", description: "x", scopes: ["orders:write"], run: () => "placed" }),
  defineTool({
    name: "orders",
    description: "x",
    input: z.object({}),
    run() {
      requireScopes("orders:write");
      return "done";
    },
  }),
];
const misspelt = defineTool({
  name: "misspelt",
  description: "x",
  run() {
    requireScopes("orders:wirte");
    return "never";
  },
});
const resources = [
  defineResource({ uri: "orders://help", name: "help", description: "x", read: () => "help" }),
];
const prompts = [definePrompt({ name: "greet", description: "x", run: () => "Hello." })];
const known = {
  scopes: ["weather:read", "orders:write"],
  tools: ["whoami", "say_hello", "current_weather", "place_order", "orders", "misspelt"],
  resources: ["orders://help"],
  prompts: ["greet"],
};

describe("a policy file", () => {
  const path = join(mkdtempSync(join(tmpdir(), "policy-")), "policy.yaml");
  let changes = 0;
  const refused: string[] = [];
  let live: LivePolicy;
  let client: Registered;
  let other: Registered;

  const testServer = useTestServer(() => {
    writeFileSync(path, "rules: []");
    live = watchPolicy({
      path,
      known,
      hierarchy: scopeCatalogue({}, []),
      intervalMs: 10,
      onChange: () => void changes++,
      onRefused: (problem) => void refused.push(problem),
    });
    return {
      tools: [...tools, misspelt],
      resources,
      prompts,
      scopes: { "orders:write": "Place orders" },
      apiScopes: ["orders:write"],
      users: [
        { ...ALICE, permissions: ["weather:read", "orders:write"], claims: { groups: ["staff"] } },
        BOB,
      ],
      policy: live.policy,
    };
  });
  before(async () => {
    client = await register(testServer.baseUrl);
    other = await register(testServer.baseUrl);
  });
  after(() => live.close());

  async function policy(text: string): Promise<void> {
    const before = changes;
    writeFileSync(path, `# ${crypto.randomUUID()}\n${text}`);
    while (changes === before) await delay(5);
  }
  const signInWith = (who: Registered) =>
    signInForTokens(testServer.baseUrl, who, { parameters: { scope: undefined } });
  const textOf = (answer: { body: { result: { content: Array<{ text: string }> } } }) =>
    answer.body.result.content[0]?.text ?? "";

  test("this user with this client may read but not write; with another client they may", async () => {
    await policy(`
rules:
  - name: no orders through that client
    for: { users: [alice], clients: [${client.client_id}] }
    deny: { scopes: ["orders:*"] }`);
    const restricted = await signInWith(client);
    assert.equal(restricted.scope, "weather:read");
    assert.ok(!(await toolNames(testServer.url, restricted.access_token)).includes("place_order"));
    assert.equal(
      (await callTool(testServer.url, restricted.access_token, "current_weather", { city: "Berlin" })).status,
      200,
    );

    const free = await signInWith(other);
    assert.equal(free.scope, "weather:read orders:write");
    assert.equal(textOf(await callTool(testServer.url, free.access_token, "place_order")), "placed");
  });

  test("what policy denies is no 403, which would send the client around in circles, but says which rule", async () => {
    const { access_token: token } = await signInWith(client);
    for (const name of ["place_order", "orders"]) {
      const answer = await callTool(testServer.url, token, name);
      assert.equal(answer.status, 200);
      assert.equal(answer.body.result.isError, true);
      assert.match(textOf(answer), /no orders through that client/);
    }
    const denied = testServer.log.findLast(({ audit }) => audit === "tool_call");
    assert.equal(denied?.reason, "denied_by_policy");
    assert.equal(denied?.rule, "no orders through that client");
  });

  test("a changed policy counts at the next call, also for tokens issued before; wrong ones change nothing", async () => {
    await policy("rules: []");
    const { access_token: token } = await signInWith(client);
    assert.equal(textOf(await callTool(testServer.url, token, "place_order")), "placed");
    await policy(`
rules:
  - name: staff may not order
    for: { groups: [staff] }
    deny: { tools: [place_order], resources: ["orders://help"], prompts: [greet] }`);
    assert.match(textOf(await callTool(testServer.url, token, "place_order")), /staff may not order/);
    const read = await rpc(testServer.url, token, "resources/read", { uri: "orders://help" });
    assert.match(read.body.error.message, /staff may not order/);
    const got = await rpc(testServer.url, token, "prompts/get", { name: "greet" });
    assert.match(got.body.error.message, /staff may not order/);
    assert.deepEqual((await rpc(testServer.url, token, "prompts/list")).body.result.prompts, []);

    writeFileSync(path, "rules:\n  - name: x\n    deny: { tools: [no_such_tool] }\n");
    while (refused.length === 0) await delay(5);
    assert.match(refused[0] ?? "", /policy\.yaml:3: .*no_such_tool/);
    assert.match(textOf(await callTool(testServer.url, token, "place_order")), /staff may not order/);

    await policy("rules: []");
    assert.equal(textOf(await callTool(testServer.url, token, "place_order")), "placed");
  });

  test("a rule that is withdrawn gives back at once, also to tokens that were issued under it", async () => {
    await policy('rules: [{ name: no orders, deny: { scopes: ["orders:write"] } }]');
    const tokens = await signInWith(client);
    assert.equal(tokens.scope, "weather:read");
    await policy("rules: []");
    assert.equal(textOf(await callTool(testServer.url, tokens.access_token, "place_order")), "placed");
    const { body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.equal(body.scope, "weather:read orders:write");
  });

  test("introspection says what holds at /mcp", async () => {
    await policy("rules: []");
    const confidential = await register(testServer.baseUrl, {
      token_endpoint_auth_method: "client_secret_post",
    });
    const code = (await authorize(testServer.baseUrl, confidential)).get("code");
    const secret = { client_secret: confidential.client_secret ?? "" };
    const tokens = (await redeem(testServer.baseUrl, confidential, code, secret)).body;
    const introspect = async () =>
      (
        await postForm(`${testServer.baseUrl}/introspect`, {
          token: tokens.access_token,
          client_id: confidential.client_id,
          ...secret,
        })
      ).body;
    assert.equal((await introspect()).scope, "weather:read orders:write");
    await policy('rules: [{ name: x, for: { users: [alice] }, deny: { scopes: ["orders:*"] } }]');
    assert.equal((await introspect()).scope, "weather:read");
    await policy("rules: [{ name: x, for: { users: [alice] }, deny: everything }]");
    assert.deepEqual(await introspect(), { active: false });
  });

  test("requireScopes() with a misspelt scope is a fault of the tool, not a challenge for the client", async () => {
    await policy("rules: []");
    const { access_token: token } = await signInWith(client);
    const answer = await callTool(testServer.url, token, "misspelt");
    assert.equal(answer.status, 200);
    assert.match(textOf(answer), /failed unexpectedly/);
    assert.match(
      JSON.stringify(testServer.log.findLast(({ reason }) => reason === "tool_failed")),
      /orders:wirte/,
    );
  });

  test("in a batch, a call that lacks a scope on the way does not cost the others their results", async () => {
    const { access_token: token } = await signInForTokens(testServer.baseUrl, client, {
      parameters: { scope: "weather:read" },
    });
    const call = (id: number, name: string) => ({
      jsonrpc: "2.0",
      id,
      method: "tools/call",
      params: { name },
    });
    const response = await fetch(testServer.url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        authorization: `Bearer ${token}`,
        "mcp-protocol-version": "2025-03-26",
      },
      body: JSON.stringify([call(1, "say_hello"), call(2, "orders")]),
    });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    assert.match(text, /Hello, Alice/);
    assert.match(text, /orders:write/);
  });

  test("who may not come in is told so on a page, and what they had stops; a change of mind brings it back", async () => {
    await policy("rules: []");
    const tokens = await signInWith(client);
    await policy("rules: [{ name: alice is out, for: { users: [alice] }, deny: everything }]");

    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 401);
    const refusal = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.deepEqual([refusal.status, refusal.body.error], [400, "invalid_grant"]);
    await assert.rejects(
      signIn(newBrowser(), authorizeUrl(testServer.baseUrl, client), { login: "alice" }),
      /403.*not open to you.*policy of this server/s,
    );
    const denied = testServer.log.findLast(({ audit }) => audit === "sign_in");
    assert.deepEqual([denied?.decision, denied?.reason], ["deny", "denied_by_policy"]);

    await policy("rules: []");
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
    assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
  });

  test("with default deny only what is allowed is", async () => {
    await policy(`
default: deny
rules:
  - name: staff may read the weather and say who they are
    for: { groups: [staff] }
    allow: { scopes: ["weather:read"], tools: [whoami] }`);
    const { access_token: token, scope } = await signInWith(client);
    assert.equal(scope, "weather:read");
    assert.deepEqual(await toolNames(testServer.url, token), ["whoami", "current_weather"]);
    await assert.rejects(
      signIn(newBrowser(), authorizeUrl(testServer.baseUrl, client), { login: "bob" }),
      /not open to you/,
    );
  });
});

describe("ALLOWED_EMAIL_DOMAINS", () => {
  test("others see a page, get no code, and old tokens of theirs stop", async () => {
    const testServer = await startTestServer({
      users: [ALICE, { ...BOB, email: "bob@other.example" }],
      environment: { ALLOWED_EMAIL_DOMAINS: "example.com" },
    });
    try {
      const client = await register(testServer.baseUrl);
      await signInForTokens(testServer.baseUrl, client);
      await assert.rejects(
        signIn(newBrowser(), authorizeUrl(testServer.baseUrl, client), { login: "bob" }),
        /403.*not open to you.*bob@other\.example.*sign out/s,
      );
      const denied = testServer.log.findLast(({ audit }) => audit === "sign_in");
      assert.deepEqual(
        [denied?.decision, denied?.reason, denied?.subject],
        ["deny", "wrong_email_domain", "bob"],
      );
    } finally {
      await testServer.close();
    }
  });
});

describe("npm run admin -- policy explain", () => {
  const directory = mkdtempSync(join(tmpdir(), "explain-"));
  const policyFile = join(directory, "policy.yaml");
  writeFileSync(
    policyFile,
    'rules:\n  - name: contractors see no weather\n    for: { groups: [contractors] }\n    deny: { scopes: ["weather:*"] }\n',
  );
  const explain = (env: Record<string, string>, ...args: string[]) =>
    ran((streams) =>
      runAdmin(
        ["policy", "explain", ...args],
        () => ({
          BASE_URL: "http://localhost:1",
          OIDC_ISSUER: "http://localhost:2",
          OIDC_CLIENT_ID: "x",
          OIDC_CLIENT_SECRET: "y",
          SECRET_KEY,
          POLICY_FILE: policyFile,
          ...env,
        }),
        streams,
      ),
    );
  /** What it says where it has an answer. */
  const admin = async (env: Record<string, string>, ...args: string[]) => {
    const { code, stdout, stderr } = await explain(env, ...args);
    assert.equal(code, 0, stderr);
    return { stdout };
  };

  test("knows the groups of a session in Redis, and prints the decision and the rule", redis, async () => {
    const testServer = await startTestServer({
      redisUrl: redis.url ?? "",
      users: [{ ...ALICE, claims: { groups: ["contractors"] } }],
    });
    try {
      const client = await register(testServer.baseUrl);
      await signInForTokens(testServer.baseUrl, client);
      const { store } = testServer.config;
      const prefix = store.kind === "redis" ? store.keyPrefix : "";
      const { stdout } = await admin(
        { REDIS_URL: redis.url ?? "", REDIS_KEY_PREFIX: prefix },
        ...["--user", "alice", "--client", client.client_id, "--tool", "current_weather"],
      );
      assert.match(stdout, /^DENY tool current_weather for alice/);
      assert.match(stdout, /contractors see no weather.*policy\.yaml:2/);
      assert.match(stdout, new RegExp(`session with ${client.client_id}`));
    } finally {
      await testServer.close();
    }
  });

  test("works with what it is told, where sessions cannot be seen; as JSON too", async () => {
    const memory = { STORE: "memory" };
    const { stdout } = await admin(memory, "--user", "bob", "--tool", "current_weather");
    assert.match(stdout, /^DENY/);
    assert.match(
      stdout,
      /by the rule "contractors see no weather".*because what it asks for is unknown.*: groups/,
    );
    assert.match(stdout, /sessions cannot be seen/);
    assert.match(stdout, /claim groups is unknown \(--group\)/);
    const known = await admin(memory, "--user", "bob", "--tool", "current_weather", "--group", "staff");
    assert.match(known.stdout, /^ALLOW/);
    const json = await admin(
      memory,
      ...["--user", "bob", "--tool", "current_weather", "--group", "contractors", "--json"],
    );
    assert.equal(JSON.parse(json.stdout).decision.rule.name, "contractors see no weather");
  });

  test("takes clients, workloads, and the users of other issuers", async () => {
    const rules = join(directory, "issuers.yaml");
    writeFileSync(
      rules,
      `rules:
  - { name: no machines, for: { kind: client, issuers: ["https://other.example"] }, deny: { tools: [whoami] } }
  - { name: not their alice, for: { users: [alice], issuers: ["https://other.example"] }, deny: { tools: [whoami] } }
`,
    );
    const whoami = async (...args: string[]) =>
      (await admin({ STORE: "memory", POLICY_FILE: rules }, ...args, "--tool", "whoami")).stdout;
    const theirs = ["--issuer", "https://other.example"];
    const theirClient = ["--kind", "client", "--client", "https://other.example#nightly"];
    assert.match(await whoami("--user", "alice"), /^ALLOW/);
    assert.match(await whoami("--user", "alice", ...theirs), /^DENY[\s\S]*by the rule "not their alice"/);
    assert.match(await whoami("--user", "bob", ...theirs), /^ALLOW/);
    assert.match(await whoami(...theirClient, ...theirs), /^DENY[\s\S]*by the rule "no machines"/);
    assert.match(
      await whoami("--kind", "client", "--client", "nightly"),
      /^DENY[\s\S]*by the rule "no machines".*what it asks for is unknown of them: iss/,
    );
    // It has no sub of a user.
    assert.match(
      await whoami("--kind", "workload", "--user", "build", ...theirs),
      /^DENY[\s\S]*by the rule "not their alice".*what it asks for is unknown of them: sub/,
    );
  });

  test("says at which of several resources, also of what a backend has", async () => {
    const configFile = join(directory, "server.yaml");
    writeFileSync(
      configFile,
      `resources:
  /mcp: {}
  /crm/mcp:
    name: CRM
    server: http://127.0.0.1:9/mcp
    scopes: { "crm:read": Read customers }
    needs: { tools: { "find_*": ["crm:read"], whoami: [] } }
  /docs/mcp:
    name: Docs
    scopes: { "docs:read": Read the docs, "docs:write": Change the docs }
    forwardAuth: { key: the-key-of-the-reverse-proxy-0123456789, scopes: ["docs:read"], backendChecksHeaders: true }
    needs: { tools: { edit: ["docs:write"] } }
`,
      { mode: 0o600 },
    );
    const rules = join(directory, "resources.yaml");
    writeFileSync(
      rules,
      'rules: [{ name: quiet CRM, for: { protected_resources: [/crm/mcp] }, deny: { tools: [whoami, "find_*"] } }]',
    );
    const env = { STORE: "memory", POLICY_FILE: rules, CONFIG_FILE: configFile };
    const said = async (...args: string[]) => (await admin(env, "--user", "bob", "--tool", ...args)).stdout;
    assert.match(
      await said("find_customer"),
      /^DENY tool find_customer at \/crm\/mcp for bob[\s\S]*"quiet CRM"/,
      "by the pattern of the backend",
    );
    assert.match(await said("whoami", "--protected-resource", "/mcp"), /^ALLOW tool whoami at \/mcp/);
    assert.match(await said("whoami", "--protected-resource", "http://localhost:1/crm/mcp"), /^DENY/);
    assert.match(await said("edit"), /^ALLOW tool edit at \/docs\/mcp[\s\S]*docs:read, docs:write$/m);
    const json = JSON.parse(await said("edit", "--json"));
    assert.equal(json.protectedResource, "/docs/mcp");

    const ambiguous = await explain(env, "--user", "bob", "--tool", "whoami");
    assert.equal(ambiguous.code, 2);
    assert.match(ambiguous.stderr, /say which with --protected-resource \(\/mcp, \/crm\/mcp\)/);
    const unknown = await explain(env, "--user", "bob", "--tool", "whoami", "--protected-resource", "/x");
    assert.match(unknown.stderr, /There is no protected resource \/x: known are \/mcp, \/crm\/mcp/);
    writeFileSync(rules, "rules: [{ name: x, for: { protected_resources: [/crm] }, deny: everything }]");
    const wrong = await explain(env, "--user", "bob", "--tool", "edit");
    assert.match(wrong.stderr, /unknown protected resource "\/crm": use what is known here: \/mcp, /);
  });

  test("mistakes are told in a line", async () => {
    const memory = { STORE: "memory" };
    const failing = async (args: string[], env = {}) => {
      const { code, stderr } = await explain({ ...memory, ...env }, ...args);
      assert.notEqual(code, 0);
      return stderr;
    };
    assert.match(
      await failing(["--user", "bob", "--tool", "nope"]),
      /There is no tool nope here: known are whoami/,
    );
    assert.match(await failing(["--user", "bob"]), /Name one of --tool/);
    const whoami = ["--tool", "whoami"];
    assert.match(await failing(whoami), /Name who it is: --user/);
    assert.match(await failing(["--kind", "client", ...whoami]), /Name the client: --client/);
    assert.match(await failing(["--kind", "workload", "--user", "x", ...whoami]), /--issuer/);
    assert.match(await failing(["--kind", "robot", "--user", "x", ...whoami]), /user, client, workload/);
    assert.match(await failing(["--tool", "whoami"]), /--user/);
    assert.match(
      await failing(["--user", "b", "--tool", "whoami"], { POLICY_FILE: "" }),
      /POLICY_FILE is not set/,
    );
    const broken = join(directory, "broken.yaml");
    writeFileSync(broken, "rules:\n  - name: x\n");
    const said = await failing(["--user", "b", "--tool", "whoami"], { POLICY_FILE: broken });
    assert.match(said, /broken\.yaml:2/);
    assert.doesNotMatch(said, /\n\s+at /);
  });
});
