/** An MCP server over stdio behind this one: what its clients see of it, whose process it is, and what it may do to us. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { commandServerOf } from "../../src/config/command-server.ts";
import { eventually } from "../support/eventually.ts";
import { type Registered, register, signInForTokens } from "../support/oauth-client.ts";
import { people, useTestServer } from "../support/test-server.ts";

const PROGRAM = join(import.meta.dirname, "../support/stdio-server.js");
const folder = mkdtempSync(join(tmpdir(), "stdio-"));
const journal = join(folder, "journal");
/** What one of the programs read. */
const heard = join(folder, "heard");
writeFileSync(journal, "");
const notedTimes = (what: string) => readFileSync(journal, "utf8").split(`${what}\n`).length - 1;
const noted = (what: string) => notedTimes(what) > 0;

const SCOPES = {
  "files:read": "Read files",
  "files:write": { description: "Change files", whenNeeded: true },
};
const needs = {
  tools: { "*": ["files:read"], secret: ["files:write"], forgotten: ["files:write"] },
  resources: { "*": [] },
  prompts: { "*": [] },
};
const resource = (path: string, more: Record<string, unknown> = {}) => ({
  path,
  name: path,
  features: { tools: [], scopes: SCOPES },
  backend: commandServerOf({
    command: [process.execPath, PROGRAM, journal],
    env: { GREETING: "hello" },
    timeoutSeconds: 60,
    maxAnswerBytes: 65_536,
    needs,
    ...more,
  }),
});
const isRunning = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe("an MCP server over stdio", () => {
  const testServer = useTestServer(() => ({
    furtherResources: [
      resource("/shared/mcp"),
      resource("/own/mcp", { processPer: "principal", maxProcesses: 2 }),
      resource("/nowhere/mcp", { command: ["there-is-no-such-program"] }),
      resource("/ended/mcp", { command: [process.execPath, "-e", "process.exit(3)"] }),
      resource("/impatient/mcp", { timeoutSeconds: 1 }),
      resource("/slow/mcp", {
        processPer: "principal",
        command: [
          "sh",
          "-c",
          `echo starts >> ${journal}; sleep 2; tee ${heard} | ${process.execPath} ${PROGRAM} ${journal}`,
        ],
      }),
    ],
    apiScopes: Object.keys(SCOPES),
    users: people(["alice", "bob", "carol"], ["files:read"]),
  }));
  let registered: Registered;
  const clients: Client[] = [];
  before(async () => {
    registered = await register(testServer.baseUrl);
  });
  after(async () => {
    await Promise.all(clients.map((each) => each.close()));
    rmSync(folder, { recursive: true });
  });

  async function tokenFor(path: string, login: string): Promise<string> {
    return (await signInForTokens(testServer.baseUrl, registered, { login, path })).access_token;
  }
  async function connected(path: string, login = "alice"): Promise<Client> {
    const client = new Client(
      { name: "test", version: "1" },
      { capabilities: { roots: {}, elicitation: {} } },
    );
    const transport = new StreamableHTTPClientTransport(new URL(`${testServer.baseUrl}${path}`), {
      requestInit: { headers: { authorization: `Bearer ${await tokenFor(path, login)}` } },
    });
    await client.connect(transport as never);
    clients.push(client);
    return client;
  }
  const said = (result: unknown) => (result as { content: Array<{ text: string }> }).content[0]?.text ?? "";
  interface Sent {
    headers?: Record<string, string>;
    signal?: AbortSignal;
  }
  async function send(path: string, body: unknown, { headers = {}, signal }: Sent = {}) {
    return fetch(`${testServer.baseUrl}${path}`, {
      method: "POST",
      ...(signal && { signal }),
      headers: {
        authorization: `Bearer ${await tokenFor(path, "alice")}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...headers,
      },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  }
  // biome-ignore lint/suspicious/noExplicitAny: answers of every shape
  const json = (answer: Response): Promise<any> => answer.json();

  describe("that everybody shares", () => {
    let alice: Client;
    let bob: Client;
    before(async () => {
      alice = await connected("/shared/mcp");
      bob = await connected("/shared/mcp", "bob");
    });

    test("is one process, and says who it is", async () => {
      assert.equal(said(await alice.callTool({ name: "count" })), "1");
      assert.equal(said(await bob.callTool({ name: "count" })), "2");
      assert.deepEqual(alice.getServerVersion(), { name: "files", version: "1" });
      assert.equal(alice.getInstructions(), "Be kind.");
      assert.deepEqual(Object.keys(alice.getServerCapabilities() ?? {}).sort(), [
        "prompts",
        "resources",
        "tools",
      ]);
    });

    test("gives each the answer to their own request, however they number them", async () => {
      const words = Array.from({ length: 20 }, (_, index) => `word-${index}`);
      const answers = await Promise.all(
        words.flatMap((word) =>
          [alice, bob].map((each) => each.callTool({ name: "echo", arguments: { said: word } })),
        ),
      );
      assert.deepEqual(
        answers.map(said),
        words.flatMap((word) => [word, word]),
      );
    });

    test("lists what its reader may use; a call of what lacks a scope is challenged", async () => {
      const { tools } = await alice.listTools();
      assert.ok(tools.some(({ name }) => name === "echo"));
      assert.ok(!tools.some(({ name }) => name === "secret"));
      const refused = await send("/shared/mcp", {
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: { name: "secret" },
      });
      assert.equal(refused.status, 403);
    });

    test("prompts and resources", async () => {
      const { messages } = await alice.getPrompt({ name: "greet", arguments: { name: "Ann" } });
      assert.deepEqual(messages[0]?.content, { type: "text", text: "Greet Ann" });
      const { contents } = await alice.readResource({ uri: "files:///readme" });
      assert.equal((contents[0] as { text: string }).text, "readme");
    });

    test("progress reaches who asked for it, under their own token", async () => {
      const progress: Array<[string, number]> = [];
      await Promise.all(
        Object.entries({ alice, bob }).map(([who, each]) =>
          each.callTool({ name: "steps" }, undefined, {
            onprogress: (now) => void progress.push([who, now.progress]),
          }),
        ),
      );
      assert.deepEqual(
        progress.sort(([one], [other]) => one.localeCompare(other)),
        [
          ["alice", 1],
          ["alice", 2],
          ["bob", 1],
          ["bob", 2],
        ],
      );
    });

    for (const id of ['"a b"', "0", "-5", "9007199254740991", '"\\u00e9"', '"1"'])
      test(`an answer has the id ${id} as it was written`, async () => {
        const answer = await send(
          "/shared/mcp",
          `{"jsonrpc":"2.0",\n"id":${id},\r\n"method":"tools/call","params":{"name":"echo","arguments":{"said":"a\\nb"}}}`,
        );
        const text = await answer.text();
        assert.match(text, new RegExp(`"id":${id.replaceAll("\\", "\\\\")}[,}]`));
        assert.ok(text.includes("a\\nb"), text);
      });

    test("a batch is answered as a whole", async () => {
      const calls = [1, 2, 3].map((id) => ({
        jsonrpc: "2.0",
        id,
        method: "tools/call",
        params: { name: "echo", arguments: { said: `${id}` } },
      }));
      const text = await (
        await send("/shared/mcp", [...calls, { jsonrpc: "2.0", id: 4, method: "ping" }])
      ).text();
      const ids = [...text.matchAll(/^data: (.*)$/gm)].map(([, data = ""]) => JSON.parse(data).id);
      assert.deepEqual(ids.sort(), [1, 2, 3, 4]);
    });

    test("who hangs up, and who cancels, has their call cancelled", async () => {
      for (const how of ["hangs up", "cancels"]) {
        writeFileSync(journal, "");
        const stop = new AbortController();
        const client = await connected("/shared/mcp");
        const call = client.callTool({ name: "wait" }, undefined, { signal: stop.signal });
        call.catch(() => {});
        await eventually("it waits", () => noted("waits"));
        if (how === "cancels") stop.abort();
        else await client.close();
        await eventually("it is cancelled", () => noted("cancelled"));
        await assert.rejects(call);
      }
    });

    test("a call that gives no sign for too long is an error, and is cancelled", async () => {
      const impatient = await connected("/impatient/mcp");
      writeFileSync(journal, "");
      await assert.rejects(impatient.callTool({ name: "wait" }), /took too long/);
      await eventually("it is cancelled", () => noted("cancelled"));
    });

    test("asks nobody, and is told so", async () => {
      assert.equal(said(await alice.callTool({ name: "ask" })), "-32601");
    });

    test("what would change it for everybody cannot be asked", async () => {
      for (const [method, params] of [
        ["logging/setLevel", { level: "debug" }],
        ["resources/subscribe", { uri: "files:///readme" }],
      ]) {
        const text = await (await send("/shared/mcp", { jsonrpc: "2.0", id: 1, method, params })).text();
        assert.match(text, /-32601/);
      }
    });

    test("noise on stdout is left out", async () => {
      assert.equal(said(await alice.callTool({ name: "noise" })), "quiet");
      assert.equal(said(await alice.callTool({ name: "echo", arguments: { said: "still" } })), "still");
      assert.ok(testServer.log.some(({ msg }) => /wrote to stdout what is no message/.test(String(msg))));
    });

    test("a flood on stderr is a few short lines in the log", async () => {
      assert.equal(said(await alice.callTool({ name: "flood" })), "flooded");
      const lines = await eventually("lines of stderr", () => {
        const found = testServer.log.filter(({ msg }) => msg === "A backend wrote to stderr");
        return found.length > 0 ? found : undefined;
      });
      // Of 500; how many exactly depends on how long the machine takes.
      assert.ok(lines.length < 400, `${lines.length} lines`);
      assert.ok(lines.every(({ line }) => String(line).length <= 1_000));
    });

    test("an answer that is longer than allowed is none, and others go on", async () => {
      const [long, short] = await Promise.allSettled([
        alice.callTool({ name: "long" }),
        bob.callTool({ name: "echo", arguments: { said: "short" } }),
      ]);
      assert.equal(long.status, "rejected");
      assert.equal(short.status === "fulfilled" && said(short.value), "short");
    });

    test("its environment is what is configured, and the search path", async () => {
      const environment = JSON.parse(said(await alice.callTool({ name: "env" })));
      assert.deepEqual(Object.keys(environment).sort(), ["GREETING", "PATH"]);
      assert.equal(environment.GREETING, "hello");
    });

    test("is started again when it dies: who waited is told, and the next is served", async () => {
      const before = said(await alice.callTool({ name: "pid" }));
      writeFileSync(journal, "");
      const waiting = assert.rejects(bob.callTool({ name: "wait" }), /may have been done/);
      await eventually("it waits", () => noted("waits"));
      await assert.rejects(alice.callTool({ name: "die" }), /may have been done/);
      await waiting;
      const after = await eventually("it answers again", () =>
        alice.callTool({ name: "pid" }).then(said, () => undefined),
      );
      assert.notEqual(after, before);
    });

    test("a client of 2026-07-28 is told to introduce itself", async () => {
      const refused = await send(
        "/shared/mcp",
        { jsonrpc: "2.0", id: 1, method: "server/discover" },
        { headers: { "mcp-protocol-version": "2026-07-28" } },
      );
      assert.equal(refused.status, 400);
      const { error } = await json(refused);
      assert.equal(error.code, -32_022);
      assert.ok(error.data.supported.includes("2025-11-25"));
    });
  });

  describe("of which everybody has their own", () => {
    test("is a process for each, whatever their clients", async () => {
      const [one, another, bob] = await Promise.all([
        connected("/own/mcp"),
        connected("/own/mcp"),
        connected("/own/mcp", "bob"),
      ]);
      const [first, second, third] = await Promise.all(
        [one, another, bob].map(async (each) => said(await each.callTool({ name: "pid" }))),
      );
      assert.equal(first, second);
      assert.notEqual(first, third);
    });

    test("makes room for another when one is idle, and not before", async () => {
      const [alice, bob] = await Promise.all([connected("/own/mcp"), connected("/own/mcp", "bob")]);
      const [ofAlice, ofBob] = await Promise.all(
        [alice, bob].map(async (each) => Number(said(await each.callTool({ name: "pid" })))),
      );
      const stop = new AbortController();
      writeFileSync(journal, "");
      const busy = Promise.allSettled(
        [alice, bob].map((each) => each.callTool({ name: "wait" }, undefined, { signal: stop.signal })),
      );
      await eventually("both wait", () => notedTimes("waits") === 2);
      await assert.rejects(connected("/own/mcp", "carol"), /More people use/);
      stop.abort();
      await busy;
      await eventually("both are cancelled", () => notedTimes("cancelled") === 2);
      await alice.callTool({ name: "count" });
      const carol = await connected("/own/mcp", "carol");
      assert.equal(said(await carol.callTool({ name: "count" })), "1");
      await eventually("the one that was idle for longest has ended", () => !isRunning(ofBob as number));
      assert.ok(isRunning(ofAlice as number));
    });
  });

  for (const [path, cause] of [
    ["/nowhere/mcp", /no program there-is-no-such-program/],
    ["/ended/mcp", /ended with code 3/],
  ] as const)
    test(`at ${path} is out of reach, and the log says why`, async () => {
      const refused = await send(path, { jsonrpc: "2.0", id: 1, method: "tools/list" });
      assert.equal(refused.status, 502);
      assert.equal((await json(refused)).error.data.reason, "backend_unreachable");
      assert.ok(
        testServer.log.some(({ backend, cause: found }) => backend === path && cause.test(String(found))),
      );
    });

  test("who hangs up while it starts calls nothing", async () => {
    writeFileSync(journal, "");
    const call = (name: string) => ({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name } });
    const stop = new AbortController();
    const hungUp = assert.rejects(send("/slow/mcp", call("wait"), { signal: stop.signal }));
    await eventually("it starts", () => noted("starts"));
    stop.abort();
    await hungUp;
    assert.match(await (await send("/slow/mcp", call("count"))).text(), /"text":"1"/);
    assert.equal(noted("waits"), false);
  });

  test("a line break of Unicode in a text is no end of a line, whatever reads it", async () => {
    const said = "one\u2028two\u2029three";
    const call = {
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: "echo", arguments: { said } },
    };
    assert.ok((await (await send("/slow/mcp", call)).text()).includes(said));
    assert.match(readFileSync(heard, "utf8"), /"one\\u2028two\\u2029three"/);
  });

  test("ends with this server, and what it started does too, though it ignores SIGTERM", async () => {
    const client = await connected("/shared/mcp");
    const pid = Number(said(await client.callTool({ name: "pid" })));
    const child = Number(said(await client.callTool({ name: "stubborn" })));
    assert.ok(isRunning(pid) && isRunning(child));
    await testServer.close();
    await eventually("both have ended", () => !isRunning(pid) && !isRunning(child));
  });
});
