/**
 * Whatever ends a session, or removes a scope that a call needs, stops its running calls: nothing more is sent, the tool is
 * aborted, the client gets the reason, and the audit log has a line.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { z } from "zod";
import { createPolicy, DEFAULT_CLAIMS } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { elicit, inputRequired } from "../../src/mcp/authoring/input-required.ts";
import type { RequestContext } from "../../src/mcp/authoring/request-context.ts";
import { featuresOf } from "../../src/mcp/backends/existing-server.ts";
import { requireScopes } from "../../src/resource/access-token-context.ts";
import { adminOf } from "../admin/support.ts";
import { introduce, reply } from "../support/asking.ts";
import type { Cluster } from "../support/cluster.ts";
import { endEntry, openConnections } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import { held } from "../support/held.ts";
import { hangUpNoticed, whileLookedUp } from "../support/held-look-up.ts";
import {
  authorizeUrl,
  callTool,
  getJson,
  newBrowser,
  type Registered,
  redeem,
  refresh,
  register,
  revoke,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { receivedUntilClosed } from "../support/received-until-closed.ts";
import { redisForTests } from "../support/redis.ts";
import { replaceablePolicy } from "../support/replaceable-policy.ts";
import { signIn } from "../support/sign-in.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

/** What a tool that runs has, and how it goes on. */
interface Work {
  signal: AbortSignal;
  finish(): void;
  /** Settled when it has said and returned all that it wanted. */
  over: Promise<unknown>;
}
const works = new Map<string, Work>();

/** Says something if it is to stream, waits to be finished whatever its signal says, and talks on then. */
async function work(id: string, { signal, log }: Pick<RequestContext, "signal" | "log">, streams: boolean) {
  const { wait, letGo: finish } = held();
  if (streams) await log("error", "begun");
  const over = wait().then(() => log("error", "too late").catch(() => {}));
  works.set(id, { signal, finish, over });
  await over;
  return `done ${id}`;
}

const input = z.object({ id: z.string(), streams: z.boolean() });
const tools = [
  defineTool({
    name: "work",
    description: "Works",
    scopes: ["weather:read"],
    input,
    run: ({ id, streams }, call) => work(id, call, streams),
  }),
  defineTool({
    name: "work_for_scope",
    description: "Turns out to need a scope",
    input,
    run({ id, streams }, call) {
      requireScopes("weather:read");
      return work(id, call, streams);
    },
  }),
  defineTool({
    name: "ask",
    description: "Asks",
    scopes: ["weather:read"],
    input,
    run({ id }, { inputResponses, signal }) {
      if (inputResponses !== undefined) return `done ${id}`;
      works.set(id, { signal, finish: () => {}, over: Promise.resolve() });
      return inputRequired({
        inputRequests: { more: elicit({ message: "More?", requestedSchema: z.object({}) }) },
      });
    },
  }),
];

async function existingTools() {
  const existing = new McpServer({ name: "existing", version: "1" });
  existing.registerTool(
    "existing_work",
    { description: "Works", inputSchema: input.shape },
    async ({ id }, { signal }) => ({
      content: [{ type: "text", text: await work(id, { signal, log: async () => {} }, false) }],
    }),
  );
  return (await featuresOf(existing, { tools: { existing_work: ["weather:read"] } })).tools;
}

const NEW = "2026-07-28";
const OLD = "2025-06-18";

/** What may be running, and what it begins with. */
const running: Record<string, { tool: string; version: string; streams: boolean; batch?: true }> = {
  "a call": { tool: "work", version: OLD, streams: false },
  "a call of 2026": { tool: "work", version: NEW, streams: false },
  "a stream": { tool: "work", version: OLD, streams: true },
  "a stream of 2026": { tool: "work", version: NEW, streams: true },
  "a stream that turned out to need a scope": { tool: "work_for_scope", version: OLD, streams: true },
  "a waiting question": { tool: "ask", version: OLD, streams: true },
  "calls in a batch": { tool: "work", version: "2025-03-26", streams: true, batch: true },
  "a call of an existing server": { tool: "existing_work", version: OLD, streams: false },
};

interface Session extends Tokens {
  client: Registered;
  browser: ReturnType<typeof newBrowser>;
}

