/**
 * What the transport asks for, at our endpoint and in both protocol generations. The SDK does most of it; that it is
 * done behind our scope check and on the fast path (`mcp/transport/direct-transport.ts`) is shown here.
 */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { z } from "zod";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const NEW = "2026-07-28";
const OLD = "2025-11-25";
const META = {
  "io.modelcontextprotocol/protocolVersion": NEW,
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};

const tools = ["zebra", "ant", "mole"].map((name) =>
  defineTool({ name, description: name, scopes: name === "mole" ? ["weather:read"] : [], run: () => name }),
);
const counts = defineTool({
  name: "counts",
  description: "Tells how far it is",
  input: z.object({}),
  async run(_, { progress }) {
    await progress(1, 2);
    return "two";
  },
});
const resources = ["b", "a"].map((name) =>
  defineResource({ uri: `test://${name}`, name, description: name, read: () => name }),
);
const templates = ["d", "c"].map((name) =>
  defineResource({ uriTemplate: `test-${name}://{id}`, name, description: name, read: ({ id }) => id ?? "" }),
);
const prompts = ["y", "x"].map((name) => definePrompt({ name, description: name, run: () => name }));

interface Answer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  messages: any[];
}

describe("the transport", () => {
  /** Has weather:read. */
  let alice: string;
  /** Has no scope. */
  let bob: string;
  const testServer = useTestServer({
    tools: [...tools, counts],
    resources: [...resources, ...templates],
    prompts,
  });
  before(async () => {
    const client = await register(testServer.baseUrl);
    alice = (await signInForTokens(testServer.baseUrl, client)).access_token;
    bob = (await signInForTokens(testServer.baseUrl, client, { login: "bob" })).access_token;
  });

  async function send(
    body: unknown,
    headers: Record<string, string>,
    { token = alice, method = "POST" }: { token?: string | undefined; method?: string } = {},
  ): Promise<Answer> {
    const response = await fetch(testServer.url, {
      method,
      headers: {
        accept: "application/json, text/event-stream",
        ...(token !== "" && { authorization: `Bearer ${token}` }),
        ...(method === "POST" && { "content-type": "application/json" }),
        ...headers,
      },
      ...(method === "POST" && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const data = text.split("\n").filter((line) => line.startsWith("data: "));
    return {
      status: response.status,
      headers: response.headers,
      messages:
        data.length > 0 ? data.map((line) => JSON.parse(line.slice(6))) : [JSON.parse(text || "null")],
    };
  }

  const request = (method: string, params: object = {}) => ({ jsonrpc: "2.0", id: 1, method, params });
  const newHeaders = (method: string, name?: string) => ({
    "mcp-protocol-version": NEW,
    "mcp-method": method,
    ...(name !== undefined && { "mcp-name": name }),
  });
  const oldHeaders = { "mcp-protocol-version": OLD };

  /** The same in each generation, as its clients send it. */
  const generations = {
    [OLD]: (method: string, params: object = {}, token?: string) =>
      send(request(method, params), oldHeaders, { token }),
    [NEW]: (method: string, params: { name?: string; uri?: string; _meta?: object } = {}, token?: string) =>
      send(
        request(method, { ...params, _meta: { ...META, ...params._meta } }),
        newHeaders(method, params.name ?? params.uri),
        { token },
      ),
  };
  const call = { name: "ant", arguments: {} };

  for (const [version, ask] of Object.entries(generations)) {
    test(`T1 POST only (${version}): there is no stream to open and no session to end`, async () => {
      for (const method of ["GET", "DELETE", "PUT"]) {
        const headers = version === NEW ? newHeaders("tools/list") : oldHeaders;
        const answer = await send(undefined, headers, { method });
        assert.equal(answer.status, 405, method);
        assert.equal(answer.headers.get("allow"), "POST");
      }
      assert.equal((await ask("tools/list")).status, 200);
    });

    test(`T4 what is unknown is said to be (${version}): a method, and one of a capability that is not there`, async () => {
      for (const method of ["tools/nonsense", "completion/complete", "resources/subscribe"]) {
        const { status, messages } = await ask(method);
        assert.equal(messages[0].error.code, -32601, method);
        // The new generation says it by the status as well.
        assert.equal(status, version === NEW ? 404 : 200);
      }
    });

    test(`T6 lists depend on who asks, and say so (${version})`, async () => {
      const lists = ["tools/list", "resources/list", "resources/templates/list", "prompts/list"];
      for (const method of lists) {
        const { messages } = await ask(method);
        const { ttlMs, cacheScope } = messages[0].result;
        // Only the new generation has words for it.
        assert.deepEqual([ttlMs, cacheScope], version === NEW ? [60_000, "private"] : [undefined, undefined]);
      }
      const names = async (token: string) =>
        (await ask("tools/list", {}, token)).messages[0].result.tools.map(
          (tool: { name: string }) => tool.name,
        );
      assert.ok((await names(alice)).includes("mole"));
      assert.ok(!(await names(bob)).includes("mole"));
    });

    test(`T7 lists are in the order of their declaration, every time (${version})`, async () => {
      const listed = async (method: string, kind: string) =>
        (await ask(method)).messages[0].result[kind].map(({ name }: { name: string }) => name);
      for (let i = 0; i < 3; i++) {
        assert.deepEqual((await listed("tools/list", "tools")).slice(-4), ["zebra", "ant", "mole", "counts"]);
        assert.deepEqual(await listed("resources/list", "resources"), ["b", "a"]);
        assert.deepEqual(await listed("resources/templates/list", "resourceTemplates"), ["d", "c"]);
        assert.deepEqual(await listed("prompts/list", "prompts"), ["y", "x"]);
      }
    });

    test(`T8 what a client hears while it waits has no request in it (${version})`, async () => {
      const { messages } = await ask("tools/call", { name: "counts", ...{ _meta: { progressToken: 1 } } });
      assert.deepEqual(
        messages.map(({ method, id }) => [method, id]),
        [
          ["notifications/progress", undefined],
          [undefined, 1],
        ],
      );
    });

    test(`A15 no session is opened, and a session id is nobody's credential (${version})`, async () => {
      const headers = version === NEW ? newHeaders("tools/call", "whoami") : oldHeaders;
      const params = { name: "whoami", arguments: {}, ...(version === NEW && { _meta: META }) };
      const inSession = { ...headers, "mcp-session-id": alice };
      const stranger = await send(request("tools/call", params), inSession, { token: "" });
      assert.equal(stranger.status, 401);
      const asBob = await send(request("tools/call", params), inSession, { token: bob });
      assert.equal(asBob.messages[0].result.structuredContent.subject, "bob");
      assert.equal(asBob.headers.get("mcp-session-id"), null);
    });
  }

  test("A15 the handshake of the old generation opens no session", async () => {
    const params = { protocolVersion: OLD, capabilities: {}, clientInfo: { name: "test", version: "1" } };
    const { status, headers, messages } = await send(request("initialize", params), {});
    assert.equal(status, 200);
    assert.equal(messages[0].result.protocolVersion, OLD);
    // It says what the client can be asked, and is kept nowhere.
    const sessionId = headers.get("mcp-session-id") ?? "";
    const inSession = { ...oldHeaders, "mcp-session-id": sessionId };
    assert.equal((await send(request("tools/list"), inSession, { token: "" })).status, 401);
    assert.equal((await send(request("tools/list"), { ...oldHeaders, "mcp-session-id": "x" })).status, 200);
    assert.equal((await send(undefined, inSession, { method: "DELETE" })).status, 405);
  });

  test("A16 a requestState authenticates nobody, and changes nothing", async () => {
    const state = Buffer.from(JSON.stringify({ subject: "alice", token: alice })).toString("base64url");
    const params = { name: "whoami", arguments: {}, requestState: state, inputResponses: {}, _meta: META };
    const headers = newHeaders("tools/call", "whoami");
    assert.equal((await send(request("tools/call", params), headers, { token: "" })).status, 401);
    const foreign = await send(request("tools/call", params), headers, { token: bob });
    assert.equal(foreign.messages[0].error.code, -32602);
    const { requestState: _, ...withoutState } = params;
    const { messages } = await send(request("tools/call", withoutState), headers, { token: bob });
    const { result } = messages[0];
    assert.equal(result.structuredContent.subject, "bob");
    assert.equal(result.resultType, "complete");
    assert.equal("requestState" in result, false);
    const hidden = { ...params, name: "mole" };
    assert.equal(
      (await send(request("tools/call", hidden), newHeaders("tools/call", "mole"), { token: bob })).status,
      403,
    );
  });

  test("T2 headers that do not agree with the body are refused, and nothing runs", async () => {
    const named = newHeaders("tools/call", "ant");
    const { "mcp-method": _m, ...noMethod } = named;
    const { "mcp-name": _n, ...noName } = named;
    const { "mcp-protocol-version": _v, ...noVersion } = named;
    const disagreeing: Array<[string, Record<string, string>]> = [
      ["another method", { ...named, "mcp-method": "tools/list" }],
      ["no method", noMethod],
      ["another name", { ...named, "mcp-name": "zebra" }],
      ["no name", noName],
      ["another version", { ...named, "mcp-protocol-version": OLD }],
      ["no version", noVersion],
    ];
    for (const [what, headers] of disagreeing) {
      const { status, messages } = await send(request("tools/call", { ...call, _meta: META }), headers);
      assert.deepEqual([status, messages[0].error.code], [400, -32020], what);
    }
    const good = await send(request("tools/call", { ...call, _meta: META }), named);
    assert.equal(good.messages[0].result.content[0].text, "ant");
  });

  test("T3 a request without its envelope is refused by name", async () => {
    const headers = newHeaders("tools/call", "ant");
    const bare = await send(request("tools/call", call), headers);
    assert.deepEqual([bare.status, bare.messages[0].error.code], [400, -32602]);
    for (const name of ["protocolVersion", "clientCapabilities"]) {
      const key = `io.modelcontextprotocol/${name}`;
      const _meta = { ...META, [key]: undefined };
      const { status, messages } = await send(request("tools/call", { ...call, _meta }), headers);
      assert.deepEqual([status, messages[0].error.code], [400, -32602], name);
      assert.match(JSON.stringify(messages[0].error), new RegExp(key));
    }
  });

  test("T4 an unknown version is refused with those that are known", async () => {
    const key = "io.modelcontextprotocol/protocolVersion";
    const later = await send(request("tools/call", { ...call, _meta: { ...META, [key]: "2099-01-01" } }), {
      ...newHeaders("tools/call", "ant"),
      "mcp-protocol-version": "2099-01-01",
    });
    assert.deepEqual([later.status, later.messages[0].error.code], [400, -32022]);
    assert.deepEqual(later.messages[0].error.data.supported, [NEW]);
    const earlier = await send(request("tools/list"), { "mcp-protocol-version": "1999-01-01" });
    assert.equal(earlier.status, 400);
    assert.match(earlier.messages[0].error.message, /supported versions: 2025-11-25/);
    const handshake = {
      protocolVersion: "1999-01-01",
      capabilities: {},
      clientInfo: { name: "t", version: "1" },
    };
    const { messages } = await send(request("initialize", handshake), {});
    assert.equal(messages[0].result.protocolVersion, OLD, "what it speaks instead");
  });

  test("T4 a capability of the client that nobody knows harms nothing", async () => {
    const key = "io.modelcontextprotocol/clientCapabilities";
    const _meta = { ...META, [key]: { telepathy: { range: 7 }, experimental: { odd: {} } } };
    const { messages } = await send(
      request("tools/call", { ...call, _meta }),
      newHeaders("tools/call", "ant"),
    );
    assert.equal(messages[0].result.content[0].text, "ant");
  });

  test("T5 server/discover says what there is, to whoever may come in", async () => {
    const { status, messages } = await generations[NEW]("server/discover");
    assert.equal(status, 200);
    const { supportedVersions, capabilities, cacheScope, _meta } = messages[0].result;
    assert.deepEqual(supportedVersions, [NEW]);
    assert.deepEqual(Object.keys(capabilities).sort(), ["logging", "prompts", "resources", "tools"]);
    assert.equal(cacheScope, "private");
    assert.equal(_meta["io.modelcontextprotocol/serverInfo"].name, "Test server");
    assert.equal((await generations[NEW]("server/discover", {}, "")).status, 401);
    assert.equal((await generations[OLD]("server/discover")).messages[0].error.code, -32601);
  });
});
