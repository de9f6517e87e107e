/** An MCP server that stays as it is, behind this one: what reaches it, what comes back, and what goes no further. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, describe, test } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { createParser } from "eventsource-parser";
import { decodeJwt } from "jose";
import { z } from "zod";
import { createPolicy } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import { reasonOf } from "../attacks/support.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { type Registered, register, revoke, signInForTokens } from "../support/oauth-client.ts";
import { people, useTestServer } from "../support/test-server.ts";

/** What the SDK's server is asked to do, with sessions. */
function crmServer(): McpServer {
  const server = new McpServer({ name: "crm", version: "1" }, { capabilities: { logging: {} } });
  const text = (said: string) => ({ content: [{ type: "text" as const, text: said }] });
  server.registerTool("find", { description: "Finds" }, ({ requestInfo }) =>
    text(String(requestInfo?.headers["x-mcp-identity-assertion"])),
  );
  server.registerTool("edit", { description: "Changes" }, () => text("changed"));
  server.registerTool("fails", { description: "Fails" }, () => ({ ...text("no"), isError: true }));
  server.registerTool("secret", { description: "By policy for nobody" }, () => text("secret"));
  server.registerTool("forgotten", { description: "Nothing names it" }, () => text("forgotten"));
  server.registerTool("count", { description: "Reports" }, async ({ sendNotification, _meta }) => {
    const progressToken = _meta?.progressToken ?? "none";
    for (const progress of [1, 2])
      await sendNotification({
        method: "notifications/progress",
        params: { progressToken, progress, total: 2 },
      });
    return text("counted");
  });
  server.registerTool("ask", { description: "Asks" }, async () => {
    const { content } = await server.server.elicitInput({
      message: "Who?",
      requestedSchema: { type: "object", properties: { who: { type: "string" } } },
    });
    return text(`It is ${content?.who}`);
  });
  for (const name of ["public", "private"])
    server.registerResource(name, `crm://${name}/all`, {}, ({ href }) => ({
      contents: [{ uri: href, text: name }],
    }));
  server.registerPrompt("greet", { argsSchema: { name: z.string() } }, ({ name }) => ({
    messages: [{ role: "user", content: { type: "text", text: `Greet ${name}` } }],
  }));
  return server;
}

const sessions = new Map<string, StreamableHTTPServerTransport>();
const crm = createServer(async (req, res) => {
  const known = sessions.get(String(req.headers["mcp-session-id"]));
  if (known === undefined && req.headers["mcp-session-id"] !== undefined)
    return void res
      .writeHead(404, { "content-type": "application/json" })
      .end('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}');
  const transport =
    known ??
    new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => void sessions.set(id, transport),
      onsessionclosed: (id) => void sessions.delete(id),
    });
  if (known === undefined) await crmServer().connect(transport as never);
  await transport.handleRequest(req, res);
});

/** What came to the backend that answers as a test says. */
interface Came {
  method: string | undefined;
  headers: IncomingMessage["headers"];
  body: Buffer;
}
let came: Came[] = [];
let answer: (res: ServerResponse, body: Buffer) => unknown;
let closed = 0;
const raw = createServer((req, res) => {
  const chunks: Buffer[] = [];
  res.on("close", () => {
    closed += 1;
  });
  req.on("data", (chunk) => chunks.push(chunk));
  req.on("end", () => {
    const body = Buffer.concat(chunks);
    came.push({ method: req.method, headers: req.headers, body });
    answer(res, body);
  });
});

const listening = (server: Server) => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;

const policy = createPolicy(
  parsePolicy("rules: [{ name: quiet, deny: { tools: [secret] } }]", "policy.yaml", {
    scopes: [],
    tools: ["secret"],
    resources: [],
    prompts: [],
  }),
);

