/** Traces, as a collector receives them; and that nobody waits for one that is away. */
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, afterEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { pino } from "pino";
import { loadConfig } from "../../src/config/config.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { getUpstreamAccessToken } from "../../src/resource/access-token-context.ts";
import { requestFields } from "../../src/runtime/current-request.ts";
import { serve } from "../../src/server/serve.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { callTool, register, signInForTokens } from "../support/oauth-client.ts";
import { SECRET_KEY, startTestServer, useTestServer } from "../support/test-server.ts";
import { type Collector, startCollector } from "./collector.ts";

// The SDK reads these itself. Batches leave soon, so that tests need not wait.
process.env.OTEL_BSP_SCHEDULE_DELAY = "50";
process.env.OTEL_SERVICE_NAME = "named-by-the-environment";
process.env.OTEL_EXPORTER_OTLP_HEADERS = "x-collector-key=key-of-the-environment";

const loadedSdk = () =>
  Object.keys(createRequire(import.meta.url).cache).filter((path) =>
    /opentelemetry\/(sdk|exporter)/.test(path),
  );

describe("traces", () => {
  let collector: Collector;
  let stop: () => Promise<void>;

  test("without a collector, not even the SDK is loaded", async () => {
    const server = await serve(
      configOf(await freePort()),
      { tools: [], scopes: {} },
      { log: pino({ level: "silent" }), stopOnSignals: false },
    );
    await server.stop();
    assert.deepEqual(loadedSdk(), []);
  });

  const testServer = useTestServer(async () => {
    collector = await startCollector();
    return {
      tools: [
        defineTool({
          name: "upstream_call",
          description: "Uses the provider's token",
          run: async () => `${(await getUpstreamAccessToken()).length} characters`,
        }),
      ],
    };
  });
  after(() => collector.close());
  afterEach(async () => {
    await stop?.();
    collector.fault = undefined;
    collector.spans.length = 0;
  });

  async function startTracing(url = collector.url) {
    const lines: Array<Record<string, unknown>> = [];
    const log = pino({ level: "debug" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const tracing = (await import("../../src/telemetry/tracing.ts")).startTracing(url, log);
    stop = () => tracing.stop();
    return { lines, stop };
  }

  test("a call is one trace: the request, what the tool did, what was asked of the store", async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    await startTracing();
    const { headers } = await callTool(testServer.url, access_token, "upstream_call", { secret: "argument" });
    const spans = await collector.traceWith("POST /mcp");

    const server = spans.find(({ name }) => name === "POST /mcp");
    assert.equal(server?.kind, 2, "a server's span");
    assert.equal(server.parentSpanId, undefined);
    assert.deepEqual(server.attributes, {
      "http.request.method": "POST",
      "http.route": "/mcp",
      "http.response.status_code": 200,
      "http.response.header.x-request-id": { values: [{ stringValue: headers.get("x-request-id") }] },
      "url.scheme": "http",
    });
    const tool = spans.find(({ name }) => name === "tools/call upstream_call");
    assert.equal(tool?.parentSpanId, server.spanId);
    assert.deepEqual(tool.attributes, {
      "mcp.method.name": "tools/call",
      "gen_ai.tool.name": "upstream_call",
    });
    const inside = spans.filter(({ parentSpanId }) => parentSpanId === tool.spanId);
    assert.ok(
      inside.some(({ name, kind }) => name === "store get" && kind === 3),
      "the grant's tokens are looked up within the tool",
    );
    assert.equal(collector.resource["service.name"], "named-by-the-environment");
    assert.equal(collector.requests.at(-1)?.path, "/v1/traces");
    assert.equal(collector.requests.at(-1)?.headers["x-collector-key"], "key-of-the-environment");
    assert.ok(!collector.requests.some(({ body }) => body.includes("argument")));
  });

  test("a trace that a caller began goes on, and the log names it", async () => {
    await startTracing();
    const [traceId, parent] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];
    await fetch(`${testServer.baseUrl}/register/nobody?secret=query`, {
      headers: { traceparent: `00-${traceId}-${parent}-01`, authorization: "Bearer secret" },
    });
    const spans = await collector.traceWith("GET /register/:clientId");
    const server = spans.find(({ name }) => name === "GET /register/:clientId");
    assert.equal(server?.traceId, traceId);
    assert.equal(server.parentSpanId, parent);
    assert.equal(server.attributes["http.response.status_code"], 401);
    assert.match(String(server.attributes["error.type"]), /^[a-z_]+$/);
    assert.equal(
      testServer.log.filter(({ trace_id }) => trace_id === traceId).at(-1)?.path,
      "/register/nobody",
    );
    assert.doesNotMatch(JSON.stringify(spans), /secret|nobody/);
  });

  test("a sign-in shows how long the provider took, and an outage is an error without its words", async () => {
    await startTracing();
    await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    const spans = await collector.traceWith("GET /auth/callback");
    assert.ok(spans.some(({ name, kind }) => name === "upstream finish_login" && kind === 3));
    assert.ok(!spans.some(({ status }) => status === 2));

    collector.spans.length = 0;
    const alone = await startTestServer({ issuer: "http://localhost:9" });
    try {
      await signInForTokens(alone.baseUrl, await register(alone.baseUrl)).catch(() => {});
      const failed = await collector.traceWith("GET /authorize");
      const upstream = failed.find(({ name }) => name === "upstream discovery");
      assert.equal(upstream?.status, 2);
      assert.match(String(upstream.attributes["error.type"]), /^[a-z_]+$/);
      assert.equal(failed.find(({ name }) => name === "GET /authorize")?.status, 2);
      assert.doesNotMatch(JSON.stringify(failed), /localhost:9|ECONNREFUSED/);
    } finally {
      await alone.close();
    }
  });

  test("probes are no traces, and what no route knows has no path", async () => {
    await startTracing();
    for (const path of ["/healthz", "/readyz", "/metrics", "/secret/path"])
      await fetch(testServer.baseUrl + path);
    await collector.traceWith("GET other");
    assert.deepEqual(
      collector.spans.map(({ name }) => name),
      ["GET other"],
    );
    assert.doesNotMatch(JSON.stringify(collector.requests), /secret/);
  });

  test("lines that are written during a request name it and its trace", async () => {
    await startTracing();
    const { trace } = await import("@opentelemetry/api");
    assert.deepEqual(requestFields(), {});
    trace.getTracer("test").startActiveSpan("one", (span) => {
      assert.deepEqual(requestFields(), { trace_id: span.spanContext().traceId });
      span.end();
    });
  });

  for (const fault of ["refuses", "silent", "unreachable"] as const)
    test(`a collector that is ${fault} fails no request, and is in the log once`, async () => {
      const unreachable = `http://127.0.0.1:${await freePort()}`;
      process.env.OTEL_EXPORTER_OTLP_TIMEOUT = "300";
      const { lines, stop } = await startTracing(fault === "unreachable" ? unreachable : collector.url);
      delete process.env.OTEL_EXPORTER_OTLP_TIMEOUT;
      if (fault !== "unreachable") collector.fault = fault;
      for (let i = 0; i < 20; i++) assert.equal((await fetch(`${testServer.baseUrl}/`)).status, 200);
      await eventually("a line of the log", () => lines.length > 0);
      for (let i = 0; i < 3; i++) {
        await fetch(`${testServer.baseUrl}/`);
        await delay(400);
      }
      assert.deepEqual(
        lines.map(({ reason }) => reason),
        ["traces_not_sent"],
      );
      await stop();
    });

  test("neither requests nor the end wait for a collector that never answers", {
    timeout: 60_000,
  }, async () => {
    collector.fault = "silent";
    process.env.OTEL_EXPORTER_OTLP_TIMEOUT = "600000";
    const { stop } = await startTracing();
    delete process.env.OTEL_EXPORTER_OTLP_TIMEOUT;
    for (let i = 0; i < 20; i++) assert.equal((await fetch(`${testServer.baseUrl}/`)).status, 200);
    await stop();
  });

  test("a collector that comes back is told what it missed since", async () => {
    collector.fault = "refuses";
    const { lines } = await startTracing();
    await fetch(`${testServer.baseUrl}/`);
    await eventually("a line of the log", () => lines.length > 0);
    collector.fault = undefined;
    await fetch(`${testServer.baseUrl}/`);
    await collector.traceWith("GET /");
    await eventually("another line of the log", () => lines.length > 1);
    assert.match(String(lines.at(-1)?.msg), /reachable again/);
  });

  test("OTEL_EXPORTER_OTLP_ENDPOINT is all that it takes, and what is left is sent at the end", async () => {
    process.env.OTEL_BSP_SCHEDULE_DELAY = "60000";
    const port = await freePort();
    const config = configOf(port, { OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/` });
    const server = await serve(
      config,
      { tools: [], scopes: {} },
      { log: pino({ level: "silent" }), stopOnSignals: false },
    );
    process.env.OTEL_BSP_SCHEDULE_DELAY = "50";
    await fetch(`http://localhost:${port}/`);
    await delay(100);
    assert.equal(collector.spans.length, 0);
    await server.stop();
    assert.deepEqual(
      collector.spans.map(({ name }) => name),
      ["GET /"],
    );
  });
});

function configOf(port: number, environment: Record<string, string> = {}) {
  return loadConfig({
    BASE_URL: `http://localhost:${port}`,
    HOST: "127.0.0.1",
    PORT: String(port),
    OIDC_ISSUER: "http://localhost:9",
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
    SECRET_KEY,
    STORE: "memory",
    ...environment,
  });
}