interface Under {
  id: string;
  status(): number | undefined;
  headers(): Headers | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: messages of every shape
  messages: any[];
  ended: Promise<void>;
}

let count = 0;

/** Resolves when the tool runs, and has said what it says first. */
async function begin(
  url: string,
  { access_token }: Pick<Tokens, "access_token">,
  { tool, version, streams, batch }: (typeof running)[string],
): Promise<Under> {
  const id = `call-${++count}`;
  const capabilities = { elicitation: {} };
  const sessionId = tool === "ask" ? await introduce(url, access_token, capabilities) : undefined;
  const isNew = version === NEW;
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientInfo": { name: "by hand", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": capabilities,
    "io.modelcontextprotocol/logLevel": "error",
  };
  const params = { name: tool, arguments: { id, streams }, ...(isNew && { _meta }) };
  const request = { jsonrpc: "2.0", id, method: "tools/call", params };
  const list = { jsonrpc: "2.0", id: "list", method: "tools/list" };
  const under: Under & { response?: Response } = {
    id,
    messages: [],
    ended: Promise.resolve(),
    status: () => under.response?.status,
    headers: () => under.response?.headers,
  };
  under.ended = (async () => {
    under.response = await fetch(url, {
      method: "POST",
      headers: {
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        authorization: `Bearer ${access_token}`,
        "mcp-protocol-version": version,
        ...(isNew && { "mcp-method": "tools/call", "mcp-name": tool }),
        ...(sessionId !== undefined && { "mcp-session-id": sessionId }),
      },
      body: JSON.stringify(batch ? [list, request] : request),
    });
    const isStream = under.response.headers.get("content-type")?.startsWith("text/event-stream");
    if (!isStream) return void under.messages.push(await under.response.json());
    let text = "";
    for await (const chunk of under.response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const events = text.split("\n\n");
      text = events.pop() ?? "";
      for (const event of events) {
        const data = event.split("\n").find((line) => line.startsWith("data: "));
        if (data !== undefined) under.messages.push(JSON.parse(data.slice("data: ".length)));
      }
    }
  })();
  const first = streams ? 1 : 0;
  await eventually("the tool to run", () => works.has(id) && under.messages.length >= first);
  return under;
}

const known = { scopes: ["weather:read"], tools: tools.map(({ name }) => name), resources: [], prompts: [] };
known.tools.push("existing_work");
const open = createPolicy({ default: "allow", claims: DEFAULT_CLAIMS, rules: [] });
const strict = (yaml: string) => createPolicy(parsePolicy(yaml, "policy.yaml", known));

