/** The audit log: one line for each decision, in the log and in a file, without arguments, tokens or codes. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { pino } from "pino";
import { createAudit, openAuditStream } from "../../src/audit/audit.ts";
import { builtProgram } from "../support/built-program.ts";
import {
  authorize,
  callTool,
  newBrowser,
  redeem,
  refresh,
  register,
  revoke,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

type Line = Record<string, unknown>;

/** The number of refusals by bearer authentication and the token endpoint. */
function sumOf(metrics: readonly string[], name: string): number {
  return metrics
    .filter((line) => line.startsWith(name) && /event="(access|token)_refused"/.test(line))
    .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

describe("the audit log", () => {
  const lines: Line[] = [];
  const testServer = useTestServer({ auditStream: { write: (line) => lines.push(JSON.parse(line)) } });

  /** What was written while `work` ran, in its own place; the log has the same. */
  async function during(work: () => Promise<unknown>): Promise<Line[]> {
    const [from, fromLog] = [lines.length, testServer.log.length];
    await work();
    const written = lines.slice(from);
    const logged = testServer.log.slice(fromLog).filter(({ audit }) => audit !== undefined);
    assert.deepEqual(
      logged.map(({ audit, decision, reason }) => [audit, decision, reason]),
      written.map(({ event, decision, reason }) => [event, decision, reason]),
    );
    return written;
  }

  const names = (written: Line[]) =>
    written.map(({ event, decision, reason }) => [event, decision, ...(reason ? [reason] : [])].join(" "));

  test("a whole session, decision by decision", async () => {
    const written = await during(async () => {
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client);
      await callTool(testServer.url, tokens.access_token, "current_weather", { city: "Berlin" });
      await callTool(testServer.url, tokens.access_token, "current_weather", { town: "Secret City" });
      await rpc(testServer.url, tokens.access_token, "tools/list");
      const { body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      await refresh(testServer.baseUrl, client, tokens.refresh_token);
      await revoke(testServer.baseUrl, client, body.refresh_token);
      await callTool(testServer.url, body.access_token, "whoami");
      await refresh(testServer.baseUrl, client, body.refresh_token);
    });
    assert.deepEqual(names(written), [
      "client_registered allow",
      "consent allow",
      "sign_in allow",
      "token_issued allow",
      "tool_call allow",
      "tool_call allow",
      "token_refreshed allow",
      "token_refreshed allow refresh_repeated",
      "grant_ended revoke revoked_by_client",
    ]);
    // The user is not known before they signed in.
    for (const { event, principalKind, issuer } of written.slice(2)) {
      assert.equal(principalKind, "user", String(event));
      assert.match(String(issuer), /^http:\/\/localhost:/, String(event));
    }
    const call = written[4];
    assert.equal(call?.subject, "alice");
    assert.equal(call?.tool, "current_weather");
    assert.equal(call?.outcome, "ok");
    assert.deepEqual(call?.scopes, ["weather:read"]);
    assert.match(String(call?.requestId), /^[0-9a-f-]{36}$/);
    assert.equal(typeof call?.durationMs, "number");
    assert.ok(!Number.isNaN(Date.parse(String(call?.time))));
    assert.equal(written[5]?.outcome, "error");
    assert.equal(written[8]?.subject, "alice");
    const text = JSON.stringify(written);
    assert.doesNotMatch(text, /Berlin|Secret City|mcp_at_|mcp_rt_|mcp_ac_/);
  });

  test("refusals: no consent, no scope, a replayed code, a sign-in that the provider refused", async () => {
    const client = await register(testServer.baseUrl);
    const denied = await during(() => authorize(testServer.baseUrl, client, { approve: false }));
    assert.deepEqual(names(denied), ["consent deny user_denied"]);

    const bob = await signInForTokens(testServer.baseUrl, client, { login: "bob" });
    const lacking = await during(() =>
      callTool(testServer.url, bob.access_token, "current_weather", { city: "B" }),
    );
    assert.deepEqual(names(lacking), ["tool_call deny insufficient_scope"]);
    assert.deepEqual(lacking[0]?.scopes, []);
    assert.deepEqual(lacking[0]?.missing, ["weather:read"]);
    assert.equal(lacking[0]?.subject, "bob");

    const code = (await authorize(testServer.baseUrl, client, { browser: newBrowser() })).get("code");
    const replayed = await during(async () => {
      await redeem(testServer.baseUrl, client, code);
      await redeem(testServer.baseUrl, client, code);
    });
    assert.deepEqual(names(replayed), [
      "token_issued allow",
      "grant_ended revoke code_replayed",
      "token_refused deny code_replayed",
    ]);
    const strangers = await during(() =>
      redeem(testServer.baseUrl, { client_id: "x", redirect_uris: [] }, code),
    );
    assert.deepEqual(names(strangers), []);
  });

  test("where a refusal is about somebody's grant, it says whose", async () => {
    const client = await register(testServer.baseUrl);
    const other = await register(testServer.baseUrl);
    const { refresh_token } = await signInForTokens(testServer.baseUrl, client);
    const written = await during(() => refresh(testServer.baseUrl, other, refresh_token));
    assert.deepEqual(names(written), ["token_refused deny refresh_token_of_another_client"]);
    assert.deepEqual([written[0]?.subject, written[0]?.clientId], ["alice", other.client_id]);
    assert.equal(typeof written[0]?.grantId, "string");
  });

  test("what strangers make up is written nowhere in it, and counted all the same", async () => {
    const made = (kind: string, length: number) => `mcp_${kind}_${"A".repeat(length)}`;
    const client = await register(testServer.baseUrl);
    const refused = async () =>
      sumOf((await (await fetch(`${testServer.baseUrl}/metrics`)).text()).split("\n"), "mcp_decisions_total");
    const before = await refused();
    const written = await during(async () => {
      for (const token of ["x", made("at", 65), "ey.ey.ey"]) await rpc(testServer.url, token, "tools/list");
      for (const token of ["x", made("rt", 87)]) await refresh(testServer.baseUrl, client, token);
      for (const code of ["x", made("ac", 65)]) await redeem(testServer.baseUrl, client, code);
      await refresh(testServer.baseUrl, { client_id: "made-up", redirect_uris: [] }, "x");
      await revoke(testServer.baseUrl, client, made("rt", 87));
    });
    assert.deepEqual(names(written), []);
    assert.equal((await refused()) - before, 8);
  });
});

describe("AUDIT_ARGUMENTS=on", () => {
  test("adds the arguments of calls, and nothing else that is secret", async () => {
    const testServer = await startTestServer({ environment: { AUDIT_ARGUMENTS: "on" } });
    try {
      const tokens = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
      await callTool(testServer.url, tokens.access_token, "current_weather", { city: "Berlin" });
      const call = testServer.log.find(({ audit }) => audit === "tool_call");
      assert.deepEqual(call?.arguments, { city: "Berlin" });
      assert.ok(!JSON.stringify(testServer.log).includes(tokens.access_token));
    } finally {
      await testServer.close();
    }
  });
});

describe("AUDIT_LOG", () => {
  const silent = pino({ level: "silent" });
  const directory = mkdtempSync(join(tmpdir(), "audit-"));

  test("a file is appended to, one JSON object a line", () => {
    const destination = join(directory, "audit.jsonl");
    for (const subject of ["one", "two"]) {
      const audit = createAudit(silent, openAuditStream({ destination, arguments: false }, silent));
      audit({ event: "sign_in", decision: "allow", subject });
    }
    const written = readFileSync(destination, "utf8").trim().split("\n");
    assert.deepEqual(
      written.map((line) => JSON.parse(line).subject),
      ["one", "two"],
    );
  });

  test("what was written in part, because nobody read the pipe, is a line of its own", () => {
    const destination = join(directory, "audit.pipe");
    execFileSync("mkfifo", [destination]);
    const reader = openSync(destination, constants.O_RDONLY | constants.O_NONBLOCK);
    const taken = () => {
      const chunk = Buffer.alloc(1_000_000);
      return chunk.toString("utf8", 0, readSync(reader, chunk));
    };
    const stream = openAuditStream({ destination, arguments: true }, silent);
    const audit = createAudit(silent, stream);
    // More than a pipe takes.
    audit({ event: "tool_call", decision: "allow", subject: "one", arguments: "x".repeat(200_000) });
    const begun = taken();
    assert.match(begun, /^\{.*x$/);
    audit({ event: "sign_in", decision: "allow", subject: "two" });
    const [rest, ...whole] = taken().trimEnd().split("\n");
    assert.equal(rest, "");
    assert.deepEqual(
      whole.map((line) => JSON.parse(line).subject),
      ["two"],
    );
    closeSync(reader);
  });

  for (const [destination, fd] of [
    ["stdout", 1],
    ["stderr", 2],
  ] as const)
    test(`${destination} whose reader is gone does not end the process, and the log says so once`, async () => {
      const module = (name: string) => JSON.stringify(builtProgram(name));
      const child = spawn(
        process.execPath,
        [
          "--input-type=module",
          "-e",
          `import { createAudit, openAuditStream } from ${module("src/audit/audit")};
          const failed = [];
          const log = { info() {}, error: ({ reason }) => failed.push(reason) };
          const stream = openAuditStream({ destination: ${JSON.stringify(destination)}, arguments: false }, log);
          const audit = createAudit(log, stream);
          const deciding = setInterval(() => audit({ event: "sign_in", decision: "allow" }), 10);
          setTimeout(() => { clearInterval(deciding); process.exit(failed.length === 1 ? 7 : 8); }, 1_500);`,
        ],
        { stdio: ["ignore", "pipe", "pipe"] },
      );
      const read = child.stdio[fd];
      assert.ok(read);
      await once(read, "data");
      read.destroy();
      const [code] = await once(child, "exit");
      assert.equal(code, 7, "it ran until it wanted to end");
    });

  test("a file that cannot be written is a start-up error that says so", () =>
    assert.throws(
      () =>
        openAuditStream({ destination: join(directory, "missing", "audit.jsonl"), arguments: false }, silent),
      /AUDIT_LOG cannot be written.*directory that exists/,
    ));
});
