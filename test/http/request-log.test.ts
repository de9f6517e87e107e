/** The line that each request has in the log. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import express from "express";
import { pino } from "pino";
import { type RequestFacts, requestFacts } from "../../src/http/request-facts.ts";
import { requestLog } from "../../src/http/request-log.ts";
import { eventually } from "../support/eventually.ts";

/** Everything that may be known of a request. */
const FACTS: Required<Omit<RequestFacts, "requestId" | "cause">> = {
  trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
  reason: "unknown_client",
  subject: "alice",
  principalKind: "user",
  issuer: "https://idp.example",
  clientId: "the client",
  grantId: "the grant",
  grantType: "refresh_token",
  purpose: "connections",
  protectedResource: "https://mcp.example/crm/mcp",
  mcpMethod: "tools/call",
  tool: "whoami",
  resource: "a resource",
  prompt: "a prompt",
};

test("what is noted of a request is in its line, and what is not named there is not", async (t) => {
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(line) });
  const app = express().use(requestLog(log));
  app.get("/callback", (_req, res) => {
    Object.assign(requestFacts(res), FACTS, { cause: new Error("an outage") });
    Object.assign(res.locals, { token: "mcp_at_secret", settings: "mcp_at_secret" });
    res.status(400).send();
  });
  const server = createServer(app);
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close());

  const { port } = server.address() as AddressInfo;
  const answer = await fetch(`http://127.0.0.1:${port}/callback?code=mcp_ac_secret`);
  await eventually("the line", () => lines.length === 1);
  const { level: _level, time: _time, durationMs, ...line } = JSON.parse(lines[0] ?? "");
  assert.equal(typeof durationMs, "number");
  assert.deepEqual(line, {
    requestId: answer.headers.get("x-request-id"),
    method: "GET",
    path: "/callback",
    status: 400,
    ...FACTS,
    cause: "an outage",
    msg: "request",
  });
});
