/** A program over stdio, asked directly: what it may do to us, and when its clients come and go at bad times. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { commandServerOf } from "../../src/config/command-server.ts";
import { type Backend, BackendError } from "../../src/mcp/backends/backend.ts";
import { MessageScan } from "../../src/mcp/backends/json-scan.ts";
import { stdioBackend } from "../../src/mcp/backends/stdio-backend.ts";
import type { Caller } from "../../src/resource/caller.ts";
import { eventually } from "../support/eventually.ts";

/** A program that answers as the text says: `say(message)`, for each `asked` that is no part of the handshake. */
const program = (does: string, before = "") => [
  process.execPath,
  "-e",
  `${before}
  const say = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\\n");
  require("node:readline").createInterface(process.stdin).on("line", (line) => {
    const asked = JSON.parse(line);
    if (asked.method === "initialize") say({ id: asked.id, result: { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: {} } });
    else if (asked.id !== undefined) { ${does} }
  });`,
];
const ECHO = "say({ id: asked.id, result: { said: asked.params.name } });";

describe("a program over stdio", () => {
  const backends: Backend[] = [];
  const folder = mkdtempSync(join(tmpdir(), "stdio-edges-"));
  after(async () => {
    await Promise.all(backends.map((each) => each.close()));
    rmSync(folder, { recursive: true });
  });
  const started = (command: string[], more: Record<string, unknown> = {}) => {
    const { reach } = commandServerOf({
      command,
      maxAnswerBytes: 65_536,
      timeoutSeconds: 20,
      needs: {},
      ...more,
    });
    const backend = stdioBackend({
      name: "program",
      reach,
      searchPath: process.env.PATH ?? "",
      log: pino({ level: "silent" }),
      now: () => performance.now() / 1_000,
    });
    backends.push(backend);
    return backend;
  };
  const callerOf = (subject: string) =>
    ({ principal: { kind: "user", issuer: "https://idp.example.com", subject } }) as unknown as Caller;
  const send = (
    backend: Backend,
    message: unknown,
    { session = "s", who = "alice", signal = AbortSignal.timeout(30_000) } = {},
  ) =>
    backend.send({
      method: "POST",
      headers: { accept: "application/json, text/event-stream", "mcp-session-id": session },
      body: Buffer.from(JSON.stringify(message)),
      caller: callerOf(who),
      signal,
    });
  const call = (name: string, id: unknown = 1) => ({
    jsonrpc: "2.0",
    id,
    method: "tools/call",
    params: { name },
  });

  test("leaves nothing at the signal of a request that was answered: one made of several would never be let go", async () => {
    const backend = started(program(ECHO));
    const { signal } = new AbortController();
    const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "x" } };
    assert.match(await textOf((await send(backend, call, { signal })).body), /"said":"x"/);
    await eventually("it is let go", () => getEventListeners(signal, "abort").length === 0);
  });

  test("ends before its answer is read: whoever reads it is told, and nobody else", async () => {
    const backend = started(program("process.exit(1);"));
    const { body } = await send(backend, call("die"));
    await sleep(500);
    await assert.rejects(textOf(body), BackendError);
  });

  test("writes one line without end, of many small things: they are not kept", async () => {
    const backend = started(
      program(
        "setImmediate(function more() { process.stdout.write('{},'.repeat(20_000), () => { if (sent++ < 400) more(); else process.stdout.write('\\n', () => say({ id: asked.id, result: {} })); }); });",
        "let sent = 0;",
      ),
    );
    const before = process.memoryUsage().heapUsed;
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage().heapUsed - before);
    }, 20);
    await textOf((await send(backend, call("flood"))).body);
    clearInterval(watch);
    assert.ok(most < 150_000_000, `${most} bytes`);
  });

  test("names a version that is none: it gets the one there is", async () => {
    const backend = started(program(ECHO));
    const params = { protocolVersion: { toString: 1, valueOf: 1 }, capabilities: {}, clientInfo: {} };
    const { body } = await send(backend, { jsonrpc: "2.0", id: 1, method: "initialize", params });
    assert.equal(JSON.parse(await textOf(body)).result.protocolVersion, "2025-11-25");
  });

  test("has more arguments than a program can be given: it cannot be reached, and the log says why", async () => {
    const backend = started([...program(ECHO), "x".repeat(300_000)]);
    await assert.rejects(
      send(backend, call("find")),
      (error) => error instanceof BackendError && error.reason === "backend_unreachable",
    );
  });

  test("one that made room for another is not left behind when this server ends meanwhile", async () => {
    const journal = join(folder, "pids");
    const firstIsStubborn = `const fs = require("node:fs"), file = ${JSON.stringify(journal)};
      if (!fs.existsSync(file)) { process.on("SIGTERM", () => {}); setInterval(() => {}, 1_000); }
      fs.appendFileSync(file, process.pid + "\\n");`;
    const backend = started(program(ECHO, firstIsStubborn), { processPer: "principal", maxProcesses: 1 });
    for (const who of ["alice", "bob"]) await textOf((await send(backend, call("find"), { who })).body);
    await backend.close();
    const pids = readFileSync(journal, "utf8").trim().split("\n").map(Number);
    assert.equal(pids.length, 2);
    for (const pid of pids) assert.throws(() => process.kill(pid, 0), /ESRCH/, `${pid} runs`);
  });

  test("is not started any more once it was closed", async () => {
    const backend = started(program(ECHO), { processPer: "principal" });
    await backend.close();
    await assert.rejects(
      send(backend, call("find")),
      (error) => error instanceof BackendError && error.reason === "backend_unreachable",
    );
  });

  test("all at once, where one process is all there may be: whoever has it is not cut off", async () => {
    const backend = started(program(ECHO), { processPer: "principal", maxProcesses: 1 });
    await textOf((await send(backend, call("find"))).body);
    const answers = await Promise.allSettled(
      ["alice", "bob"].map(async (who) => textOf((await send(backend, call(who), { who })).body)),
    );
    assert.match(String((answers[0] as { value?: string }).value), /"said":"alice"/);
    assert.equal((answers[1] as { reason?: BackendError }).reason?.reason, "backend_processes_used");
  });

  test("answers oddly: nobody gets it, and the answer that follows is theirs", async () => {
    const odd = [
      '{"jsonrpc":"2.0","id":true,"result":{}}',
      '{"jsonrpc":"2.0","id":{"__proto__":1},"result":{}}',
      '{"jsonrpc":"2.0","id":[ID],"result":{}}',
      '{"jsonrpc":"2.0","id":"ID","result":{}}',
      '{"jsonrpc":"2.0","id":ID,"result":{},"error":{}}',
      '{"jsonrpc":"2.0","id":ID,"id":null,"result":{}}',
      '{"jsonrpc":"2.0","__proto__":{"id":ID,"result":{}}}',
      '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":ID}}',
      '{"jsonrpc":"2.0","method":"notifications/progress","params":null}',
      '{"jsonrpc":"2.0","method":5,"id":ID}',
      `${"[".repeat(20_000)}${"]".repeat(20_000)}`,
      `{"jsonrpc":"2.0","id":9,"method":${"[".repeat(20_000)}${"]".repeat(20_000)}}`,
    ];
    const backend = started(
      program(
        `for (const each of ${JSON.stringify(odd)}) process.stdout.write(each.replaceAll("ID", asked.id) + "\\r\\n");
         process.stdout.write('{"jsonrpc":"2.0",\\r"id":' + asked.id + ',"result":{"said":"\\\\ud800"},"__proto__":{}}\\n');`,
      ),
    );
    const text = await textOf((await send(backend, call("find", "mine"))).body);
    assert.equal(
      text,
      'event: message\ndata: {"jsonrpc":"2.0", "id":"mine","result":{"said":"\\ud800"},"__proto__":{}}\n\n',
    );
  });

  test("is one of many: one listener ends all of them with this server", async () => {
    const before = process.listenerCount("exit");
    const many = Array.from({ length: 12 }, () => program(ECHO)).map((each) => started(each));
    assert.ok(process.listenerCount("exit") <= before + 1);
    await Promise.all(many.map((each) => each.close()));
  });

  test("does not read what it is sent: calls end, and what waits for it has a bound", async () => {
    const backend = started(
      program("process.stdin.pause(); require('node:child_process').execSync('sleep 3');"),
    );
    const big = { ...call("find"), params: { name: "x".repeat(1_000_000) } };
    const ends = await Promise.allSettled(
      Array.from({ length: 14 }, (_, id) => send(backend, { ...big, id })),
    );
    const refused = ends.filter(({ status }) => status === "rejected");
    assert.ok(refused.length >= 3, `${refused.length}`);
    for (const each of ends) if (each.status === "fulfilled") each.value.body.destroy();
    await eventually("it is told so", () =>
      refused.every((each) => (each as PromiseRejectedResult).reason.reason === "backend_too_slow"),
    );
  });
});

test("of a text with more messages than anybody asked for the first are told, and the others not kept", () => {
  const scan = new MessageScan();
  scan.push(Buffer.from(`[${'{"id":1,"result":{}},'.repeat(100_000)}{"id":2,"result":{}}]`));
  assert.ok(scan.isComplete);
  assert.equal(scan.messages.length, 1_000);
});
