/**
 * A tool may ask the person, or their client, before it acts: clients of 2026-07-28 get the server request as the result and
 * call again, clients of 2025 are asked while their call waits. Either way it works across replicas.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { acceptedContent, elicit, inputRequired } from "../../src/mcp/authoring/input-required.ts";
import { ToolError } from "../../src/mcp/authoring/request-context.ts";
import { policyOf } from "../access/support.ts";
import {
  burnNote,
  cancel,
  deleted,
  deleteNote,
  greeting,
  introduce,
  modern,
  openCall,
  reply,
} from "../support/asking.ts";
import { eventually } from "../support/eventually.ts";
import { callTool, register, rpc, signInForTokens } from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
const elicitation = { elicitation: {} };
const accept = (content: object) => ({ action: "accept", content });

/** By a tool whose client has gone meanwhile. */
const knownAfterwards: unknown[] = [];

const tools = [
  deleteNote,
  burnNote,
  defineTool({
    name: "ask_for_ever",
    description: "Is never content",
    run: () =>
      inputRequired({
        inputRequests: { more: elicit({ message: "More?", requestedSchema: z.object({}) }) },
      }),
  }),
  defineTool({
    name: "remembers",
    description: "Says what became of a date in its state",
    run: (_input, { state }) =>
      state === undefined
        ? inputRequired({
            inputRequests: { go: elicit({ message: "Go?", requestedSchema: z.object({}) }) },
            state: { since: new Date(0) },
          })
        : JSON.stringify(state) + typeof (state as { since: unknown }).since,
  }),
  defineTool({
    name: "remembers_too_much",
    description: "Has a state that no client could carry",
    run: () =>
      inputRequired({
        inputRequests: { go: elicit({ message: "Go?", requestedSchema: z.object({}) }) },
        state: { amount: 1n },
      }),
  }),
  defineTool({
    name: "chatty",
    description: "Says what it does",
    async run(_input, { log }) {
      await log("debug", "a detail");
      await log("error", { code: 7 });
      return "done";
    },
  }),
  defineTool({
    name: "knows_its_client",
    description: "Says what its client can be asked, also where the context is handed on",
    run: (_input, context) => JSON.stringify([context.clientCapabilities, { ...context }.clientCapabilities]),
  }),
  defineTool({
    name: "goes_on",
    description: "Looks at what its client can be asked when that has gone",
    async run(_input, context) {
      await context.progress(1);
      while (!context.signal.aborted) await delay(5);
      await delay(20); // the response is closed
      knownAfterwards.push(context.clientCapabilities);
      return "done";
    },
  }),
];
const resources = [
  defineResource({
    name: "secret note",
    uri: "notes://secret",
    description: "Asks for a word first",
    read(_call) {
      const Word = z.object({ word: z.string() });
      const word = acceptedContent(_call.inputResponses, "word", Word)?.word;
      if (word !== undefined) return `opened with ${word}`;
      const ask = elicit({ message: "The word?", requestedSchema: Word });
      return inputRequired({ inputRequests: { word: ask } });
    },
  }),
  defineResource({
    name: "note",
    uriTemplate: "notes://{folder}/{note}",
    description: "A note",
    complete: {
      note: (typed, { folder }) => [`${folder}-${typed}-1`, `${folder}-${typed}-2`],
      folder(typed) {
        if (typed === "?") throw new ToolError("Type a letter.");
        throw new Error("no list of folders at /srv/notes");
      },
    },
    read: ({ note }) => note,
  }),
];
const prompts = [
  greeting,
  definePrompt({
    name: "forecast",
    description: "For those who may read the weather",
    scopes: ["weather:read"],
    args: z.object({ city: z.string() }),
    complete: { city: (typed) => Array.from({ length: 150 }, (_, index) => `${typed}${index}`) },
    run: ({ city }) => `How is the weather in ${city}?`,
  }),
];

