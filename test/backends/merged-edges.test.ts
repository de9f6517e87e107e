/** Several servers as one, and what a client or one of the servers may do to the others: asked directly, in front of real servers. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { json as bodyOf, text as textOf } from "node:stream/consumers";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { type Backend, BackendError } from "../../src/mcp/backends/backend.ts";
import { httpBackend } from "../../src/mcp/backends/http-backend.ts";
import { mergedBackend } from "../../src/mcp/backends/merged-backend.ts";
import { joined } from "../../src/mcp/backends/merged-names.ts";
import { eventually } from "../support/eventually.ts";

interface Came {
  server: string;
  session: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: messages of every kind
  message: any;
}

describe("several servers as one", () => {
  const came: Came[] = [];
  /** How one answers a request; undefined: with an empty result. */
  let answers: Record<string, ((res: ServerResponse, came: Came) => unknown) | undefined> = {};
  const servers: Server[] = [];
  let backend: Backend;
  before(async () => {
    const backends = await Promise.all(
      ["crm", "wiki"].map(async (name) => {
        const server = createServer((req, res) => void serve(name, req, res));
        servers.push(server.listen(0, "127.0.0.1"));
        await once(server, "listening");
        return [name, serverAt(name, (server.address() as AddressInfo).port)] as const;
      }),
    );
    backend = mergedBackend({
      name: "/all/mcp",
      title: "All",
      servers: new Map(backends),
      maxAnswerBytes: 1_048_576,
      log: pino({ level: "silent" }),
      now: () => performance.now() / 1_000,
    });
  });
  after(async () => {
    await backend.close();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });
  beforeEach(() => {
    came.length = 0;
    answers = {};
  });

  const serverAt = (name: string, port: number) =>
    httpBackend({
      kind: "http",
      name,
      url: `http://127.0.0.1:${port}/mcp`,
      headers: {},
      timeoutSeconds: 5,
      identity: async () => ({}),
      traceHeaders: () => ({}),
      now: () => Date.now() / 1_000,
    });
  async function serve(server: string, req: IncomingMessage, res: ServerResponse) {
    const message = req.method === "POST" ? ((await bodyOf(req)) as object) : { method: req.method };
    const each: Came = { server, session: req.headers["mcp-session-id"] as string | undefined, message };
    came.push(each);
    const answer = answers[server];
    if (answer !== undefined) return answer(res, each);
    if (each.message.id === undefined || each.message.method === undefined) return res.writeHead(202).end();
    return said(res, { jsonrpc: "2.0", id: each.message.id, result: {} });
  }
  const said = (res: ServerResponse, message: unknown) =>
    res
      .writeHead(200, { "content-type": "application/json" })
      .end(typeof message === "string" ? message : JSON.stringify(message));
  const send = (
    message: unknown,
    {
      session,
      method = "POST",
    }: { session?: Record<string, string | null>; method?: "POST" | "DELETE" } = {},
  ) =>
    backend.send({
      method,
      headers: {
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...(session && { "mcp-session-id": joined(session) }),
      },
      ...(method === "POST" && {
        body: Buffer.from(typeof message === "string" ? message : JSON.stringify(message)),
      }),
      signal: AbortSignal.timeout(20_000),
    });
  const streamOf = (signal: AbortSignal) =>
    backend.send({
      method: "GET",
      headers: { accept: "text/event-stream", "mcp-session-id": joined({ crm: "one", wiki: "two" }) },
      signal,
    });
  const answerTo = async (...sent: Parameters<typeof send>) =>
    JSON.parse(await textOf((await send(...sent)).body));

  test("lists that are asked for at once, and calls beside them, have different ids at each server", async () => {
    const methods = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"];
    const session = { crm: "one", wiki: "two" };
    await Promise.all(
      methods.map((method, index) => answerTo({ jsonrpc: "2.0", id: `list-${index}`, method }, { session })),
    );
    const ids = came.filter(({ server }) => server === "crm").map(({ message }) => message.id);
    assert.equal(new Set(ids).size, methods.length, JSON.stringify(ids));
  });

  test("a server that hangs holds up no cancellation", async () => {
    answers.crm = () => {};
    const cancelled = {
      jsonrpc: "2.0",
      method: "notifications/cancelled",
      params: { requestId: 1 },
    };
    const { status } = await Promise.race([
      send(cancelled, { session: { crm: "one", wiki: "two" } }),
      sleep(8_000, { status: "it is held up" }, { ref: false }),
    ]);
    assert.equal(status, 202);
    assert.deepEqual(came.map(({ server }) => server).sort(), ["crm", "wiki"]);
  });

  for (const [how, end] of [
    ["breaks off", (res: ServerResponse) => res.destroy()],
    ["ends", (res: ServerResponse) => res.end()],
  ] as const)
    test(`the stream of a server ${how}: the client is told by the end of its own, and the others are let go`, async () => {
      const streams: Record<string, ServerResponse> = {};
      for (const server of ["crm", "wiki"])
        answers[server] = (res) => {
          streams[server] = res;
          res.writeHead(200, { "content-type": "text/event-stream" }).write(": open\n\n");
        };
      const { body } = await streamOf(AbortSignal.timeout(20_000));
      await eventually("both are open", () => streams.crm !== undefined && streams.wiki !== undefined);
      const closed = once(streams.wiki as ServerResponse, "close");
      streams.crm?.write('data: {"jsonrpc":"2.0","method":"notifications/message"}\n\n');
      setTimeout(() => end(streams.crm as ServerResponse), 100);
      assert.match(await textOf(body), /notifications\/message/);
      await closed;
    });

  test("of many servers whose client reads slowly none is taken for a leak", async () => {
    const warnings: Error[] = [];
    const warned = (warning: Error) => void warnings.push(warning);
    process.on("warning", warned);
    const { port } = (servers[0] as Server).address() as AddressInfo;
    const names = Array.from({ length: 12 }, (_, index) => `crm${index}`);
    const many = mergedBackend({
      name: "/many/mcp",
      title: "Many",
      servers: new Map(names.map((name) => [name, serverAt(name, port)])),
      maxAnswerBytes: 1_048_576,
      log: pino({ level: "silent" }),
      now: () => performance.now() / 1_000,
    });
    const event = `data: ${JSON.stringify({ jsonrpc: "2.0", method: "x", params: { text: "x".repeat(40_000) } })}\n\n`;
    answers.crm = (res) => res.writeHead(200, { "content-type": "text/event-stream" }).write(event.repeat(3));
    const gone = new AbortController();
    try {
      const sessions = Object.fromEntries(names.map((name) => [name, "one"]));
      await many.send({
        method: "GET",
        headers: { accept: "text/event-stream", "mcp-session-id": joined(sessions) },
        signal: gone.signal,
      });
      await sleep(300);
      assert.deepEqual(warnings, []);
    } finally {
      process.off("warning", warned);
      gone.abort();
      await many.close();
    }
  });

  test("a server that has no stream ends none", async () => {
    answers.crm = (res) => res.writeHead(405).end();
    answers.wiki = (res) => {
      res.writeHead(200, { "content-type": "text/event-stream" }).write(": open\n\n");
      setTimeout(() => res.end('data: {"jsonrpc":"2.0","method":"notifications/message"}\n\n'), 200);
    };
    assert.match(await textOf((await streamOf(AbortSignal.timeout(20_000))).body), /notifications\/message/);
  });

  test("what answers another request is no part of a list", async () => {
    answers.crm = (res, { message }) =>
      res.writeHead(200, { "content-type": "text/event-stream" }).end(
        [
          { jsonrpc: "2.0", id: "of-another", result: { tools: [{ name: "other" }] } },
          { jsonrpc: "2.0", id: message.id, result: { tools: [{ name: "find" }] } },
        ]
          .map((each) => `data: ${JSON.stringify(each)}\n\n`)
          .join(""),
      );
    const { result } = await answerTo({ jsonrpc: "2.0", id: 7, method: "tools/list" });
    assert.deepEqual(result.tools, [{ name: "crm_find" }]);
  });

  test("a list of which one server has lost its part of the session: 404, and the client begins a new one", async () => {
    const lost = (res: ServerResponse) =>
      res
        .writeHead(404, { "content-type": "application/json" })
        .end('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}');
    answers.wiki = lost;
    const list = { jsonrpc: "2.0", id: 7, method: "tools/list" };
    const answer = await send(list, { session: { crm: "one", wiki: "two" } });
    assert.equal(answer.status, 404);
    const { id, error } = JSON.parse(await textOf(answer.body));
    assert.equal(id, 7);
    assert.match(error.message, /initialize a new one/);
    for (const session of [{ crm: "one", wiki: null }, undefined]) {
      const { status, body } = await send(list, session && { session });
      assert.deepEqual([status, JSON.parse(await textOf(body)).result], [200, { tools: [] }]);
    }
  });

  test("when to come again, and an event that nothing ends, reach the client", async () => {
    answers.crm = (res, { message }) =>
      res
        .writeHead(200, { "content-type": "text/event-stream" })
        .end(
          `id: 1\nretry: 250\ndata: \n\n: x\n\ndata: ${JSON.stringify({ jsonrpc: "2.0", id: message.id, result: {} })}\n`,
        );
    const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "crm_find" } };
    const { body } = await send(call, { session: { crm: "one" } });
    assert.equal(
      await textOf(body),
      'retry: 250\nid: crm:1\ndata: \n\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\n\n',
    );
  });

  describe("of which one has no sessions", () => {
    const session = { crm: null, wiki: "two" };

    test("that one hears of no cancellation: nobody there knows whose call it is", async () => {
      await send(
        { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 1 } },
        { session },
      );
      assert.deepEqual(
        came.map(({ server }) => server),
        ["wiki"],
      );
    });

    test("its questions are answered by nobody: they may be another's", async () => {
      const answer = await send({ jsonrpc: "2.0", id: "crm:5", result: {} }, { session });
      assert.equal(answer.status, 400);
      assert.deepEqual(came, []);
    });

    test("it is told of the end of none", async () => {
      await send(undefined, { session, method: "DELETE" });
      assert.deepEqual(
        came.map(({ server }) => server),
        ["wiki"],
      );
    });

    test("it is called all the same, and told that the client is ready", async () => {
      await send({ jsonrpc: "2.0", method: "notifications/initialized" }, { session });
      await answerTo(
        { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "crm_find" } },
        { session },
      );
      assert.deepEqual(came.map(({ server }) => server).sort(), ["crm", "crm", "wiki"]);
    });
  });

  for (const cursor of [
    { toString: 1, valueOf: 1 },
    null,
    5,
    [],
    "",
    joined({}),
    joined({ __proto__: "x" } as never),
  ])
    test(`the cursor ${JSON.stringify(cursor)} is none of ours, or leads nowhere`, async () => {
      const { error, result } = await answerTo({
        jsonrpc: "2.0",
        id: 1,
        method: "tools/list",
        params: { cursor },
      });
      assert.ok(error?.code === -32_602 || result.tools.length === 0);
      assert.deepEqual(came, []);
    });

  test("servers that break off in the middle of a list are lost, which is an error of theirs", async () => {
    const breaksOff = (res: ServerResponse) => {
      res.writeHead(200, { "content-type": "application/json" }).write('{"jsonrpc":');
      setTimeout(() => res.destroy(), 20);
    };
    answers = { crm: breaksOff, wiki: breaksOff };
    await assert.rejects(
      send({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
      (error) => error instanceof BackendError && error.reason === "backend_broke_off",
    );
  });

  test("subscriptions are passed to none: of what is named there nobody judged the server's own name", async () => {
    const { error } = await answerTo({
      jsonrpc: "2.0",
      id: 1,
      method: "subscriptions/listen",
      params: { uri: "crm+doc:///one", notifications: { resourceSubscriptions: ["wiki+doc:///one"] } },
    });
    assert.equal(error.code, -32_601);
    assert.deepEqual(came, []);
  });

  test("a question is renamed however it is written, and so is its cancellation", async () => {
    answers.crm = (res, { message }) =>
      res
        .writeHead(200, { "content-type": "text/event-stream" })
        .end(
          [
            '  {"jsonrpc":"2.0","id":5,"method":"elicitation/create","params":{}}',
            '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}',
            JSON.stringify({ jsonrpc: "2.0", id: message.id, result: {} }),
          ]
            .map((each) => `data: ${each}\n\n`)
            .join(""),
        );
    const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "crm_find" } };
    const text = await textOf((await send(call, { session: { crm: "one" } })).body);
    const [asked, cancelled, answered] = [...text.matchAll(/^data: (.*)$/gm)].map(([, each = ""]) =>
      JSON.parse(each),
    );
    assert.equal(asked.id, "crm:5");
    assert.equal(cancelled.params.requestId, "crm:5");
    assert.equal(answered.id, 1);
  });

  test("entries that are none are left out", async () => {
    answers.crm = (res, { message }) =>
      said(
        res,
        `{"jsonrpc":"2.0","id":${JSON.stringify(message.id)},"result":{"tools":[null,5,"x",[],{"name":5},{"name":"find"},{"__proto__":{"name":"y"}}]}}`,
      );
    const { result } = await answerTo({ jsonrpc: "2.0", id: 1, method: "tools/list" });
    assert.deepEqual(result.tools, [{ name: "crm_find" }]);
  });

  test("a server whose answer is of no use is hung up on, also if it says nothing more", async () => {
    let closed: Promise<unknown> | undefined;
    answers.crm = (res) => {
      closed = once(res, "close", { signal: AbortSignal.timeout(5_000) });
      res.writeHead(200, { "content-type": "text/event-stream" }).write("data: nonsense\n\n");
    };
    const { body } = await send({
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: "crm_find" },
    });
    body.giveTo({
      // A slow client's turn comes when the server has gone silent.
      take: () => void setTimeout(() => body.destroy(new Error("It is no JSON.")), 20),
      end() {},
      fail() {},
    });
    await eventually("it was asked", () => closed !== undefined);
    await closed;
  });

  test("a stream that is cut inside of a character", async () => {
    answers.crm = async (res, { message }) => {
      res.writeHead(200, { "content-type": "text/event-stream" });
      const bytes = Buffer.from(
        `\ufeffevent: message\r\ndata: ${JSON.stringify({ jsonrpc: "2.0", id: message.id, result: { said: "Grüße 🙂" } })}\r\n\r\n`,
      );
      for (const byte of bytes) {
        res.write(Buffer.of(byte));
        if (byte > 127) await sleep(2);
      }
      res.end();
    };
    const text = await textOf(
      (await send({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "crm_find" } })).body,
    );
    assert.match(text, /Grüße 🙂/);
  });

  test("a list that is ten times as long is as much work as ten lists", async () => {
    const tools = Array.from({ length: 20_000 }, (_, index) => ({ name: `tool${index}`, title: "T" }));
    /** Of this process, in microseconds: what others do meanwhile is not counted. */
    const workOf = async (entries: number, times: number) => {
      const some = tools.slice(0, entries);
      answers.crm = (res, { message }) =>
        said(res, { jsonrpc: "2.0", id: message.id, result: { tools: some } });
      const before = process.cpuUsage();
      for (let time = 0; time < times; time++) {
        const { result } = await answerTo({ jsonrpc: "2.0", id: 1, method: "tools/list" });
        assert.equal(result.tools.length, entries);
      }
      const { user, system } = process.cpuUsage(before);
      return user + system;
    };
    await workOf(2_000, 10); // the code is compiled
    const [ten, one] = [await workOf(2_000, 10), await workOf(20_000, 1)];
    assert.ok(one < 4 * ten, `${one} and ${ten} µs`);
  });
});