describe("a running call", redis, () => {
  const lines: Array<Record<string, unknown>> = [];
  let other: string;
  const rules = replaceablePolicy(open);

  const testServer = useTestServer(async () => ({
    redisUrl: redis.url ?? "",
    tools: [...tools, ...(await existingTools())],
    policy: rules.policy,
    behaviour: { accessTokenSeconds: 4_000 },
    environment: { GRANT_SECONDS: "7200", REFRESH_GRACE_SECONDS: "0", MAX_GRANTS_PER_USER: "1000" },
    auditStream: { write: (line) => lines.push(JSON.parse(line)) },
  }));
  before(async () => {
    other = await testServer.replica();
  });

  async function signedIn(): Promise<Session> {
    // A client of its own: what ends one session must not end the next.
    const client = await register(testServer.baseUrl, { client_name: `Client ${++count}` });
    const browser = newBrowser();
    const callback = await signIn(browser, authorizeUrl(testServer.baseUrl, client));
    const { body } = await redeem(testServer.baseUrl, client, callback.searchParams.get("code"));
    return { ...body, client, browser };
  }

  /** What ends it: the reason that is given, and how. */
  const ends: Record<
    string,
    {
      reason: string;
      status: number;
      prepare?(session: Session): Promise<Session>;
      end(session: Session): unknown;
    }
  > = {
    "its client revokes it": {
      reason: "grant_ended",
      status: 401,
      end: ({ client, access_token }) => revoke(testServer.baseUrl, client, access_token),
    },
    "its client revokes it on another replica": {
      reason: "grant_ended",
      status: 401,
      end: ({ client, refresh_token }) => revoke(other, client, refresh_token),
    },
    "its user ends it at /connections": {
      reason: "grant_ended",
      status: 401,
      async end({ client }) {
        const browser = newBrowser();
        const page = await openConnections(testServer.baseUrl, { browser });
        await endEntry(browser, page, String(client.client_name));
      },
    },
    "the operator ends it": {
      reason: "grant_ended",
      status: 401,
      async end({ access_token }) {
        const { port } = testServer.identityProvider;
        const deployment = { baseUrl: testServer.baseUrl, redis, upstream: { port } } as unknown as Cluster;
        const { store } = testServer.config;
        const REDIS_KEY_PREFIX = store.kind === "redis" ? store.keyPrefix : "";
        const grant = await testServer.grantOf(access_token);
        const ran = await adminOf(deployment)(["grants", "revoke", grant?.id ?? "", "--yes"], {
          REDIS_KEY_PREFIX,
        });
        assert.equal(ran.code, 0, ran.stderr);
      },
    },
    "its user signs out at the provider": {
      reason: "grant_ended",
      status: 401,
      async end({ browser }) {
        const { end_session_endpoint } = await getJson(
          `${testServer.identityProvider.issuer}/.well-known/openid-configuration`,
        );
        await browser.submit(await browser.get(end_session_endpoint), { logout: "yes" });
      },
    },
    "its client's registration is removed": {
      reason: "grant_ended",
      status: 401,
      end: ({ client }) =>
        fetch(String(client.registration_client_uri), {
          method: "DELETE",
          headers: { authorization: `Bearer ${client.registration_access_token}` },
        }),
    },
    "a refresh token is used again": {
      reason: "grant_ended",
      status: 401,
      async end({ client, refresh_token }) {
        await refresh(testServer.baseUrl, client, refresh_token);
        await refresh(other, client, refresh_token);
      },
    },
    "its access token expires": {
      reason: "expired_access_token",
      status: 401,
      end: () => (testServer.clock.ahead += 3_601),
    },
    "its session's time is over": {
      reason: "expired_access_token",
      status: 401,
      async prepare(session) {
        testServer.clock.ahead += 3_700;
        const { body } = await refresh(testServer.baseUrl, session.client, session.refresh_token);
        return { ...session, ...body };
      },
      end: () => (testServer.clock.ahead += 3_501),
    },
    "the policy does not let its user in any more": {
      reason: "denied_by_policy",
      status: 401,
      end: () => (rules.inForce = createPolicy({ default: "deny", claims: DEFAULT_CLAIMS, rules: [] })),
    },
    "the policy denies the scope that it needs": {
      reason: "denied_by_policy",
      // Who would be challenged for what is denied would ask in vain.
      status: 200,
      end: () => (rules.inForce = strict("rules:\n  - name: dry\n    deny: { scopes: [weather:read] }\n")),
    },
    "the provider takes the scope away": {
      reason: "insufficient_scope",
      status: 403,
      async end({ client, refresh_token }) {
        testServer.identityProvider.changeUser("alice", { permissions: [] });
        testServer.clock.ahead += 2_100;
        await refresh(other, client, refresh_token);
      },
    },
  };

  for (const [event, { reason, status, prepare, end }] of Object.entries(ends))
    test(`ends when ${event}`, async () => {
      try {
        const signedInBefore = await signedIn();
        const session = (await prepare?.(signedInBefore)) ?? signedInBefore;
        const underWay = await Promise.all(
          Object.entries(running).map(async ([what, how]) => ({
            what,
            how,
            ...(await begin(testServer.url, session, how)),
          })),
        );
        lines.length = 0;
        await end(session);
        for (const { what, how, ...under } of underWay) {
          const { signal, finish, over } = works.get(under.id) as Work;
          await under.ended;
          const last = under.messages.at(-1);
          assert.equal(under.status(), how.streams ? 200 : status, what);
          if (under.status() === 200) {
            assert.equal(last.id, under.id, what);
            assert.equal(last.error.data.reason, reason, what);
            assert.match(last.error.message, /stopped/, what);
          } else {
            const challenge = under.headers()?.get("www-authenticate") ?? "";
            assert.match(challenge, status === 403 ? /insufficient_scope/ : /invalid_token/, what);
          }
          // One that asks has nothing running.
          if (how.tool !== "ask") await eventually(`the tool of ${what} to be told`, () => signal.aborted);
          finish();
          await over;
          assert.doesNotMatch(JSON.stringify(under.messages), /too late|done call/, what);
          const answers = under.messages.filter(({ id }) => id === under.id);
          assert.equal(answers.length, under.status() === 200 ? 1 : 0, what);
        }
        const audited = lines.filter(({ event, decision }) => event === "tool_call" && decision === "revoke");
        assert.deepEqual(
          audited.map(({ tool, reason, outcome }) => `${tool} ${outcome} ${reason}`).sort(),
          underWay.map(({ how }) => `${how.tool} error ${reason}`).sort(),
        );
        const requests = testServer.log.filter((line) => line.msg === "request" && line.reason === reason);
        assert.ok(requests.length >= underWay.length);
      } finally {
        testServer.clock.ahead = 0;
        rules.inForce = open;
        testServer.identityProvider.changeUser("alice", { permissions: ["weather:read"] });
      }
    });
});

