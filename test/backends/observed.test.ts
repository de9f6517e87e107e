/** What an operator sees of a backend: metrics, traces, and a log that an outage does not flood; and when to come again. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { pino } from "pino";
import { reasonOf } from "../attacks/support.ts";
import { eventually } from "../support/eventually.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { type Collector, startCollector } from "../telemetry/collector.ts";
import { scrape } from "../telemetry/scrape.ts";
import { type AnsweringBackend, openCrm, startAnsweringBackend } from "./answering-backend.ts";

process.env.OTEL_BSP_SCHEDULE_DELAY = "50";

describe("what an operator sees of a backend", () => {
  let backend: AnsweringBackend;
  let token: string;
  const testServer = useTestServer(async () => {
    backend = await startAnsweringBackend();
    return {
      furtherResources: [openCrm(backend)],
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
    testServer.clock.ahead += 61;
  });

  function call(tool = "find", more: { headers?: Record<string, string>; signal?: AbortSignal } = {}) {
    return fetch(`${testServer.baseUrl}/crm/mcp`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...more.headers,
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: tool } }),
      ...(more.signal && { signal: more.signal }),
    });
  }
  const counted = async (outcome: string) =>
    (await scrape(testServer.baseUrl)).sum("mcp_backend_seconds_count", {
      backend: "/crm/mcp",
      method: "POST",
      outcome,
    });

  test("each request is counted and timed by how it ended, and by nothing that a client makes up", async () => {
    await call("find");
    await call("made-up-by-a-client");
    assert.equal(await counted("ok"), 2);
    backend.answer = (res) => res.writeHead(500).end();
    await call();
    assert.equal(await counted("backend_answer_unusable"), 1);
    backend.answer = (res) => {
      res.writeHead(200, { "content-type": "text/event-stream" }).write(": hello\n\n");
      setImmediate(() => res.destroy());
    };
    await (await call()).text();
    assert.equal(await counted("backend_broke_off"), 1, "also in the middle of an answer");
    backend.answer = (res) =>
      res.writeHead(200, { "content-type": "text/event-stream" }).write(": hello\n\n");
    const hangUp = new AbortController();
    await (await call("find", { signal: hangUp.signal })).body?.getReader().read();
    hangUp.abort();
    await eventually("it is over", async () => (await counted("aborted")) === 1);
    const { text } = await scrape(testServer.baseUrl);
    assert.doesNotMatch(text, /made-up-by-a-client/);
  });

  describe("in a trace", () => {
    let collector: Collector;
    let stop: () => Promise<void>;
    before(async () => {
      collector = await startCollector();
      const { startTracing } = await import("../../src/telemetry/tracing.ts");
      ({ stop } = startTracing(collector.url, pino({ level: "silent" })));
    });
    after(async () => {
      await stop();
      await collector.close();
    });

    test("the request to it is a client's span, which the backend continues, in the trace of the client", async () => {
      const traceId = "0af7651916cd43dd8448eb211c80319c";
      await call("find", { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } });
      const spans = await collector.traceWith("backend /crm/mcp");
      const span = spans.find(({ name }) => name === "backend /crm/mcp");
      assert.equal(span?.traceId, traceId);
      assert.equal(span?.kind, 3, "a client's span");
      assert.equal(spans.find(({ name }) => name === "POST /crm/mcp")?.spanId, span?.parentSpanId);
      assert.deepEqual(span?.attributes, {
        "http.request.method": "POST",
        "mcp_oidc_proxy.backend": "/crm/mcp",
      });
      assert.equal(backend.came[0]?.headers.traceparent, `00-${traceId}-${span?.spanId}-01`);
    });

    test("a failure has its reason", async () => {
      collector.spans.length = 0;
      backend.answer = (res) => res.writeHead(401).end();
      await call();
      const spans = await collector.traceWith("backend /crm/mcp");
      const span = spans.find(({ name }) => name === "backend /crm/mcp");
      assert.deepEqual([span?.status, span?.attributes["error.type"]], [2, "backend_refused"]);
    });
  });

  test("without a trace of ours a client's own traceparent does not arrive", async () => {
    await call("find", {
      headers: { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
    });
    assert.equal(backend.came[0]?.headers.traceparent, undefined);
  });

  describe("in the log", () => {
    const since = (before: number) =>
      testServer.log.slice(before).filter(({ backend }) => backend === "/crm/mcp");

    test("an outage is said once a minute for each reason, and its end once, with how many calls it cost", async () => {
      const before = testServer.log.length;
      backend.answer = (res) => res.destroy();
      const failed = await Promise.all(Array.from({ length: 20 }, () => call()));
      assert.ok(failed.every(({ status }) => status === 502));
      for (const each of failed) assert.equal(await reasonOf(testServer, each), "backend_broke_off");
      backend.answer = (res) => res.writeHead(500).end();
      await call();
      assert.deepEqual(
        since(before).map(({ reason }) => reason),
        ["backend_broke_off", "backend_answer_unusable"],
      );
      testServer.clock.ahead += 61;
      backend.answer = (res) => res.destroy();
      await call();
      assert.deepEqual(since(before).at(-1)?.unsaid, 19);
      backend.answer = undefined;
      await call();
      await call();
      const [, , , again, ...more] = since(before);
      assert.deepEqual([again?.msg, again?.failures, more], ["A backend answers again", 22, []]);
    });

    test("one of many tools that fails does not fill it either", async () => {
      const before = testServer.log.length;
      for (let round = 0; round < 10; round++) {
        backend.answer = (res) => res.writeHead(500).end();
        await call();
        backend.answer = undefined;
        await call();
      }
      assert.equal(since(before).length, 2);
    });
  });

  describe("when to come again", () => {
    for (const [status, said, told] of [
      [503, "7", "7"],
      [503, undefined, "5"],
      [503, "soon", "5"],
      [503, "999999999", "86400"],
      [503, "Thu, 01 Jan 1970 00:00:00 GMT", "0"],
      [429, "7", "7"],
      [429, "soon\t<script>", null],
    ] as const)
      test(`${status} with Retry-After ${said}: ${told}`, async () => {
        const headers = { "content-type": "application/json", ...(said && { "retry-after": said }) };
        const error = { jsonrpc: "2.0", id: 1, error: { code: -1, message: "busy" } };
        backend.answer = (res) => res.writeHead(status, headers).end(JSON.stringify(error));
        const answered = await call();
        assert.deepEqual([answered.status, answered.headers.get("retry-after")], [status, told]);
        if (status === 503) assert.equal(await reasonOf(testServer, answered), "backend_busy");
        assert.equal(backend.came.length, 1);
      });

    test("a date is told in seconds", async () => {
      const inAnHour = new Date(Date.now() + (testServer.clock.ahead + 3_600) * 1_000).toUTCString();
      backend.answer = (res) => res.writeHead(503, { "retry-after": inAnHour }).end();
      const seconds = Number((await call()).headers.get("retry-after"));
      assert.ok(seconds > 3_500 && seconds <= 3_600, String(seconds));
    });
  });
});
