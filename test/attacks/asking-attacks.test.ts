/** Attacks on multi-round-trip calls and server requests: answering for somebody else, forging an answer, reusing one. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { before, beforeEach, describe, type TestContext, test } from "node:test";
import { z } from "zod";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { elicit, inputRequired } from "../../src/mcp/authoring/input-required.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import {
  burnNote,
  cancel,
  deleted,
  deleteNote,
  introduce,
  modern,
  type OpenCall,
  openCall,
  reply,
  type Session,
} from "../support/asking.ts";
import { eventually } from "../support/eventually.ts";
import {
  callTool,
  postJson,
  refresh,
  register,
  revoke,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

/** What became of words for a client that had left: settled when all are. */
let toldTheGone: Promise<PromiseSettledResult<void>[]>;
const talksOn = defineTool({
  name: "talks_on",
  description: "Goes on talking when its client has left",
  async run(_input, { signal, log, progress }) {
    await log("info", "begun");
    await once(signal, "abort");
    toldTheGone = Promise.allSettled([log("info", "still here"), progress(1)]);
    return "done";
  },
});

const elicitation = { elicitation: {} };
const yes = { action: "accept", content: { sure: true } };

describe("a call that asks", () => {
  let alice: Session;
  let mallory: Session;

  const testServer = useTestServer({ tools: [deleteNote, burnNote, talksOn] });
  before(async () => {
    alice = await session("alice");
    mallory = await session("bob");
  });
  beforeEach(() => {
    deleted.length = 0;
  });

  async function session(login: string): Promise<Session> {
    const { access_token } = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl), {
      login,
    });
    return {
      accessToken: access_token,
      sessionId: await introduce(testServer.url, access_token, elicitation),
    };
  }

  async function asked(of: Session): Promise<{ call: OpenCall; question: { id: string } }> {
    const call = await openCall(testServer.url, of, "tools/call", {
      name: "delete_note",
      arguments: { note: "n" },
    });
    return { call, question: await call.next() };
  }

  async function state(args: object = { note: "n" }): Promise<string> {
    const { body } = await modern(testServer.url, alice.accessToken, "tools/call", {
      name: "delete_note",
      arguments: args,
    });
    return body.result.requestState;
  }

  function bring(requestState: unknown, over: { name?: string; arguments?: object; as?: Session } = {}) {
    const { name = "delete_note", arguments: args = { note: "n" }, as = alice } = over;
    const answers = { inputResponses: { sure: yes }, requestState };
    return modern(testServer.url, as.accessToken, "tools/call", { name, arguments: args, ...answers });
  }

  test("another user cannot answer, and the one who was asked still can", async () => {
    const { call, question } = await asked(alice);
    const foreign = await reply(testServer.url, mallory, question.id, yes);
    assert.equal(foreign.status, 400);
    assert.deepEqual(deleted, []);
    assert.equal((await reply(testServer.url, alice, question.id, yes)).status, 202);
    assert.equal((await call.next()).result.content[0].text, "Deleted n");
  });

  test("nobody else, and no other session, can take a call back", async () => {
    const { call, question } = await asked(alice);
    const another = await introduce(testServer.url, alice.accessToken, elicitation);
    await cancel(testServer.url, { ...mallory, sessionId: alice.sessionId });
    await cancel(testServer.url, { ...alice, sessionId: another });
    assert.equal((await reply(testServer.url, alice, question.id, yes)).status, 202);
    assert.equal((await call.next()).result.content[0].text, "Deleted n");
  });

  test("an answer counts once, and none comes after the end", async () => {
    const { call, question } = await asked(alice);
    const no = { action: "accept", content: { sure: false } };
    const statuses = await Promise.all(
      [no, yes].map((answer) => reply(testServer.url, alice, question.id, answer)),
    );
    assert.deepEqual(statuses.map(({ status }) => status).sort(), [202, 400]);
    await call.next();
    assert.equal((await reply(testServer.url, alice, question.id, yes)).status, 400);
    assert.ok(testServer.log.some(({ reason }) => reason === "answer_to_nothing"));
  });

  test("an answer to what nobody asked is refused", async () => {
    assert.equal((await reply(testServer.url, alice, "ask_AAAAAAAAAAAAAAAAAAAAAA", yes)).status, 400);
    assert.equal((await reply(testServer.url, alice, `ask_${"x".repeat(100_000)}`, yes)).status, 400);
  });

  test("an answer in a batch is refused, and not lost", async () => {
    const { call, question } = await asked(alice);
    const answer = { jsonrpc: "2.0", id: question.id, result: yes };
    for (const batch of [[answer], [{ jsonrpc: "2.0", id: 1, method: "ping" }, answer]]) {
      const refused = await postJson(testServer.url, batch, {
        accept: "application/json, text/event-stream",
        authorization: `Bearer ${alice.accessToken}`,
      });
      assert.equal(refused.status, 400);
    }
    assert.equal((await reply(testServer.url, alice, question.id, yes)).status, 202);
    assert.equal((await call.next()).result.content[0].text, "Deleted n");
  });

  test("an answer is nothing without an access token, also when the session's was revoked", async () => {
    const client = await register(testServer.baseUrl);
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const theirs = {
      accessToken: access_token,
      sessionId: await introduce(testServer.url, access_token, elicitation),
    };
    const { call, question } = await asked(theirs);
    assert.equal((await reply(testServer.url, { ...theirs, accessToken: "" }, question.id, yes)).status, 401);
    await revoke(testServer.baseUrl, client, access_token);
    assert.equal((await reply(testServer.url, theirs, question.id, yes)).status, 401);
    assert.deepEqual(deleted, []);
    await call.leave();
  });

  test("A15 a session id opens nothing, and is worth nothing to somebody else", async () => {
    const withoutToken = await postJson(
      testServer.url,
      { jsonrpc: "2.0", id: 1, method: "tools/list" },
      { accept: "application/json, text/event-stream", "mcp-session-id": alice.sessionId },
    );
    assert.equal(withoutToken.status, 401);
    for (const sessionId of [alice.sessionId, "", "1.x.y", `${mallory.sessionId}A`, "x".repeat(10_000)]) {
      const call = await openCall(testServer.url, { ...mallory, sessionId }, "tools/call", {
        name: "delete_note",
        arguments: { note: "n" },
      });
      const { result } = await call.next();
      assert.equal(result?.isError, true, `session id ${sessionId.slice(0, 20)}`);
    }
  });

  test("capabilities of every shape are taken, and only those that count are kept", async () => {
    const odd = [
      null,
      7,
      [],
      { elicitation: 7 },
      { elicitation: { url: "x" } },
      { experimental: { big: "x".repeat(50_000) } },
    ];
    for (const capabilities of odd) {
      const sessionId = await introduce(testServer.url, alice.accessToken, capabilities as object);
      assert.ok(
        sessionId.length < 500,
        `${JSON.stringify(capabilities)?.slice(0, 40)} gave ${sessionId.length}`,
      );
    }
  });

  test("A16 a state is good for its own session, tool and arguments only", async () => {
    const sealed = await state();
    const elsewhere = [
      bring(sealed, { as: mallory }),
      bring(sealed, { name: "burn_note" }),
      bring(sealed, { arguments: { note: "another" } }),
      bring(sealed, { arguments: { note: "n", folder: "f" } }),
      bring(`${sealed}A`),
      bring(sealed.slice(0, -2)),
      bring(""),
      bring("asked"),
      bring(7),
      bring({ state: "asked" }),
    ];
    for (const { body } of await Promise.all(elsewhere)) assert.equal(body.error?.code, -32602);
    assert.deepEqual(deleted, []);
    assert.equal((await bring(sealed)).body.result.content[0].text, "Deleted n");
  });

  test("A16 a state is good for an hour", async () => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const call = { name: "delete_note", arguments: { note: "n" } };
    const { body } = await modern(testServer.url, tokens.access_token, "tools/call", call);
    const { requestState } = body.result;
    testServer.clock.ahead += 3_500;
    // The same session, with an access token that outlives the state.
    const { access_token } = (await refresh(testServer.baseUrl, client, tokens.refresh_token)).body;
    const as = { accessToken: access_token, sessionId: "" };
    testServer.clock.ahead += 90;
    assert.equal((await bring(requestState, { as })).body.result?.content[0].text, "Deleted n");
    testServer.clock.ahead += 10;
    assert.equal((await bring(requestState, { as })).body.error?.code, -32602);
    testServer.clock.ahead -= 3_600;
  });

  test("an answer that comes without what the server sent with its request is ignored", async () => {
    const { body } = await bring(undefined);
    assert.equal(body.result.resultType, "input_required");
    const legacy = await callTool(testServer.url, alice.accessToken, "delete_note", {
      note: "n",
      inputResponses: { sure: yes },
      requestState: await state(),
    });
    assert.equal(legacy.body.result.isError, true);
    const pushed = await postJson(
      testServer.url,
      {
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: {
          name: "delete_note",
          arguments: { note: "n" },
          inputResponses: { sure: yes },
          requestState: await state(),
        },
      },
      { accept: "application/json, text/event-stream", authorization: `Bearer ${alice.accessToken}` },
    );
    assert.equal(pushed.body.result.isError, true);
    assert.deepEqual(deleted, []);
  });

  test("a client that leaves does not end the process of a tool that goes on talking to it", async () => {
    const call = await openCall(testServer.url, alice, "tools/call", {
      name: "talks_on",
      _meta: { progressToken: 1 },
    });
    await call.next();
    await call.leave();
    await eventually("it is told", () => toldTheGone !== undefined);
    assert.deepEqual(
      (await toldTheGone).map(({ status }) => status),
      ["fulfilled", "fulfilled"],
    );
  });

  test("a completion may refer to things of every shape, and none breaks the server", async () => {
    const noText = { toString: 1, valueOf: 1 };
    for (const ref of [null, 7, [], { type: "ref/prompt" }, { type: noText, name: noText }])
      assert.ok((await complete(ref)).status < 500, JSON.stringify(ref));
    for (const name of [null, 7, ["greeting"], noText]) {
      assert.ok((await complete({ type: "ref/prompt", name })).status < 500, JSON.stringify(name));
      assert.ok((await complete({ type: "ref/resource", uri: name })).status < 500, JSON.stringify(name));
    }

    function complete(ref: unknown) {
      return rpc(testServer.url, alice.accessToken, "completion/complete", {
        ref,
        argument: { name: "city", value: "" },
      });
    }
  });

  test("what an answer holds is the tool's to validate, and no shape of it breaks the server", async () => {
    const shapes = [
      null,
      7,
      "yes",
      [],
      {},
      { action: "accept" },
      { action: "accept", content: { sure: "yes" } },
    ];
    for (const shape of shapes) {
      const { call, question } = await asked(alice);
      const answer = await reply(testServer.url, alice, question.id, shape as unknown as object);
      assert.ok(answer.status < 500, `${JSON.stringify(shape)} gave ${answer.status}`);
      const next = await call.next();
      assert.ok(next.method === "elicitation/create" || next.result.isError, JSON.stringify(next));
      await call.leave();
    }
    assert.ok(!testServer.log.some(({ reason }) => reason === "tool_failed"));
    assert.deepEqual(deleted, []);
  });
});