describe("running calls of one process", () => {
  async function small(environment: Record<string, string>, t: TestContext) {
    const testServer = await startTestServer({ tools, environment });
    t.after(() => testServer.close());
    const client = await register(testServer.baseUrl);
    const session = async () => ({ client, ...(await signInForTokens(testServer.baseUrl, client)) });
    return { testServer, session };
  }
  const call = { tool: "work", version: OLD, streams: false };
  const stream = { ...call, streams: true };

  test("have so many places for a session, and so many for everybody; who finds none is told to wait", async (t) => {
    const limits = { MAX_RUNNING_CALLS_PER_GRANT: "3", MAX_RUNNING_CALLS: "4" };
    const { testServer, session } = await small(limits, t);
    const [greedy, other] = [await session(), await session()];
    const held = [
      await begin(testServer.url, greedy, call),
      await begin(testServer.url, greedy, stream),
      await begin(testServer.url, greedy, { ...stream, tool: "ask" }),
    ];
    const refused = await callTool(testServer.url, greedy.access_token, "whoami");
    assert.equal(refused.status, 429);
    assert.ok(Number(refused.headers.get("retry-after")) > 0);
    assert.equal(refused.body.id, 1);
    assert.match(refused.body.error.message, /Too many calls of this session/);
    assert.ok(testServer.log.some(({ reason }) => reason === "too_many_running_calls"));

    assert.equal((await callTool(testServer.url, other.access_token, "whoami")).status, 200);
    held.push(await begin(testServer.url, other, call));
    const crowded = await callTool(testServer.url, other.access_token, "whoami");
    assert.equal(crowded.status, 503);
    assert.ok(Number(crowded.headers.get("retry-after")) > 0);

    // What is being waited for can be given: an answer needs no place.
    const id: string = held[2]?.messages.at(-1).id;
    const answer = { action: "accept", content: {} };
    assert.equal(
      (await reply(testServer.url, { accessToken: greedy.access_token, sessionId: "" }, id, answer)).status,
      202,
    );
    for (const under of held) works.get(under.id)?.finish();
    for (const under of held) await under.ended;
    await eventually("a place", async () => {
      return (await callTool(testServer.url, greedy.access_token, "whoami")).status === 200;
    });
  });

  test("of a batch have a place each", async (t) => {
    const { testServer, session } = await small({ MAX_RUNNING_CALLS_PER_GRANT: "3" }, t);
    const { access_token: token } = await session();
    const batch = (of: string, names: string[]) =>
      fetch(testServer.url, {
        method: "POST",
        headers: {
          authorization: `Bearer ${token}`,
          accept: "application/json, text/event-stream",
          "content-type": "application/json",
        },
        body: JSON.stringify(
          names.map((name) => ({
            jsonrpc: "2.0",
            id: name,
            method: "tools/call",
            params: { name: "work", arguments: { id: `${of} ${name}`, streams: false } },
          })),
        ),
      });
    const held = batch("held", ["a", "b"]);
    await eventually("both to run", () => works.has("held a") && works.has("held b"));
    assert.equal((await batch("beyond", ["a", "b"])).status, 429);
    assert.equal(works.has("beyond a"), false);
    assert.equal((await callTool(testServer.url, token, "whoami")).status, 200);

    for (const name of ["held a", "held b"]) works.get(name)?.finish();
    await (await held).text();
    // Larger than all places together: it is served when nothing else is.
    const large = batch("large", ["a", "b", "c", "d"]);
    await eventually("all of it to run", () => works.has("large d"));
    assert.equal((await callTool(testServer.url, token, "whoami")).status, 429);
    for (const name of ["a", "b", "c", "d"]) works.get(`large ${name}`)?.finish();
    assert.equal((await large).status, 200);
  });

  test("that wait behind another one on its connection end when that is lost, and give back what they held", async (t) => {
    const { testServer, session } = await small({ MAX_RUNNING_CALLS_PER_GRANT: "3" }, t);
    const { access_token: token } = await session();
    const { host, hostname, port } = new URL(testServer.url);
    const names = ["first", "second", "third"].map((name) => `pipelined ${name}`);
    const requests = names.map((name) => {
      const params = { name: "work", arguments: { id: name, streams: false } };
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params });
      return [
        "POST /mcp HTTP/1.1",
        `Host: ${host}`,
        `Authorization: Bearer ${token}`,
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        `Content-Length: ${body.length}`,
        "",
        body,
      ].join("\r\n");
    });
    const client = connect(Number(port), hostname);
    t.after(() => client.destroy());
    client.write(requests.join(""));
    await eventually("all of them to run", () => names.every((name) => works.has(name)));
    assert.equal((await callTool(testServer.url, token, "whoami")).status, 429);
    client.destroy();
    await eventually("the end of all of them", () => names.every((name) => works.get(name)?.signal.aborted));
    assert.equal((await callTool(testServer.url, token, "whoami")).status, 200);
  });

  test("that finish in the moment in which their session ends have no result", async (t) => {
    const { testServer, session } = await small({}, t);
    for (const how of [call, stream]) {
      const mine = await session();
      const under = await begin(testServer.url, mine, how);
      const revoked = revoke(testServer.baseUrl, mine.client, mine.access_token);
      await eventually("its end", async () => (await testServer.grantOf(mine.access_token)) === undefined);
      works.get(under.id)?.finish();
      await Promise.all([revoked, under.ended]);
      assert.doesNotMatch(JSON.stringify(under.messages), /done call/);
    }
  });

  test("take so long, if the operator says how long", async (t) => {
    const { testServer, session } = await small({ MAX_CALL_SECONDS: "1" }, t);
    const under = await begin(testServer.url, await session(), stream);
    await under.ended;
    assert.equal(under.messages.at(-1).error.data.reason, "call_too_long");
    assert.equal(works.get(under.id)?.signal.aborted, true);
  });

  test("are not begun for whoever hangs up while their session is looked at again", async (t) => {
    const { testServer, session } = await small({}, t);
    const mine = await session();
    const params = { name: "work", arguments: { id: "nobody waits", streams: false } };
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params });
    const { hostname, port } = new URL(testServer.url);
    const socket = connect(Number(port), hostname);
    socket.write(
      `POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${mine.access_token}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body.slice(0, 10));
    await callTool(testServer.url, mine.access_token, "whoami");
    await delay(300);
    const finish = () => socket.write(body.slice(10));
    await whileLookedUp(testServer, finish, () => {
      socket.destroy();
      return hangUpNoticed(testServer);
    });
    await callTool(testServer.url, mine.access_token, "whoami");
    assert.equal(works.has("nobody waits"), false);
  });

  test("began with a token that was good when the last byte of the body came", async (t) => {
    const { testServer, session } = await small({}, t);
    const mine = await session();
    const body = JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: "whoami", arguments: {} },
    });
    const { hostname, port } = new URL(testServer.url);
    const socket = connect(Number(port), hostname);
    const answered = receivedUntilClosed(socket);
    socket.write(
      `POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${mine.access_token}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body.slice(0, 10));
    // Its headers are there when a request that came later on another connection was answered; then it takes its time.
    await callTool(testServer.url, mine.access_token, "whoami");
    await delay(300);
    await revoke(testServer.baseUrl, mine.client, mine.access_token);
    socket.write(body.slice(10));
    assert.match(await answered, /^HTTP\/1\.1 401 /);
  });
});
