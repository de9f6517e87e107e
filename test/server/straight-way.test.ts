/**
 * The straight way to a resource and the way through express: the same answers to the last byte of their headers, and the same lines
 * in the log; and which requests go which way.
 */
import assert from "node:assert/strict";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { after, before, describe, test } from "node:test";
import express, { type ErrorRequestHandler } from "express";
import { z } from "zod";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import type { Middleware } from "../../src/http/together.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { requireScopes } from "../../src/resource/access-token-context.ts";
import { straightWay, takeFailed } from "../../src/server/straight-way.ts";
import { type AnsweringBackend, startAnsweringBackend } from "../backends/answering-backend.ts";
import { eventually } from "../support/eventually.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { receivedUntilClosed } from "../support/received-until-closed.ts";
import { useTestServer } from "../support/test-server.ts";
import { scrape } from "../telemetry/scrape.ts";

const NEW = "2026-07-28";
const OLD = "2025-11-25";
const META = {
  "io.modelcontextprotocol/protocolVersion": NEW,
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
const tools = [
  defineTool({
    name: "ant",
    description: "Answers",
    input: z.object({ n: z.number() }),
    run: ({ n }) => `${n}`,
  }),
  defineTool({ name: "wasp", description: "Needs a scope", scopes: ["weather:read"], run: () => "sting" }),
  defineTool({
    name: "late",
    description: "Needs a scope after all",
    run() {
      requireScopes("weather:read");
      return "there";
    },
  }),
  defineTool({
    name: "broken",
    description: "Fails",
    run() {
      throw new Error("broken");
    },
  }),
  defineTool({
    name: "counts",
    description: "Tells how far it is",
    async run(_, { progress }) {
      await progress(1, 2);
      return "two";
    },
  }),
];

/** As in server.yaml. */
const NEEDS = { tools: { find: ["crm:read"], edit: ["crm:write"] }, prompts: { "*": [] } };

interface Sent {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  body?: string;
  /** In place of a body with its length. */
  raw?: string;
}

const JSON_HEADERS = { "Content-Type": "application/json", Accept: "application/json, text/event-stream" };
const message = (method: string, params: object = {}) =>
  JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
const call = (name: string, args: object = {}) => message("tools/call", { name, arguments: args });
const callOfNew = (name: string, args: object = {}) =>
  message("tools/call", { name, arguments: args, _meta: META });
const ofNew = (method: string, name?: string) => ({
  "MCP-Protocol-Version": NEW,
  "Mcp-Method": method,
  ...(name !== undefined && { "Mcp-Name": name }),
});
const ofOld = { "MCP-Protocol-Version": OLD };

describe("the straight way and the one through express", () => {
  /** Has weather:read. */
  let alice: string;
  /** Has no scope. */
  let bob: string;
  /** Of alice, with crm:read. */
  let crm: string;
  let backend: AnsweringBackend;
  const testServer = useTestServer(async () => {
    backend = await startAnsweringBackend();
    const entry = { server: backend.url, audience: "crm", needs: NEEDS };
    const scopes = { "crm:read": "Read", "crm:write": { description: "Change", whenNeeded: true } };
    return {
      tools,
      furtherResources: [
        { path: "/crm/mcp", name: "CRM", features: { tools: [], scopes }, backend: remoteServerOf(entry) },
      ],
      apiScopes: Object.keys(scopes),
      users: [
        {
          subject: "alice",
          name: "Alice",
          email: "alice@example.com",
          permissions: ["weather:read", "crm:read"],
        },
        { subject: "bob", name: "Bob", email: "bob@example.com", permissions: [] },
      ],
      environment: { TRUSTED_PROXIES: "127.0.0.1" },
    };
  });
  const seen: IncomingMessage[] = [];
  const note = (published: unknown) => {
    const { request } = published as { request: IncomingMessage };
    // The backend is in this process as well.
    if (request.socket.localPort === Number(new URL(testServer.baseUrl).port)) seen.push(request);
  };
  before(async () => {
    const client = await register(testServer.baseUrl);
    alice = (await signInForTokens(testServer.baseUrl, client)).access_token;
    bob = (await signInForTokens(testServer.baseUrl, client, { login: "bob" })).access_token;
    crm = (await signInForTokens(testServer.baseUrl, client, { path: "/crm/mcp" })).access_token;
    subscribe("http.server.request.start", note);
  });
  after(async () => {
    unsubscribe("http.server.request.start", note);
    await backend.close();
  });

  /** Express leaves its application at every request that it was given. */
  const way = () => (seen.at(-1) !== undefined && "app" in (seen.at(-1) as object) ? "express" : "straight");

  /** The answer as it came. */
  async function send({
    method = "POST",
    path = "/mcp",
    headers = {},
    body = "",
    raw,
  }: Sent): Promise<string> {
    const socket = connect(Number(new URL(testServer.baseUrl).port), "127.0.0.1");
    const received = receivedUntilClosed(socket);
    const length = { "Content-Length": String(Buffer.byteLength(body)) };
    const all = { Host: "localhost", Connection: "close", ...(raw === undefined && length), ...headers };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n${raw ?? body}`);
    return received;
  }

  /** With what was logged meanwhile, and without what differs from one request to the next anyway. */
  async function sendAndNote(sent: Sent) {
    testServer.log.length = 0;
    const answer = await send(sent);
    const isLogged = () => testServer.log.some(({ msg }) => msg === "request");
    await eventually("the request is in the log", isLogged);
    const log = testServer.log.map(({ time, requestId, durationMs, err, ...line }) => line);
    const comparable = answer
      .replace(/^date: .*$/gim, "date")
      .replace(/^mcp-session-id: .*$/gim, "session")
      .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "request");
    return { answer: comparable, log };
  }

  const as = (token: string, headers: Record<string, string> = {}) => ({
    ...JSON_HEADERS,
    Authorization: `Bearer ${token}`,
    ...headers,
  });
  const ofAlice = (body: string, headers: Record<string, string> = ofOld): Sent => ({
    headers: as(alice, headers),
    body,
  });
  const ofBob = (body: string, headers: Record<string, string> = ofOld): Sent => ({
    headers: as(bob, headers),
    body,
  });

  const toBackend = (body: string, headers: Record<string, string> = ofOld): Sent => ({
    path: "/crm/mcp",
    headers: as(crm, headers),
    body,
  });

  const ORDINARY: ReadonlyArray<readonly [what: string, status: number, request: () => Sent]> = [
    ["a call", 200, () => ofAlice(call("ant", { n: 1 }))],
    ["a call of 2026-07-28", 200, () => ofAlice(callOfNew("ant", { n: 1 }), ofNew("tools/call", "ant"))],
    ["a list", 200, () => ofAlice(message("tools/list"))],
    ["a list of 2026-07-28", 200, () => ofAlice(message("tools/list", { _meta: META }), ofNew("tools/list"))],
    [
      "the handshake",
      200,
      () =>
        ofAlice(
          message("initialize", {
            protocolVersion: OLD,
            capabilities: {},
            clientInfo: { name: "test", version: "1" },
          }),
          {},
        ),
    ],
    ["discovery", 200, () => ofAlice(message("server/discover", { _meta: META }), ofNew("server/discover"))],
    ["a ping", 200, () => ofAlice(message("ping"))],
    ["a notification", 202, () => ofAlice('{"jsonrpc":"2.0","method":"notifications/initialized"}')],
    [
      "a cancellation",
      202,
      () => ofAlice('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}'),
    ],
    ["a batch", 200, () => ofAlice(`[${message("tools/list")},${call("ant", { n: 2 })}]`)],
    ["a batch of none", 400, () => ofAlice("[]")],
    ["progress", 200, () => ofAlice(message("tools/call", { name: "counts", _meta: { progressToken: 1 } }))],
    ["JSON alone accepted", 200, () => ofAlice(call("ant", { n: 1 }), { Accept: "application/json" })],
    ["streams alone accepted", 406, () => ofAlice(call("ant", { n: 1 }), { Accept: "text/event-stream" })],
    ["wrong arguments", 200, () => ofAlice(call("ant", { n: "one" }))],
    ["no such tool", 200, () => ofAlice(call("bee"))],
    ["no such method", 200, () => ofAlice(message("tools/nonsense"))],
    [
      "no such method in 2026-07-28",
      404,
      () => ofAlice(message("tools/nonsense", { _meta: META }), ofNew("tools/nonsense")),
    ],
    [
      "headers that say something else",
      400,
      () => ofAlice(callOfNew("ant", { n: 1 }), ofNew("tools/call", "bee")),
    ],
    [
      "an unknown version",
      400,
      () => ofAlice(call("ant", { n: 1 }), { "MCP-Protocol-Version": "1999-01-01" }),
    ],
    ["a tool that fails", 200, () => ofAlice(call("broken"))],
    ["no scope", 403, () => ofBob(call("wasp"))],
    ["no scope, in 2026-07-28", 403, () => ofBob(callOfNew("wasp"), ofNew("tools/call", "wasp"))],
    ["no scope, as it turns out", 403, () => ofBob(call("late"))],
    ["an answer to nothing", 202, () => ofAlice('{"jsonrpc":"2.0","id":1,"result":{}}')],
    ["no token", 401, () => ({ headers: JSON_HEADERS, body: call("ant") })],
    ["a made-up token", 401, () => ({ headers: as("garbage"), body: call("ant") })],
    [
      "a refresh token's prefix",
      401,
      () => ({ headers: as(alice.replace("_at_", "_rt_")), body: call("ant") }),
    ],
    ["no token of any form", 400, () => ({ headers: as("a b"), body: call("ant") })],
    [
      "another scheme",
      401,
      () => ({ headers: { ...JSON_HEADERS, Authorization: "Basic eA==" }, body: call("ant") }),
    ],
    ["another type", 415, () => ofAlice(call("ant"), { "Content-Type": "text/plain" })],
    [
      "another charset",
      415,
      () => ofAlice(call("ant"), { "Content-Type": "application/json; charset=utf-16" }),
    ],
    ["a content coding", 415, () => ofAlice(call("ant"), { "Content-Encoding": "gzip" })],
    ["no JSON", 400, () => ofAlice("{")],
    ["no message", 400, () => ofAlice("{}")],
    ["no UTF-8", 400, () => ({ headers: as(alice, { "Content-Length": "3" }), raw: '"\xff' })],
    ["no body", 415, () => ({ headers: as(alice), raw: "" })],
    ["an empty body", 400, () => ofAlice("")],
    ["too much", 413, () => ({ headers: as(alice, { "Content-Length": "1048577" }), raw: "" })],
    ["nested too deeply", 400, () => ofAlice(`${"[".repeat(101)}${"]".repeat(101)}`)],
    [
      "a body in chunks",
      200,
      () => {
        const body = call("ant", { n: 1 });
        const raw = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
        return { headers: as(alice, { ...ofOld, "Transfer-Encoding": "chunked" }), raw };
      },
    ],
    [
      "a client that asks whether to go on",
      200,
      () => ofAlice(call("ant", { n: 1 }), { Expect: "100-continue" }),
    ],
    [
      "proxies before it",
      200,
      () =>
        ofAlice(call("ant", { n: 1 }), {
          "X-Forwarded-For": "203.0.113.9, 127.0.0.1",
          "X-Forwarded-Proto": "https",
        }),
    ],
    [
      "a cookie and a trace",
      200,
      () =>
        ofAlice(call("ant", { n: 1 }), {
          Cookie: "a=b",
          traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        }),
    ],
    ["a header that asks for HTML", 406, () => ofAlice(call("ant", { n: 1 }), { Accept: "text/html" })],
    ["to a backend: a call", 200, () => toBackend(call("find"))],
    [
      "to a backend: a call of 2026-07-28",
      200,
      () => toBackend(callOfNew("find"), ofNew("tools/call", "find")),
    ],
    ["to a backend: a list", 200, () => toBackend(message("tools/list"))],
    [
      "to a backend: a batch of which one is refused",
      200,
      () => toBackend(`[${call("find")},${call("bee").replace('"id":1', '"id":2')}]`),
    ],
    [
      "to a backend: a notification",
      202,
      () => toBackend('{"jsonrpc":"2.0","method":"notifications/initialized"}'),
    ],
    [
      "to a backend: a cancellation in no session",
      202,
      () => toBackend('{"jsonrpc":"2.0","method":"notifications/cancelled"}'),
    ],
    ["to a backend: an answer to nothing", 400, () => toBackend('{"jsonrpc":"2.0","id":1,"result":{}}')],
    ["to a backend: no scope", 403, () => toBackend(call("edit"))],
    ["to a backend: a tool that nobody named", 200, () => toBackend(call("bee"))],
    ["to a backend: a task", 200, () => toBackend(message("tools/call", { name: "find", task: {} }))],
    [
      "to a backend: no such method in 2026-07-28",
      404,
      () => toBackend(message("tools/nonsense", { _meta: META }), ofNew("tools/nonsense")),
    ],
    ["to a backend: a name twice", 400, () => toBackend('{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}')],
    [
      "to a backend: headers that say something else",
      400,
      () => toBackend(call("find"), ofNew("tools/call", "edit")),
    ],
    ["to a backend: another's session", 404, () => toBackend(call("find"), { "Mcp-Session-Id": "made-up" })],
    [
      "to a backend: a token of another resource",
      401,
      () => ({ ...toBackend(call("find")), headers: as(alice) }),
    ],
    ["to a backend: no JSON", 400, () => toBackend("{")],
    ["to a backend: an empty body", 400, () => toBackend("")],
  ];
  for (const [what, status, request] of ORDINARY)
    test(`${what}: ${status}, whichever way`, async () => {
      const straight = await sendAndNote(request());
      assert.equal(way(), "straight");
      assert.equal(Number(/^HTTP\/1\.1 (?!100)(\d+)/m.exec(straight.answer)?.[1]), status, straight.answer);
      const throughExpress = await sendAndNote({ ...request(), path: `${request().path ?? "/mcp"}?` });
      assert.equal(way(), "express");
      assert.equal(straight.answer, throughExpress.answer);
      assert.deepEqual(straight.log, throughExpress.log);
      for (const header of ["content-security-policy", "strict-transport-security", "x-content-type-options"])
        assert.match(straight.answer.toLowerCase(), new RegExp(`^${header}: `, "m"));
      assert.match(straight.answer, /^X-Request-Id: request$/m);
      assert.match(straight.answer, /^Connection: close$/m, "as the client asked");
      assert.doesNotMatch(straight.answer, /keep-alive/);
    });

  test("a backend that is down, and answers nonsense: whichever way", async () => {
    for (const [status, answer] of [
      [502, (res: ServerResponse) => res.writeHead(200, { "content-type": "text/html" }).end("<p>")],
      [503, (res: ServerResponse) => res.writeHead(503, { "retry-after": "7" }).end()],
      [502, (res: ServerResponse) => res.destroy()],
    ] as const) {
      backend.answer = answer;
      const straight = await sendAndNote(toBackend(call("find")));
      assert.equal(way(), "straight");
      assert.equal(Number(/^HTTP\/1\.1 (\d+)/m.exec(straight.answer)?.[1]), status, straight.answer);
      // The log tells the first of several troubles alone.
      const throughExpress = await sendAndNote({ ...toBackend(call("find")), path: "/crm/mcp?" });
      assert.equal(straight.answer, throughExpress.answer);
    }
    backend.answer = undefined;
  });

  test("an outage: 503, whichever way, told by the same code", async () => {
    const { get } = testServer.records;
    testServer.records.get = async () => {
      throw new UnavailableError("storage", { reason: "store_unreachable" });
    };
    try {
      const unseen = as(`mcp_at_${"A".repeat(65)}`);
      for (const Accept of [JSON_HEADERS.Accept, "text/html"]) {
        const sent = { headers: { ...unseen, Accept }, body: call("ant") };
        const straight = await sendAndNote(sent);
        assert.match(straight.answer, /^HTTP\/1\.1 503 /m);
        assert.deepEqual(straight, await sendAndNote({ ...sent, path: "/mcp?" }));
      }
    } finally {
      testServer.records.get = get;
    }
  });

  test("a host that is none: 400, whichever way", async () => {
    const sent = ofAlice("[]", { Host: "a b" });
    const straight = await sendAndNote(sent);
    assert.match(straight.answer, /^HTTP\/1\.1 400 /m);
    assert.equal(straight.answer, (await sendAndNote({ ...sent, path: "/mcp?" })).answer);
  });

  const ODD: ReadonlyArray<readonly [what: string, request: () => Sent]> = [
    ["a slash at its end", () => ({ ...ofAlice(call("ant", { n: 1 })), path: "/mcp/" })],
    ["capitals", () => ({ ...ofAlice(call("ant", { n: 1 })), path: "/MCP" })],
    ["a query", () => ({ ...ofAlice(call("ant", { n: 1 })), path: "/mcp?a=b" })],
    ["a token in the query", () => ({ ...ofAlice(call("ant", { n: 1 })), path: `/mcp?access_token=${bob}` })],
    ["another path", () => ({ ...ofAlice(call("ant", { n: 1 })), path: "/mcp2" })],
    ["a page that calls", () => ofAlice(call("ant", { n: 1 }), { Origin: "http://localhost:9" })],
    ["a foreign page that calls", () => ofAlice(call("ant", { n: 1 }), { Origin: "https://evil.example" })],
    ["a page that hides where it is from", () => ofAlice(call("ant", { n: 1 }), { Origin: "null" })],
    [
      "a page that is asked for",
      () => ({ method: "GET", headers: { Accept: "text/html", "Sec-Fetch-Mode": "navigate" } }),
    ],
    [
      "a stream that is asked for",
      () => ({ method: "GET", headers: as(alice, { Accept: "text/event-stream" }) }),
    ],
    ["HEAD", () => ({ method: "HEAD" })],
    ["a browser that asks first", () => ({ method: "OPTIONS", headers: { Origin: "http://localhost:9" } })],
    ["the end of a session", () => ({ method: "DELETE", headers: as(alice) })],
  ];
  for (const [what, request] of ODD)
    test(`${what} goes through express`, async () => {
      await send(request());
      assert.equal(way(), "express");
    });

  test("both are counted as requests to the same route", async () => {
    const count = async (route: string) =>
      (await scrape(testServer.baseUrl)).sum("mcp_http_request_seconds_count", {
        route,
        method: "POST",
      });
    const [mcp, other] = [await count("/mcp"), await count("other")];
    await sendAndNote(ofAlice(call("ant", { n: 1 })));
    await sendAndNote({ ...ofAlice(call("ant", { n: 1 })), path: "/mcp?" });
    assert.deepEqual([await count("/mcp"), await count("other")], [mcp + 2, other]);
  });

  test("several requests at once on one connection are answered in order, and their end ends those that wait", async () => {
    const socket = connect(Number(new URL(testServer.baseUrl).port), "127.0.0.1");
    const received = receivedUntilClosed(socket);
    const lines = (more: Record<string, string>) =>
      Object.entries({ Host: "localhost", ...as(alice, ofOld), ...more })
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join("");
    for (const n of [1, 2, 3]) {
      const body = call("ant", { n });
      const more = { "Content-Length": String(body.length), Connection: n === 3 ? "close" : "keep-alive" };
      socket.write(`POST ${n === 2 ? "/mcp?" : "/mcp"} HTTP/1.1\r\n${lines(more)}\r\n${body}`);
    }
    const texts = [...(await received).matchAll(/"text":"(\d)"/g)].map(([, n]) => n);
    assert.deepEqual(texts, ["1", "2", "3"]);
  });
});

test("what every request passes may throw, or refuse: it is told as what fails in express", async (t) => {
  const app = express();
  app.use(takeFailed);
  app.use(
    ((error, _req, res, _next) => void res.status(500).send(error.message)) satisfies ErrorRequestHandler,
  );
  const thrown: Middleware = () => {
    throw new Error("thrown");
  };
  for (const [said, always] of [
    ["thrown", thrown],
    ["refused", (_req, _res, next) => next(new Error("refused"))],
  ] satisfies Array<[string, Middleware]>) {
    const server = createServer(straightWay(always, [], app));
    t.after(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`);
    assert.deepEqual([answer.status, await answer.text()], [500, said]);
  }
});