describe("a call that asks", { skip: redis.skip }, () => {
  /** Another replica of the same deployment. */
  let other: string;
  let accessToken: string;

  const testServer = useTestServer({ redisUrl: redis.url!, tools, resources, prompts });
  before(async () => {
    other = `${await testServer.replica()}/mcp`;
    accessToken = (await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl)))
      .access_token;
  });
  after(() => redis.stop());

  test("a client of 2025 is asked while its call waits, and answers to another replica", async () => {
    const session = { accessToken, sessionId: await introduce(testServer.url, accessToken, elicitation) };
    const call = await openCall(testServer.url, session, "tools/call", {
      name: "delete_note",
      arguments: { note: "one" },
    });
    const serverRequest = await call.next();
    assert.equal(serverRequest.method, "elicitation/create");
    assert.equal(serverRequest.params.message, "Delete one?");
    assert.ok(!deleted.includes("one"));

    assert.equal((await reply(other, session, serverRequest.id, accept({ sure: true }))).status, 202);
    const { id, result } = await call.next();
    assert.equal(id, 7);
    assert.deepEqual(result.content, [{ type: "text", text: "Deleted one" }]);
    assert.ok(deleted.includes("one"));
  });

  test("a client of 2026-07-28 gets the request for input as its result, and calls another replica again", async () => {
    const call = { name: "delete_note", arguments: { note: "two", folder: "a" } };
    const asked = await modern(testServer.url, accessToken, "tools/call", call);
    const { resultType, inputRequests, requestState } = asked.body.result;
    assert.equal(resultType, "input_required");
    assert.equal(inputRequests.sure.params.message, "Delete two?");
    assert.doesNotMatch(requestState, /asked/);

    const inOtherOrder = { name: "delete_note", arguments: { folder: "a", note: "two" } };
    const answers = { inputResponses: { sure: accept({ sure: true }) }, requestState };
    const { body } = await modern(other, accessToken, "tools/call", { ...inOtherOrder, ...answers });
    assert.deepEqual(body.result.content, [{ type: "text", text: "Deleted two" }]);
  });

  test("a client of 2025 that takes its call back, on another replica, has nothing done", async () => {
    const session = { accessToken, sessionId: await introduce(testServer.url, accessToken, elicitation) };
    const call = await openCall(testServer.url, session, "tools/call", {
      name: "delete_note",
      arguments: { note: "never mind" },
    });
    const { id } = await call.next();
    assert.equal((await cancel(other, session)).status, 202);
    const { method, params } = await call.next();
    assert.deepEqual({ method, params }, { method: "notifications/cancelled", params: { requestId: id } });
    assert.equal(await call.next(), undefined);
    assert.equal((await reply(other, session, id, accept({ sure: true }))).status, 400);
    assert.ok(!deleted.includes("never mind"));
  });

  test("a client that had to sign its user in again goes on with the session that it has", async () => {
    const client = await register(testServer.baseUrl);
    const before = (await signInForTokens(testServer.baseUrl, client)).access_token;
    const sessionId = await introduce(testServer.url, before, elicitation);
    const session = {
      accessToken: (await signInForTokens(testServer.baseUrl, client)).access_token,
      sessionId,
    };
    const call = await openCall(testServer.url, session, "tools/call", {
      name: "delete_note",
      arguments: { note: "again" },
    });
    assert.equal((await call.next()).method, "elicitation/create");
    await call.leave();
  });

  test("the official clients of both generations ask their user", async () => {
    const requestInit = { headers: { authorization: `Bearer ${accessToken}` } };
    const v1 = new ClientV1({ name: "v1", version: "1" }, { capabilities: elicitation });
    v1.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { sure: false } }));
    await v1.connect(new TransportV1(new URL(testServer.url), { requestInit }));
    const kept = await v1.callTool({ name: "delete_note", arguments: { note: "three" } });
    assert.deepEqual(kept.content, [{ type: "text", text: "Kept" }]);
    await v1.close();

    const v2 = new Client(
      { name: "v2", version: "1" },
      { capabilities: elicitation, versionNegotiation: { mode: { pin: "2026-07-28" } } },
    );
    v2.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { sure: true } }));
    await v2.connect(new StreamableHTTPClientTransport(new URL(testServer.url), { requestInit }));
    const done = await v2.callTool({ name: "delete_note", arguments: { note: "four" } });
    assert.deepEqual(done.content, [{ type: "text", text: "Deleted four" }]);
    await v2.close();
  });

  test("prompts and resources ask, too", async () => {
    const session = { accessToken, sessionId: await introduce(testServer.url, accessToken, elicitation) };
    const prompt = await openCall(testServer.url, session, "prompts/get", { name: "greeting" });
    await reply(testServer.url, session, (await prompt.next()).id, accept({ name: "Ada" }));
    assert.equal((await prompt.next()).result.messages[0].content.text, "Greet Ada");

    const resource = await openCall(testServer.url, session, "resources/read", { uri: "notes://secret" });
    await reply(testServer.url, session, (await resource.next()).id, accept({ word: "sesame" }));
    assert.equal((await resource.next()).result.contents[0].text, "opened with sesame");
  });

  test("a client that cannot be asked gets a tool error that says so, and nothing happens", async () => {
    const withoutSession = await callTool(testServer.url, accessToken, "delete_note", { note: "five" });
    assert.equal(withoutSession.body.result.isError, true);
    assert.match(
      withoutSession.body.result.content[0].text,
      /your client cannot give \(elicitation\/create\)/,
    );

    const session = {
      accessToken,
      sessionId: await introduce(testServer.url, accessToken, { sampling: {} }),
    };
    const call = await openCall(testServer.url, session, "tools/call", {
      name: "delete_note",
      arguments: { note: "five" },
    });
    assert.equal((await call.next()).result.isError, true);

    const refused = await modern(testServer.url, accessToken, "tools/call", {
      capabilities: {},
      name: "delete_note",
      arguments: { note: "five" },
    });
    assert.equal(refused.status, 400);
    assert.deepEqual(refused.body.error.data, { requiredCapabilities: { elicitation: { form: {} } } });
    assert.ok(!deleted.includes("five"));
  });

  test("a tool knows what its client can be asked, in both generations", async () => {
    const told = (answer: { body: { result: { content: Array<{ text: string }> } } }) =>
      JSON.parse(answer.body.result.content[0]?.text ?? "");
    const call = { name: "knows_its_client", arguments: {} };
    const before = await callTool(testServer.url, accessToken, call.name);
    assert.deepEqual(told(before), [{}, {}], "without a session");
    const session = { accessToken, sessionId: await introduce(testServer.url, accessToken, elicitation) };
    const within = await openCall(testServer.url, session, "tools/call", call);
    assert.deepEqual(told({ body: await within.next() }), [elicitation, elicitation]);
    const now = await modern(testServer.url, accessToken, "tools/call", call);
    assert.deepEqual(told(now), [elicitation, elicitation]);
  });

  test("what a client can be asked does not change when it goes: a tool may do without asking whom it cannot ask", async () => {
    const session = { accessToken, sessionId: await introduce(testServer.url, accessToken, elicitation) };
    const params = { name: "goes_on", _meta: { progressToken: 1 } };
    const left = await openCall(testServer.url, session, "tools/call", params);
    assert.equal((await left.next()).method, "notifications/progress");
    await left.leave();
    await eventually("the tool that was left", () => knownAfterwards.length === 1);
    const cancelled = await openCall(testServer.url, session, "tools/call", params);
    assert.equal((await cancelled.next()).method, "notifications/progress");
    await cancel(testServer.url, session);
    await eventually("the tool that was cancelled", () => knownAfterwards.length === 2);
    assert.deepEqual(knownAfterwards, [elicitation, elicitation]);
  });

  test("a client that refuses to answer ends the call with words", async () => {
    const session = { accessToken, sessionId: await introduce(testServer.url, accessToken, elicitation) };
    const call = await openCall(testServer.url, session, "tools/call", {
      name: "delete_note",
      arguments: { note: "six" },
    });
    const { id } = await call.next();
    const error = { code: -32603, message: "no window to ask in" };
    await fetch(other, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${accessToken}` },
      body: JSON.stringify({ jsonrpc: "2.0", id, error }),
    });
    const { result } = await call.next();
    assert.equal(result.isError, true);
    assert.match(result.content[0].text, /no window to ask in/);
  });

  test("a state is the same for clients of both generations, and what JSON cannot say is for neither", async () => {
    const session = { accessToken, sessionId: await introduce(testServer.url, accessToken, elicitation) };
    const call = await openCall(testServer.url, session, "tools/call", { name: "remembers" });
    await reply(testServer.url, session, (await call.next()).id, { action: "decline" });
    const legacy = (await call.next()).result.content[0].text;
    const first = await modern(testServer.url, accessToken, "tools/call", { name: "remembers" });
    const { requestState } = first.body.result;
    const second = await modern(other, accessToken, "tools/call", { name: "remembers", requestState });
    assert.equal(second.body.result.content[0].text, legacy);
    assert.equal(legacy, '{"since":"1970-01-01T00:00:00.000Z"}string');

    const name = "remembers_too_much";
    const refused = await modern(testServer.url, accessToken, "tools/call", { name });
    assert.equal(refused.body.result?.isError, true, JSON.stringify(refused.body));
    assert.doesNotMatch(JSON.stringify(refused.body), /BigInt/);
    const waiting = await openCall(testServer.url, session, "tools/call", { name });
    assert.equal((await waiting.next()).result?.isError, true);
    assert.ok(testServer.log.some(({ reason, tool }) => reason === "tool_failed" && tool === name));
  });

  test("a tool that never stops asking is stopped", async () => {
    const session = { accessToken, sessionId: await introduce(testServer.url, accessToken, elicitation) };
    const call = await openCall(testServer.url, session, "tools/call", { name: "ask_for_ever" });
    for (let round = 1; ; round++) {
      const message = await call.next();
      if (message.method === undefined) {
        assert.equal(round, 8);
        assert.match(message.result.content[0].text, /too often/);
        break;
      }
      await reply(testServer.url, session, message.id, { action: "decline" });
    }
  });

  test("a server request leaves nothing in the store, answered or not", async () => {
    const session = { accessToken, sessionId: await introduce(testServer.url, accessToken, elicitation) };
    const call = await openCall(testServer.url, session, "tools/call", {
      name: "delete_note",
      arguments: { note: "seven" },
    });
    await call.next();
    assert.equal((await serverRequests()).length, 1);
    await call.leave();
    await eventually("the question is forgotten", async () => (await serverRequests()).length === 0);

    async function serverRequests(): Promise<string[]> {
      const found: string[] = [];
      for await (const key of testServer.records.keys("question:")) found.push(key);
      return found;
    }
  });

  test("a call that ends with a request for input says so in the audit log", async () => {
    const asked = testServer.log.filter(
      (line) => line.tool === "delete_note" && line.reason === "input_required",
    );
    assert.ok(asked.length > 0, "no line says that a call asked");
  });

  test("a client says from which level on it wants to know what a tool does", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    const session = { accessToken: tokens.access_token, sessionId: "" };
    const levels = async (url: string) => {
      const call = await openCall(url, session, "tools/call", { name: "chatty" });
      const found: string[] = [];
      for (let message = await call.next(); message.method !== undefined; message = await call.next())
        found.push(message.params.level);
      return found;
    };
    assert.deepEqual(await levels(testServer.url), ["debug", "error"]);
    await rpc(testServer.url, tokens.access_token, "logging/setLevel", { level: "warning" });
    assert.deepEqual(await levels(other), ["error"]);
    assert.deepEqual(await levels(testServer.url), ["error"]);
  });

  test("in 2026-07-28 each request says the level, and without one nothing is logged", async () => {
    const call = { name: "chatty", arguments: {} };
    const silent = await modern(testServer.url, accessToken, "tools/call", call);
    assert.match(silent.headers.get("content-type") ?? "", /json/);
    const meta = { "io.modelcontextprotocol/logLevel": "error" };
    const told = await modern(testServer.url, accessToken, "tools/call", { ...call, meta });
    assert.match(told.headers.get("content-type") ?? "", /event-stream/);
  });

  test("arguments of prompts and variables of templates are completed, at most a hundred at once", async () => {
    const complete = (ref: object, name: string, value: string, context = {}) =>
      rpc(testServer.url, accessToken, "completion/complete", { ref, argument: { name, value }, context });
    const city = await complete({ type: "ref/prompt", name: "forecast" }, "city", "Ber");
    assert.equal(city.body.result.completion.values.length, 100);
    assert.equal(city.body.result.completion.total, 150);
    assert.equal(city.body.result.completion.hasMore, true);

    const template = { type: "ref/resource", uri: "notes://{folder}/{note}" };
    const note = await complete(template, "note", "a", { arguments: { folder: "work" } });
    assert.deepEqual(note.body.result.completion.values, ["work-a-1", "work-a-2"]);
    const nobody = await complete(template, "constructor", "a");
    assert.deepEqual(nobody.body.result.completion.values, []);
    const broken = await complete(template, "folder", "a");
    assert.doesNotMatch(JSON.stringify(broken.body), /srv/);
    assert.ok(testServer.log.some(({ reason }) => reason === "completion_failed"));
    const failures = testServer.log.length;
    const inWords = await complete(template, "folder", "?");
    assert.equal(inWords.body.error.message, "Type a letter.");
    assert.ok(!testServer.log.slice(failures).some(({ reason }) => reason === "completion_failed"));
    const unknown = await complete({ type: "ref/prompt", name: "nothing" }, "city", "Ber");
    assert.equal(unknown.body.error.code, -32602);
  });

  test("completions are for those who may use what they belong to", async () => {
    const bob = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl), {
      login: "bob",
    });
    const ref = { type: "ref/prompt", name: "forecast" };
    const refused = await rpc(testServer.url, bob.access_token, "completion/complete", {
      ref,
      argument: { name: "city", value: "Ber" },
    });
    assert.equal(refused.status, 403);
    assert.match(refused.headers.get("www-authenticate") ?? "", /insufficient_scope.*weather:read/);
  });

  test("completions are not for those whom the policy denies what they belong to", async () => {
    const denied = policyOf(`
rules:
  - name: nobody forecasts
    deny: { prompts: ["*"] }
`);
    const strict = await startTestServer({ prompts, policy: denied });
    const { access_token } = await signInForTokens(strict.baseUrl, await register(strict.baseUrl));
    const { body } = await rpc(strict.url, access_token, "completion/complete", {
      ref: { type: "ref/prompt", name: "forecast" },
      argument: { name: "city", value: "Ber" },
    });
    assert.deepEqual(body.result.completion.values, []);
    await strict.close();
  });
});
