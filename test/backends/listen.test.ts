/** What asks for more than one answer: subscriptions of MCP 2026-07-28 pass by what they name, and tasks do not. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { createPolicy } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import { reasonOf } from "../attacks/support.ts";
import { eventually } from "../support/eventually.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { type AnsweringBackend, startAnsweringBackend } from "./answering-backend.ts";

const policy = createPolicy(
  parsePolicy("rules: [{ name: quiet, deny: { resources: ['crm://secret/all'] } }]", "policy.yaml", {
    scopes: [],
    tools: [],
    resources: ["crm://secret/all"],
    prompts: [],
    protectedResources: [],
  }),
);

describe("what asks for more than one answer", () => {
  let backend: AnsweringBackend;
  let token: string;
  const audited: Array<Record<string, unknown>> = [];
  const testServer = useTestServer(async () => {
    backend = await startAnsweringBackend();
    const scopes = {
      "crm:read": "Read customers",
      "crm:all": { description: "Read all", whenNeeded: true },
    };
    const needs = {
      tools: { find: [] },
      resources: { "crm://public/*": ["crm:read"], "crm://all/*": ["crm:all"], "crm://secret/all": [] },
    };
    return {
      apiScopes: ["crm:read", "crm:all"],
      users: [
        { subject: "alice", name: "Alice", email: "a@example.com", permissions: ["crm:read", "crm:all"] },
      ],
      furtherResources: [
        {
          path: "/crm/mcp",
          name: "CRM",
          features: { tools: [], scopes },
          backend: remoteServerOf({ server: backend.url, needs }),
        },
      ],
      policy,
      auditStream: { write: (line: string) => void audited.push(JSON.parse(line)) },
    };
  });
  before(async () => {
    const client = await register(testServer.baseUrl);
    ({ access_token: token } = await signInForTokens(testServer.baseUrl, client, { path: "/crm/mcp" }));
  });
  after(() => backend.close());
  beforeEach(() => {
    backend.came.length = 0;
    backend.answer = undefined;
    audited.length = 0;
  });

  const MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  function send(message: object | string, signal?: AbortSignal) {
    return fetch(`${testServer.baseUrl}/crm/mcp`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
      },
      body: typeof message === "string" ? message : JSON.stringify(message),
      ...(signal && { signal }),
    });
  }
  const listen = (notifications: object, more: object = {}) => ({
    jsonrpc: "2.0",
    id: 1,
    method: "subscriptions/listen",
    params: { _meta: MODERN, notifications, ...more },
  });

  test("changes of lists, and of resources that the caller may read: the stream passes until they hang up", async () => {
    const changed = `data: ${JSON.stringify({ jsonrpc: "2.0", method: "notifications/resources/updated", params: { uri: "crm://public/a" } })}\n\n`;
    let closed = false;
    backend.answer = (res) => {
      res.once("close", () => {
        closed = true;
      });
      res.writeHead(200, { "content-type": "text/event-stream" }).write(changed);
    };
    const hangUp = new AbortController();
    const message = listen({
      toolsListChanged: true,
      resourceSubscriptions: ["crm://public/a", "crm://public/b"],
    });
    const answered = await send(message, hangUp.signal);
    assert.equal(answered.status, 200);
    const { value } = (await answered.body?.getReader().read()) ?? {};
    assert.equal(Buffer.from(value ?? []).toString(), changed);
    assert.equal(backend.came[0]?.body, JSON.stringify(message), "byte for byte");
    hangUp.abort();
    await eventually("the backend is told", () => closed);
    await eventually("each resource is in the audit log", () =>
      ["crm://public/a", "crm://public/b"].every((uri) => audited.some(({ resource }) => resource === uri)),
    );
  });

  test("a stream that ends without an answer has ended: nobody is told that something failed", async () => {
    backend.answer = (res) => res.writeHead(200, { "content-type": "text/event-stream" }).end(": hello\n\n");
    assert.equal(await (await send(listen({ toolsListChanged: true }))).text(), ": hello\n\n");
  });

  test("a resource whose scope is lacking: 403 with a challenge, before anything leaves", async () => {
    const refused = await send(listen({ resourceSubscriptions: ["crm://public/a", "crm://all/a"] }));
    assert.equal(refused.status, 403);
    assert.match(refused.headers.get("www-authenticate") ?? "", /insufficient_scope.*crm:all/);
    assert.deepEqual(backend.came, []);
  });

  for (const [what, message, reason] of [
    [
      "a resource that nothing names, among others",
      listen({ resourceSubscriptions: ["crm://public/a", "crm://other/a"] }),
      "backend_feature_unnamed",
    ],
    [
      "a resource that the policy denies, among others",
      listen({ resourceSubscriptions: ["crm://public/a", "crm://secret/all"] }),
      "denied_by_policy",
    ],
    [
      "a resource that could be read as another",
      listen({ resourceSubscriptions: ["crm://public/../all/a"] }),
      "backend_feature_unnamed",
    ],
    [
      "resources that are no list",
      listen({ resourceSubscriptions: "crm://all/a" }),
      "backend_feature_unnamed",
    ],
    [
      "a tool as a task, whose result nobody could fetch (MCP 2025-11-25)",
      {
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: { name: "find", task: { ttl: 60_000 } },
      },
      "backend_method",
    ],
    [
      "what is asked of a task",
      { jsonrpc: "2.0", id: 1, method: "tasks/get", params: { taskId: "1" } },
      "backend_method",
    ],
  ] as const)
    test(`${what}: ${reason}, and nothing leaves`, async () => {
      const refused = await send(message);
      assert.equal(refused.status, 200);
      assert.equal(await reasonOf(testServer, refused), reason);
      assert.deepEqual(backend.came, []);
    });

  for (const type of ["application/json", "text/event-stream"])
    test(`a backend that can do tasks does not say so to clients: ${type}`, async () => {
      const introduced =
        '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{"list":{}}}}}';
      backend.answer = (res) =>
        res
          .writeHead(200, { "content-type": type })
          .end(type === "application/json" ? introduced : `data: ${introduced}\n\n`);
      const answered = await send({ jsonrpc: "2.0", id: 1, method: "initialize", params: {} });
      const said = await answered.text();
      assert.match(said, /"capabilities":\{"tools":\{\}\}/);
      assert.doesNotMatch(said, /tasks/);
    });

  for (const [what, message] of [
    ["a list of resources in another spelling", listen({ ResourceSubscriptions: ["crm://all/a"] })],
    [
      "their member in another spelling",
      listen({}, { Notifications: { resourceSubscriptions: ["crm://all/a"] } }),
    ],
    [
      "a task in another spelling",
      { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "find", Task: {} } },
    ],
  ] as const)
    test(`${what}: refused as ambiguous`, async () => {
      const refused = await send(message);
      assert.equal(refused.status, 400);
      assert.equal(await reasonOf(testServer, refused), "ambiguous_message");
      assert.deepEqual(backend.came, []);
    });
});