describe("an outage of the store while a call asks", () => {
  const both = defineTool({
    name: "asks_both",
    description: "Asks two things at once",
    run() {
      const form = elicit({ message: "?", requestedSchema: z.object({}) });
      return inputRequired({ inputRequests: { one: form, other: form } });
    },
  });

  /** The store fails for the first of the two server requests, and is slow for the other one. */
  async function answerDuring(t: TestContext, outage: Error) {
    const testServer = await startTestServer({ tools: [both] });
    t.after(() => testServer.close());
    const { access_token } = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    const sessionId = await introduce(testServer.url, access_token, elicitation);
    const { put } = testServer.records;
    let [puts, stored] = [0, 0];
    testServer.records.put = async (key, ...rest) => {
      const isServerRequest = key.startsWith("question:");
      if (isServerRequest && puts++ === 0) throw outage;
      await new Promise((resolve) => setTimeout(resolve, 20));
      await put(key, ...rest);
      if (isServerRequest) stored++;
    };
    const call = await openCall(testServer.url, { accessToken: access_token, sessionId }, "tools/call", {
      name: "asks_both",
    });
    return { testServer, answer: await call.next(), stored: () => stored };
  }

  test("is a tool error in words, cancels what was asked, and leaves nothing in the store", async (t) => {
    const { testServer, answer, stored } = await answerDuring(
      t,
      new UnavailableError("storage", { reason: "redis_unavailable" }),
    );
    assert.equal(answer.method, undefined);
    assert.match(answer.result.content[0].text, /storage cannot be reached/);
    await eventually("the slow one is stored, and removed", async () => {
      for await (const _ of testServer.records.keys("question:")) return false;
      return stored() === 1;
    });
  });

  test("with an error that nobody foresaw: its words are in the log alone", async (t) => {
    const { testServer, answer } = await answerDuring(t, new TypeError("no such table at /srv/notes"));
    assert.equal(answer.result.isError, true);
    assert.doesNotMatch(JSON.stringify(answer), /srv/);
    assert.ok(testServer.log.some(({ reason, tool }) => reason === "tool_failed" && tool === "asks_both"));
  });
});
