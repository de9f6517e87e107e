/** Requests are led to their routes by a look-up: as express would match them, however many paths there are. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import express, { type Request, type Response, Router } from "express";
import { pino } from "pino";
import { byLongestPath, byPath } from "../../src/http/by-path.ts";
import { buildApp } from "../../src/server/mount.ts";
import { startTestServer } from "../support/test-server.ts";

const PATHS = ["/mcp", "/crm/mcp", "/CRM/Other"];
const CHECKED = ["/check/docs", "/check/docs/inner/mcp", "/check/d"];

describe("by path", () => {
  const server = createServer();
  let url: string;
  before(async () => {
    const routes = (paths: readonly string[], rest = "") =>
      paths.map(
        (path) => [path, Router().all(`${path}${rest}`, (_req, res) => void res.send(path))] as const,
      );
    const app = express()
      .use(byPath([...routes(PATHS), ["/mcp", Router().all("/mcp", (_req, res) => void res.send("twin"))]]))
      .use(byLongestPath(routes(CHECKED, "{/*rest}")))
      .use((_req, res) => void res.status(404).send("none"));
    server.on("request", app).listen(0, "127.0.0.1");
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => void server.close());

  for (const [asked, answered] of [
    ["/mcp", "/mcp"],
    ["/mcp/", "/mcp"],
    ["/MCP?a=/crm/mcp", "/mcp"],
    ["/crm/other", "/CRM/Other"],
    ["/mcp//", "none"],
    ["/mcp/x", "none"],
    ["/crm", "none"],
    ["/", "none"],
    ["/%6dcp", "none"],
    ["/__proto__", "none"],
    ["/check/docs", "/check/docs"],
    ["/check/docs/", "/check/docs"],
    ["/check/docs/x/y", "/check/docs"],
    ["/check/docsx", "none"],
    ["/check/docs/inner", "/check/docs"],
    ["/check/docs/inner/mcp", "/check/docs/inner/mcp"],
    ["/check/docs/inner/mcp/x", "/check/docs/inner/mcp"],
    ["/check/docs/inner/mcpx", "/check/docs"],
    ["/check/docs/inner/mcp2/and/more", "/check/docs"],
    ["/Check/D/x", "/check/d"],
    ["/check", "none"],
    [`/check/d${"/x".repeat(4_000)}`, "/check/d"],
  ] as const)
    test(`${asked.slice(0, 40)} is ${answered}`, async () => {
      assert.equal(await (await fetch(`${url}${asked}`)).text(), answered);
    });

  test("a path of very many segments costs no more than ours are long", (t) => {
    const routers = CHECKED.map((path) => [path, Router()] as const);
    const lookedAt = t.mock.method(String.prototype, "slice");
    let passed = 0;
    const request = { path: "/".repeat(15_000) } as Request;
    byLongestPath(routers)(request, {} as Response, () => passed++);
    const count = lookedAt.mock.callCount();
    lookedAt.mock.restore();
    assert.equal(passed, 1, "it is none of ours");
    assert.ok(count <= Math.max(...CHECKED.map(({ length }) => length)) + 1, `${count} are looked at`);
  });
});

test("a request passes no more routes where there are more resources (invariant 12)", async () => {
  const testServer = await startTestServer();
  const routesWith = (count: number) => {
    const { config, records } = testServer;
    const furtherResources = Array.from({ length: count }, (_, n) => ({
      path: `/r${n}/mcp`,
      name: `Resource ${n}`,
      features: { tools: [], scopes: {} },
      forwardAuth: {
        keys: ["a-key-of-the-reverse-proxy-0123456789"],
        audience: `https://r${n}.example`,
        scopes: [],
      },
    }));
    const log = pino({ level: "silent" });
    return routesIn(buildApp({ config, records, log, tools: [], scopes: {}, furtherResources }).router);
  };
  try {
    const few = routesWith(1);
    assert.ok(few > 20, "they are counted");
    assert.equal(routesWith(40), few);
  } finally {
    await testServer.close();
  }
});

/** Everything that express compares a path with; what is listed without being compared has no matchers. */
function routesIn({ stack }: { stack: unknown[] }): number {
  const layers = stack as Array<{ handle: { stack?: unknown[] }; matchers?: unknown[] }>;
  return layers.reduce((sum, { handle, matchers }) => {
    if (matchers === undefined) return sum;
    return sum + matchers.length + (handle.stack === undefined ? 0 : routesIn({ stack: handle.stack }));
  }, 0);
}