const SCOPES = {
  "crm:read": "Read customers",
  "crm:write": { description: "Change customers", whenNeeded: true },
};
/** As in server.yaml. */
const needs = {
  tools: { find: ["crm:read"], edit: ["crm:write"], fails: [], secret: [], count: [], ask: [] },
  resources: { "crm://*": ["crm:write"], "crm://public/*": [] },
  prompts: { "*": [] },
};
const backend = (path: string, server: string, more: object = {}) => ({
  path,
  name: path,
  features: { tools: [], scopes: SCOPES },
  backend: remoteServerOf({
    server,
    audience: "crm",
    headers: { "x-api-key": "key" },
    maxAnswerBytes: 65_536,
    needs,
    ...more,
  }),
});

describe("an MCP server behind this one", () => {
  const audited: Array<Record<string, unknown>> = [];
  const testServer = useTestServer(async () => {
    await Promise.all([listening(crm), listening(raw)]);
    return {
      furtherResources: [
        backend("/crm/mcp", urlOf(crm)),
        backend("/raw/mcp", urlOf(raw)),
        backend("/impatient/mcp", urlOf(raw), { timeoutSeconds: 1 }),
        backend("/down/mcp", `http://127.0.0.1:${await freePort()}/mcp`),
      ],
      apiScopes: ["crm:read", "crm:write"],
      users: people(["alice", "bob"], ["crm:read", "crm:write"]),
      policy,
      auditStream: { write: (line: string) => void audited.push(JSON.parse(line)) },
    };
  });
  let client: Registered;
  const tokens = { crm: "", raw: "", impatient: "", down: "", bob: "" };
  before(async () => {
    client = await register(testServer.baseUrl);
    const tokenFor = async (path: string, login = "alice") => {
      return (await signInForTokens(testServer.baseUrl, client, { login, path })).access_token;
    };
    tokens.crm = await tokenFor("/crm/mcp");
    tokens.raw = await tokenFor("/raw/mcp");
    tokens.impatient = await tokenFor("/impatient/mcp");
    tokens.down = await tokenFor("/down/mcp");
    tokens.bob = await tokenFor("/crm/mcp", "bob");
  });
  beforeEach(() => {
    came = [];
    closed = 0;
    audited.length = 0;
    answer = (res) =>
      res.writeHead(200, { "content-type": "application/json" }).end('{"jsonrpc":"2.0","id":1,"result":{}}');
  });
  after(async () => {
    await Promise.all([...sessions.values()].map((each) => each.close()));
    for (const each of [crm, raw]) {
      each.closeAllConnections();
      each.close();
    }
  });

  interface Sent {
    token?: string;
    headers?: Record<string, string>;
    method?: string;
    signal?: AbortSignal;
  }
  function send(
    path: string,
    body: unknown,
    { token = tokens.raw, headers = {}, method = "POST", signal }: Sent = {},
  ) {
    return fetch(`${testServer.baseUrl}${path}`, {
      method,
      redirect: "manual",
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json, text/event-stream",
        ...(method === "POST" && { "content-type": "application/json" }),
        ...headers,
      },
      ...(method === "POST" && { body: typeof body === "string" ? body : JSON.stringify(body) }),
      ...(signal && { signal }),
    });
  }
  /** What a client has for a session of the raw backend. */
  async function rawSession(token = tokens.raw): Promise<string> {
    answer = (res) =>
      res
        .writeHead(200, { "content-type": "application/json", "mcp-session-id": "s1" })
        .end('{"jsonrpc":"2.0","id":1,"result":{}}');
    const { headers } = await send("/raw/mcp", { jsonrpc: "2.0", id: 1, method: "initialize" }, { token });
    came = [];
    return headers.get("mcp-session-id") ?? "";
  }
  const call = (name: string, id: unknown = 1) => ({
    jsonrpc: "2.0",
    id,
    method: "tools/call",
    params: { name },
  });
  // biome-ignore lint/suspicious/noExplicitAny: answers of every shape
  const json = (answered: Response): Promise<any> => answered.json();
  async function connected(token: string) {
    const mcp = new Client({ name: "test", version: "1" }, { capabilities: { elicitation: {} } });
    const transport = new StreamableHTTPClientTransport(new URL(`${testServer.baseUrl}/crm/mcp`), {
      requestInit: { headers: { authorization: `Bearer ${token}` } },
    });
    await mcp.connect(transport as never);
    return { mcp, transport };
  }

  describe("the SDK's client and server", () => {
    let mcp: Client;
    let transport: StreamableHTTPClientTransport;
    before(async () => {
      ({ mcp, transport } = await connected(tokens.crm));
    });
    after(() => mcp.close());

    test("a tool is told who calls, signed for this backend", async () => {
      const { content } = (await mcp.callTool({ name: "find" })) as { content: Array<{ text: string }> };
      const claims = decodeJwt(content[0]?.text ?? "");
      assert.equal(claims.aud, "crm");
      assert.match(String(claims.sub), /alice$/);
      await eventually("the audit line", () =>
        audited.some(
          ({ event, tool, outcome }) => event === "tool_call" && tool === "find" && outcome === "ok",
        ),
      );
    });

    test("an error in a result is one in the audit log", async () => {
      assert.equal((await mcp.callTool({ name: "fails" })).isError, true);
      await eventually("the audit line", () =>
        audited.some(({ tool, outcome }) => tool === "fails" && outcome === "error"),
      );
    });

    test("the lists show what the caller may use, and what is named", async () => {
      const { tools } = await mcp.listTools();
      assert.deepEqual(tools.map(({ name }) => name).sort(), ["ask", "count", "fails", "find"]);
      const { resources } = await mcp.listResources();
      assert.deepEqual(
        resources.map(({ uri }) => uri),
        ["crm://public/all"],
      );
      const { prompts } = await mcp.listPrompts();
      assert.deepEqual(
        prompts.map(({ name }) => name),
        ["greet"],
      );
    });

    test("progress, and what the server asks of the client, pass", async () => {
      const progress: number[] = [];
      await mcp.callTool({ name: "count" }, undefined, {
        onprogress: (now) => void progress.push(now.progress),
      });
      assert.deepEqual(progress, [1, 2]);
      const { ElicitRequestSchema } = await import("@modelcontextprotocol/sdk/types.js");
      mcp.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { who: "me" } }));
      const { content } = (await mcp.callTool({ name: "ask" })) as { content: Array<{ text: string }> };
      assert.equal(content[0]?.text, "It is me");
    });

    test("a resource and a prompt", async () => {
      const { contents } = await mcp.readResource({ uri: "crm://public/all" });
      assert.equal((contents[0] as { text: string }).text, "public");
      const { messages } = await mcp.getPrompt({ name: "greet", arguments: { name: "Ann" } });
      assert.deepEqual(messages[0]?.content, { type: "text", text: "Greet Ann" });
    });

    test("another caller's session is none, and its own id opens nothing", async () => {
      const session = transport.sessionId ?? "";
      assert.ok(session !== "" && !sessions.has(session));
      for (const [token, id] of [
        [tokens.bob, session],
        [tokens.crm, [...sessions.keys()][0] as string],
      ] as const) {
        const refused = await send("/crm/mcp", call("count"), { token, headers: { "mcp-session-id": id } });
        assert.equal(refused.status, 404);
        assert.equal(await reasonOf(testServer, refused), "backend_session_unknown");
      }
    });

    test("a session is ended by DELETE", async () => {
      const another = await connected(tokens.crm);
      const before = sessions.size;
      await another.transport.terminateSession();
      assert.equal(sessions.size, before - 1);
      await another.mcp.close();
    });
  });

  describe("what goes no further", () => {
    test("a tool whose scope is lacking: 403 with a challenge, before anything leaves", async () => {
      const refused = await send("/raw/mcp", call("edit"));
      assert.equal(refused.status, 403);
      assert.match(refused.headers.get("www-authenticate") ?? "", /error="insufficient_scope".*crm:write/);
      assert.ok(audited.some(({ tool, decision }) => tool === "edit" && decision === "deny"));
      assert.deepEqual(came, []);
    });

    for (const [what, message, reason] of [
      ["a tool that the policy denies", call("secret"), "denied_by_policy"],
      ["a tool that nothing names", call("forgotten"), "backend_feature_unnamed"],
      [
        "a path that could be read as another",
        { jsonrpc: "2.0", id: 1, method: "resources/read", params: { uri: "crm://public/../private/all" } },
        "backend_feature_unnamed",
      ],
      [
        "a method that is not of the list",
        { jsonrpc: "2.0", id: 1, method: "tasks/result" },
        "backend_method",
      ],
    ] as const)
      test(`${what}: ${reason}`, async () => {
        const refused = await send("/raw/mcp", message);
        assert.equal(refused.status, 200);
        const { id, error } = await json(refused);
        assert.deepEqual([id, error.data.reason], [1, reason]);
        assert.equal(await reasonOf(testServer, refused), reason);
        assert.deepEqual(came, []);
      });

    test("for a client of 2026-07-28, a method that there is not is 404, also one of the older generation", async () => {
      const _meta = { "io.modelcontextprotocol/protocolVersion": "2026-07-28" };
      for (const method of ["tasks/get", "resources/subscribe", "logging/setLevel", "initialize"]) {
        const message = {
          jsonrpc: "2.0",
          id: 7,
          method,
          params: { taskId: "a task", uri: "crm://x", _meta },
        };
        const headers = { "mcp-method": method, "mcp-name": "a task" };
        const refused = await send("/raw/mcp", message, { headers });
        assert.equal(refused.status, 404, method);
        const { id, error } = await json(refused);
        assert.deepEqual([id, error.code, error.data.reason], [7, -32_601, "backend_method"]);
      }
      assert.deepEqual(came, []);
    });

    test("a name that a client makes up below a pattern is counted by its entry, and short in the log", async () => {
      const message = { jsonrpc: "2.0", id: 1, method: "prompts/get", params: { name: "x".repeat(5_000) } };
      const passed = await send("/raw/mcp", message);
      await reasonOf(testServer, passed).catch(() => {});
      const line = audited.find(({ event }) => event === "prompt_get");
      assert.equal(line?.entry, "*");
      for (const each of testServer.log) assert.ok(JSON.stringify(each).length < 2_000);
    });

    test("a batch with one forbidden call: nothing of it", async () => {
      const refused = await json(await send("/raw/mcp", [call("find", 1), call("secret", 2)]));
      assert.deepEqual(
        refused.map(({ id }: { id: number }) => id),
        [1, 2],
      );
      assert.equal((await send("/raw/mcp", [call("find", 1), call("edit", 2)])).status, 403);
      assert.deepEqual(came, []);
    });

    for (const [what, body] of [
      [
        "a name that comes twice",
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"find","name":"edit"}}',
      ],
      [
        "a name that comes twice, once escaped",
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"find","n\\u0061me":"edit"}}',
      ],
      [
        "a name in another spelling",
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"find","Name":"edit"}}',
      ],
      [
        "a member in another spelling",
        '{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"edit"}}',
      ],
      ["a call that asks for no answer", '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"find"}}'],
      ["an answer with parameters", '{"jsonrpc":"2.0","id":1,"result":{},"params":{"name":"edit"}}'],
      [
        "two requests of one id",
        '[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"method":"tools/list"}]',
      ],
      ["a batch of other things", '[1,{"jsonrpc":"2.0","id":1,"method":"ping"}]'],
      ["a batch of nothing", "[]"],
    ] as const)
      test(`${what}: refused, before anything leaves`, async () => {
        const refused = await send("/raw/mcp", body);
        assert.equal(refused.status, 400);
        assert.equal(await reasonOf(testServer, refused), "ambiguous_message");
        assert.deepEqual(came, []);
      });

    const answered = { jsonrpc: "2.0", id: 1, result: { action: "accept" } };
    const cancelled = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 1 } };

    test("an answer, a cancellation or a stream of no session: their ids are anybody's", async () => {
      const refused = await send("/raw/mcp", answered);
      assert.equal(refused.status, 400);
      assert.equal(await reasonOf(testServer, refused), "answer_to_nothing");
      assert.equal((await send("/raw/mcp", [call("find"), cancelled])).status, 400);
      assert.equal((await send("/raw/mcp", cancelled)).status, 202);
      for (const method of ["GET", "DELETE"])
        assert.equal((await send("/raw/mcp", undefined, { method })).status, 405);
      assert.deepEqual(came, []);
      const headers = { "mcp-session-id": await rawSession() };
      answer = (res) => res.writeHead(202).end();
      assert.equal((await send("/raw/mcp", answered, { headers })).status, 202);
      assert.equal((await send("/raw/mcp", cancelled, { headers })).status, 202);
      assert.equal(came.length, 2, "in its own session they pass");
    });

    test("the session of another application of the same user", async () => {
      const headers = { "mcp-session-id": await rawSession() };
      const another = await register(testServer.baseUrl, { client_name: "Another" });
      const { access_token: token } = await signInForTokens(testServer.baseUrl, another, {
        path: "/raw/mcp",
      });
      const refused = await send("/raw/mcp", undefined, { method: "GET", headers, token });
      assert.equal(refused.status, 404);
      assert.deepEqual(came, []);
    });

    test("headers that name another tool than the message", async () => {
      const refused = await send("/raw/mcp", call("find"), { headers: { "mcp-name": "edit" } });
      assert.equal(refused.status, 400);
      assert.equal((await json(refused)).id, 1, "its client knows which of its requests that was");
      assert.equal(await reasonOf(testServer, refused), "param_header_mismatch");
      assert.deepEqual(came, []);
    });

    test("the token, cookies, and whatever could pass for an identity", async () => {
      const body = ' {"jsonrpc":"2.0", "id":1,"method":"tools/call","params":{"name":"find"}}\n';
      const headers = {
        cookie: "a=b",
        "x-mcp-identity-assertion": "forged",
        x_mcp_identity_assertion: "forged",
        "x-forwarded-user": "admin",
        "x-api-key": "forged",
        "mcp-protocol-version": "2025-06-18",
      };
      assert.equal((await send("/raw/mcp", body, { headers })).status, 200);
      const [{ headers: seen, body: received } = {} as Came] = came;
      assert.equal(received?.toString(), body, "byte for byte");
      assert.ok(!JSON.stringify(seen).includes("forged") && !JSON.stringify(seen).includes(tokens.raw));
      assert.deepEqual(
        [seen?.cookie, seen?.authorization, seen?.["x-forwarded-user"]],
        [undefined, undefined, undefined],
      );
      assert.equal(seen?.["x-api-key"], "key");
      assert.equal(seen?.["mcp-protocol-version"], "2025-06-18");
      assert.equal(decodeJwt(String(seen?.["x-mcp-identity-assertion"])).aud, "crm");
    });
  });

  describe("a backend that fails", () => {
    const head =
      (status: number, headers: Record<string, string> = {}, body = "") =>
      (res: ServerResponse) =>
        res.writeHead(status, headers).end(body);
    for (const [what, status, reason, misbehaves] of [
      ["401", 502, "backend_refused", head(401, { "www-authenticate": "Bearer" })],
      ["403", 502, "backend_refused", head(403)],
      ["a redirection", 502, "backend_refused", head(307, { location: "http://127.0.0.1/elsewhere" })],
      ["500", 502, "backend_answer_unusable", head(500)],
      ["a page", 502, "backend_answer_unusable", head(200, { "content-type": "text/html" }, "<p>Hello")],
      ["no JSON", 502, "backend_answer_unusable", head(200, { "content-type": "application/json" }, "{")],
      ["no answer", 502, "backend_answer_unusable", head(200, { "content-type": "application/json" }, "[]")],
      [
        "something else",
        502,
        "backend_answer_unusable",
        head(200, { "content-type": "application/json" }, '{"jsonrpc":"2.0","method":"notifications/x"}'),
      ],
      ["what is compressed", 502, "backend_answer_unusable", head(200, { "content-encoding": "gzip" })],
      [
        "too much",
        502,
        "backend_answer_unusable",
        head(
          200,
          { "content-type": "application/json" },
          JSON.stringify({ jsonrpc: "2.0", id: "a", result: "x".repeat(70_000) }),
        ),
      ],
      ["nonsense", 502, "backend_answer_unusable", (res: ServerResponse) => res.socket?.end("HELLO\r\n\r\n")],
      ["a hang-up", 502, "backend_broke_off", (res: ServerResponse) => res.destroy()],
      ["nothing", 504, "backend_too_slow", () => {}],
      [
        "an answer without an end",
        504,
        "backend_too_slow",
        (res: ServerResponse) =>
          res.writeHead(200, { "content-type": "application/json" }).write('{"jsonrpc":"2.0",'),
      ],
    ] as const)
      test(`${what}: ${status} ${reason}, asked once`, async () => {
        answer = misbehaves;
        const failed =
          reason === "backend_too_slow"
            ? await send("/impatient/mcp", call("find", "a"), { token: tokens.impatient })
            : await send("/raw/mcp", call("find", "a"));
        assert.equal(failed.status, status);
        assert.deepEqual(
          [failed.headers.get("www-authenticate"), failed.headers.get("location")],
          [null, null],
        );
        const { id, error } = await json(failed);
        assert.deepEqual([id, error.data.reason], ["a", reason]);
        assert.equal(await reasonOf(testServer, failed), reason);
        assert.equal(came.length, 1);
        assert.ok(
          audited.some(
            ({ tool, outcome, reason: why }) => tool === "find" && outcome === "error" && why === reason,
          ),
        );
      });

    for (const [what, status, misbehaves] of [
      ["400 in words that do not pass", 400, head(400, {}, "You forgot it")],
      ["404 in a page", 404, head(404, { "content-type": "text/html" }, "<h1>Not found")],
      ["413 without a word", 413, head(413)],
    ] as const)
      test(`${what}: whoever waits is told more than a number`, async () => {
        answer = misbehaves;
        const refused = await send("/raw/mcp", call("find", "a"));
        assert.equal(refused.status, status);
        const { id, error } = await json(refused);
        assert.equal(id, "a");
        assert.match(error.message, new RegExp(`refused the request with HTTP ${status}`));
        assert.equal(await reasonOf(testServer, refused), "mcp_protocol_error");
        assert.ok(audited.some(({ tool, outcome }) => tool === "find" && outcome === "error"));
        const batch = await send("/raw/mcp", [call("find", 1), call("count", 2)]);
        assert.deepEqual(
          (await json(batch)).map((each: { id: number }) => each.id),
          [1, 2],
        );
        const told = await send("/raw/mcp", { jsonrpc: "2.0", method: "notifications/initialized" });
        assert.deepEqual([told.status, await told.text()], [status, ""]);
      });

    test("a redirection is told to its operator, who may have left out a slash, and to nobody else", async () => {
      testServer.clock.ahead += 61; // each reason is said once a minute
      answer = head(308, { location: "/mcp/?key=secret" });
      const failed = await send("/raw/mcp", call("find"));
      assert.doesNotMatch(await failed.text(), /127\.0\.0\.1/);
      assert.equal(failed.headers.get("location"), null);
      const causes = testServer.log.map(({ cause }) => cause);
      assert.ok(causes.includes(`It answered 308, and leads to ${urlOf(raw)}/.`), String(causes));
    });

    test("is down", async () => {
      const failed = await send("/down/mcp", call("find"), { token: tokens.down });
      assert.equal(failed.status, 502);
      assert.equal(await reasonOf(testServer, failed), "backend_unreachable");
      assert.ok(!(await failed.text()).includes("127.0.0.1"), "where it is, is for the log");
    });

    test("breaks off in its stream: whoever waits is told", async () => {
      answer = (res) => {
        res.writeHead(200, { "content-type": "text/event-stream" }).write(": hello\n\n");
        setImmediate(() => res.destroy());
      };
      const text = await (await send("/raw/mcp", call("find", 7))).text();
      assert.match(text, /^: hello\n\n/);
      assert.match(text, /"id":7,"error":.*may have been done.*backend_broke_off/);
    });
  });

  describe("a stream", () => {
    const listed = (id: number) =>
      JSON.stringify({
        jsonrpc: "2.0",
        id,
        result: { tools: ["find", "edit", "forgotten"].map((name) => ({ name })) },
      });

    test("is filtered also where a call waits: two requests may have one id, and the list's answer come to the call", async () => {
      answer = (res) =>
        res.writeHead(200, { "content-type": "text/event-stream" }).end(`data: ${listed(1)}\n\n`);
      const text = await (await send("/raw/mcp", call("count"))).text();
      assert.doesNotMatch(text, /edit|forgotten/);
      assert.match(text, /find/);
    });

    test("is filtered event by event, however it is cut, and the rest comes byte for byte", async () => {
      const rest =
        ': comment\r\n\r\nid: 1\ndata: \n\nevent: message\rdata: {"jsonrpc":"2.0",\rdata: "method":"notifications/x"}\r\r';
      const stream = `${rest}id: 2\nevent: message\ndata: ${listed(1)}\n\n`;
      answer = (res) => {
        res.writeHead(200, { "content-type": "text/event-stream" });
        const bytes = [...stream];
        const next = () => {
          const piece = bytes.splice(0, 5).join("");
          if (piece === "") res.end();
          else res.write(piece, () => setImmediate(next));
        };
        next();
      };
      const text = await (await send("/raw/mcp", { jsonrpc: "2.0", id: 1, method: "tools/list" })).text();
      assert.ok(text.startsWith(rest), text);
      assert.equal(
        text.slice(rest.length),
        'id: 2\nevent: message\ndata: {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"find"}]}}\n\n',
      );
    });

    test("that ends before it has answered, and cannot be resumed: whoever waits is told", async () => {
      answer = (res) => res.writeHead(200, { "content-type": "text/event-stream" }).end(": hello\n\n");
      assert.match(await (await send("/raw/mcp", call("find", 7))).text(), /"id":7,"error":/);
      const resumable = "id: 1\ndata: \n\n";
      const headers = { "mcp-session-id": await rawSession() };
      answer = (res) => res.writeHead(200, { "content-type": "text/event-stream" }).end(resumable);
      assert.equal(await (await send("/raw/mcp", call("find", 7), { headers })).text(), resumable);
    });

    test("that could be resumed, of no session: there nobody can ask for the rest, and whoever waits is told", async () => {
      answer = (res) => res.writeHead(200, { "content-type": "text/event-stream" }).end("id: 1\ndata: \n\n");
      const text = await (await send("/raw/mcp", call("find", 7))).text();
      assert.match(text, /^id: 1\ndata: \n\n.*"id":7,"error":.*backend_broke_off/s);
    });

    for (const end of ["", "\n", "\r\n"])
      test(`whose last event nothing ends, but for ${JSON.stringify(end)}: its client finds the answer`, async () => {
        for (const [message, method] of [
          ['{"jsonrpc":"2.0","id":7,"result":{"content":[]}}', "tools/call"],
          [`{"jsonrpc":"2.0","id":7,"result":{"content":["${"x".repeat(30_000)}"]}}`, "tools/call"],
          [listed(7), "tools/list"],
        ] as const) {
          answer = (res) =>
            res.writeHead(200, { "content-type": "text/event-stream" }).end(`data: ${message}${end}`);
          const request = { jsonrpc: "2.0", id: 7, method, params: { name: "find" } };
          const text = await (await send("/raw/mcp", request)).text();
          const found: unknown[] = [];
          createParser({ onEvent: ({ data }) => void found.push(JSON.parse(data)) }).feed(text);
          assert.deepEqual(
            found.map((each) => [(each as { id: number }).id, "result" in (each as object)]),
            [[7, true]],
          );
        }
      });

    test("is for no cache that others share, in a list or not: what may be read here depends on who reads", async () => {
      const read = { jsonrpc: "2.0", id: 1, method: "resources/read", params: { uri: "crm://public/a" } };
      const written = (scope: string) =>
        `{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"crm://public/a","cacheScope":"public"}],"ttlMs":60000,${scope}}}`;
      for (const type of ["application/json", "text/event-stream"])
        for (const scope of [
          '"cacheScope":"public"',
          '"cache\\u0053cope": null',
          '"cacheScope":{"a":"private"}',
        ]) {
          const text = written(scope);
          const [body, expected] = [text, written(scope.replace(/:.*/s, ':"private"'))].map((each) =>
            type === "application/json" ? each : `data: ${each}\n\n`,
          );
          answer = (res) => res.writeHead(200, { "content-type": type }).end(body);
          const came = await (await send("/raw/mcp", read)).text();
          assert.equal(came.replace(': "private"', ':"private"'), expected);
        }
      const own = written('"cacheScope" : "private"');
      answer = (res) => res.writeHead(200, { "content-type": "application/json" }).end(own);
      assert.equal(await (await send("/raw/mcp", read)).text(), own, "byte for byte");
    });

    test("half of an event: whoever waits is told", async () => {
      answer = (res) =>
        res
          .writeHead(200, { "content-type": "text/event-stream" })
          .end('id: 1\ndata: {"jsonrpc":"2.0","id":7');
      assert.match(
        await (await send("/raw/mcp", call("find", 7))).text(),
        /^event: message\ndata: .*"id":7,"error":/,
      );
    });

    test("one event of it may not be larger than is allowed", async () => {
      answer = (res) =>
        res
          .writeHead(200, { "content-type": "text/event-stream" })
          .end(`data: ${JSON.stringify({ jsonrpc: "2.0", id: 1, result: "x".repeat(70_000) })}\n\n`);
      const text = await (await send("/raw/mcp", call("find"))).text();
      assert.match(text, /^event: message\ndata: .*"id":1,"error":.*backend_answer_unusable/);
    });

    test("that is resumed by GET is filtered, too", async () => {
      const session = await rawSession();
      answer = (res) =>
        res.writeHead(200, { "content-type": "text/event-stream" }).end(`data: ${listed(9)}\n\n`);
      const resumed = await send("/raw/mcp", undefined, {
        method: "GET",
        headers: { accept: "text/event-stream", "last-event-id": "4", "mcp-session-id": session },
      });
      const text = await resumed.text();
      assert.equal(came[0]?.headers["last-event-id"], "4");
      assert.equal(came[0]?.headers["mcp-session-id"], "s1");
      assert.ok(text.includes('"find"') && !text.includes("forgotten") && !text.includes("edit"), text);
    });

    test("whose client hangs up is hung up on, and written down", async () => {
      answer = (res) => res.writeHead(200, { "content-type": "text/event-stream" }).write(": hello\n\n");
      const hangUp = new AbortController();
      const streaming = await send("/raw/mcp", call("count"), { signal: hangUp.signal });
      await streaming.body?.getReader().read();
      hangUp.abort();
      await eventually("the backend is told", () => closed === 1);
      await eventually("the audit line", () =>
        audited.some(({ tool, reason }) => tool === "count" && reason === "client_gone"),
      );
    });

    test("ends when its session does, with an error for whoever waits", async () => {
      answer = (res) => res.writeHead(200, { "content-type": "text/event-stream" }).write(": hello\n\n");
      const { access_token: token, refresh_token } = await signInForTokens(testServer.baseUrl, client, {
        path: "/raw/mcp",
      });
      const streaming = await send("/raw/mcp", call("count", 3), { token });
      await revoke(testServer.baseUrl, client, refresh_token);
      assert.match(await streaming.text(), /"id":3,"error":.*grant_ended/);
      await eventually("the backend is told", () => closed === 1);
    });
  });
});
