/** A backend's health in /readyz and for the doctor: only where it is configured, and cheap for the backend. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import { look, NOTHING_WORKS } from "../doctor/support.ts";
import { useTestServer } from "../support/test-server.ts";
import { type AnsweringBackend, startAnsweringBackend } from "./answering-backend.ts";

const NEEDS = { tools: { find: [] } };

describe("a backend's health in /readyz", () => {
  let asked: AnsweringBackend;
  let unasked: AnsweringBackend;
  const resource = (path: string, entry: object) => ({
    path,
    name: path,
    features: { tools: [], scopes: {} },
    backend: remoteServerOf({ needs: NEEDS, ...entry }),
  });
  const testServer = useTestServer(async () => {
    [asked, unasked] = await Promise.all([startAnsweringBackend(), startAnsweringBackend()]);
    return {
      furtherResources: [
        resource("/crm/mcp", {
          server: asked.url,
          health: asked.url.replace("/mcp", "/healthz"),
          headers: { "x-api-key": "key" },
        }),
        resource("/other/mcp", { server: unasked.url }),
      ],
    };
  });
  after(() => Promise.all([asked.close(), unasked.close()]));
  beforeEach(() => {
    testServer.clock.ahead += 6;
    asked.came.length = 0;
    asked.answer = (res) => res.writeHead(200).end("up");
  });
  const ready = async () => {
    const answered = await fetch(`${testServer.baseUrl}/readyz`);
    // biome-ignore lint/suspicious/noExplicitAny: of every shape
    return { status: answered.status, body: (await answered.json()) as any };
  };

  test("is part of the answer, with the key that calls have, and without anybody's identity", async () => {
    const { status, body } = await ready();
    assert.deepEqual([status, body], [200, { status: "ok", store: "ok", backends: { "/crm/mcp": "ok" } }]);
    const [{ method, headers } = assert.fail("it was asked")] = asked.came;
    assert.deepEqual([method, headers["x-api-key"]], ["GET", "key"]);
    assert.equal(headers["x-mcp-identity-assertion"], undefined);
    assert.equal(unasked.came.length, 0, "nobody wants to know");
  });

  test("is asked once in five seconds, however many ask", async () => {
    const startedAt = performance.now();
    const answers = await Promise.all(Array.from({ length: 100 }, ready));
    assert.ok(answers.every(({ status }) => status === 200));
    await ready();
    const times = asked.came.length;
    // On a busy machine they take longer than that.
    const most = 1 + Math.floor((performance.now() - startedAt) / 5_000);
    assert.ok(times >= 1 && times <= most, `${times} times, and not ${most}`);
    testServer.clock.ahead += 6;
    await ready();
    assert.equal(asked.came.length, times + 1);
  });

  test("says no while it is down, and what for; said once in the log, as is its return", async () => {
    const before = testServer.log.length;
    asked.answer = (res) => res.writeHead(503).end();
    for (let round = 0; round < 3; round++) {
      const { status, body } = await ready();
      assert.equal(status, 503);
      assert.deepEqual(body, {
        status: "unavailable",
        store: "ok",
        backends: { "/crm/mcp": "unreachable" },
        reason: "backend_not_ready",
      });
      testServer.clock.ahead += 6;
    }
    asked.answer = (res) => res.writeHead(404).end();
    assert.equal((await ready()).status, 200, "who answers is there");
    const said = testServer.log.slice(before).flatMap(({ backend, msg }) => (backend ? [msg] : []));
    assert.deepEqual(said, ["A backend is not ready", "A backend is ready again"]);
  });

  test("one that does not answer is waited for two seconds, once", async (t) => {
    const limits = t.mock.method(AbortSignal, "timeout");
    asked.answer = () => {};
    const answers = await Promise.all([ready(), ready(), ready()]);
    assert.ok(answers.every(({ status }) => status === 503));
    assert.deepEqual(
      limits.mock.calls.map(({ arguments: [milliseconds] }) => milliseconds),
      [2_000],
    );
    assert.equal(asked.came.length, 1);
  });
});

describe("the doctor on backends", () => {
  const folder = mkdtempSync(join(tmpdir(), "doctor-backends-"));
  let backend: AnsweringBackend;
  before(async () => {
    backend = await startAnsweringBackend();
  });
  after(async () => {
    await backend.close();
    rmSync(folder, { recursive: true });
  });
  const examined = (more: object) => {
    const CONFIG_FILE = join(folder, "server.yaml");
    const entry = { name: "CRM", server: backend.url, needs: NEEDS, ...more };
    writeFileSync(CONFIG_FILE, JSON.stringify({ resources: { "/crm/mcp": entry } }), { mode: 0o600 });
    return look({ ...NOTHING_WORKS, STORE: "memory", REDIS_URL: undefined, CONFIG_FILE });
  };

  test("one that answers, also by refusing whoever is nobody", async () => {
    for (const status of [200, 401, 405]) {
      backend.answer = (res) => res.writeHead(status).end();
      const { line } = await examined({});
      assert.equal(line("backends.answers"), `✓ The backend of /crm/mcp answers at ${backend.url}`);
    }
  });

  test("one that does not: a failure where /readyz says no for it", async () => {
    backend.answer = (res) => res.writeHead(500).end();
    assert.match(
      (await examined({})).line("backends.answers"),
      /^! The backend of \/crm\/mcp does not answer at .*500/,
    );
    const { line } = await examined({ health: backend.url });
    assert.match(line("backends.answers"), /^✗ .* so \/readyz says no: It answered 500/);
  });

  test("nothing at the path", async () => {
    backend.answer = (res) => res.writeHead(404).end();
    const { line } = await examined({ health: `${backend.url}/healthz` });
    assert.match(line("backends.answers"), /^! .* answers 404 at .* → Correct that URL/);
  });
});
