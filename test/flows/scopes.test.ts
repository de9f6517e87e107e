/**
 * What follows from a tool's scopes: the lists, the 403 with all that is needed, the consent page, the metadata. How clients
 * step up is in official-clients.test.ts.
 */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { anyOf } from "../../src/oauth/scope-requirement.ts";
import { requireScopes } from "../../src/resource/access-token-context.ts";
import {
  authorizeUrl,
  callTool,
  getJson,
  newBrowser,
  postJson,
  type Registered,
  redeem,
  register,
  rpc,
  signInForTokens,
  toolNames,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { ALICE, startTestServer, type TestServerOptions, useTestServer } from "../support/test-server.ts";

const scopes = {
  "orders:read": "See your orders",
  "orders:write": { description: "Place orders", whenNeeded: true },
  orders: {
    description: "Everything about orders",
    includes: ["orders:read", "orders:write"],
    whenNeeded: true,
  },
  "support:read": { description: "See everybody's orders", whenNeeded: true },
};

const tools = [
  defineTool({
    name: "list_orders",
    description: "Lists orders",
    scopes: [anyOf("orders:read", "support:read")],
    run: () => "no orders",
  }),
  defineTool({
    name: "place_order",
    description: "Places one",
    scopes: ["orders:write"],
    run: () => "placed",
  }),
  defineTool({
    name: "orders",
    description: "Reads or writes, by its arguments",
    input: z.object({ write: z.boolean(), streamFirst: z.boolean().optional() }),
    async run({ write, streamFirst }, { progress }) {
      if (streamFirst) {
        await progress(1, 2, "looking");
        await delay(50); // it is on its way
      }
      if (write) requireScopes("orders:read", "orders:write");
      return "done";
    },
  }),
];

const resources = [
  defineResource({
    uri: "orders://all",
    name: "all",
    description: "All orders",
    scopes: ["orders:read"],
    read: () => "[]",
  }),
  defineResource({
    uriTemplate: "orders://order/{id}",
    name: "order",
    description: "One order",
    scopes: ["orders:write"],
    read: ({ id }) => `order ${id}`,
  }),
  defineResource({ uri: "orders://help", name: "help", description: "Help", read: () => "help" }),
];

const prompts = [
  definePrompt({
    name: "reorder",
    description: "Order again",
    scopes: ["orders:write"],
    args: z.object({ id: z.string().describe("Which order"), note: z.string().optional() }),
    run: ({ id }) => `Order ${id} again.`,
  }),
  definePrompt({ name: "greet", description: "Greet", run: () => "Hello." }),
];

const everything = Object.keys(scopes);
const CAROL = { ...ALICE, subject: "carol", permissions: ["orders"] };
const serverOptions: TestServerOptions = {
  tools,
  resources,
  prompts,
  scopes,
  apiScopes: everything,
  users: [{ ...ALICE, permissions: [...everything, "weather:read"] }, CAROL],
};

describe("one declaration of scopes", () => {
  let client: Registered;
  const testServer = useTestServer(serverOptions);
  before(async () => {
    client = await register(testServer.baseUrl);
  });

  const tokenFor = async (scope: string | undefined, login = "alice") =>
    (await signInForTokens(testServer.baseUrl, client, { login, parameters: { scope } })).access_token;

  test("A4 the resource's metadata name what basic use needs, the server's name all", async () => {
    const resource = await getJson(`${testServer.baseUrl}/.well-known/oauth-protected-resource/mcp`);
    assert.deepEqual(resource.scopes_supported, ["weather:read", "orders:read"]);
    const server = await getJson(`${testServer.baseUrl}/.well-known/oauth-authorization-server`);
    assert.deepEqual(server.scopes_supported, ["weather:read", ...everything, "offline_access"]);
  });

  test("a client that names no scope is given the usual ones", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client, { parameters: { scope: undefined } });
    assert.equal(tokens.scope, "weather:read orders:read");
  });

  test("the consent page has the words of every scope, and what a whole includes", async () => {
    const url = authorizeUrl(testServer.baseUrl, client, { scope: "orders orders:write" });
    const page = await (await fetch(url)).text();
    assert.match(page, /Everything about orders/);
    assert.match(page, /with orders:read, orders:write/);
    assert.match(page, /Place orders/);
    assert.doesNotMatch(page, /everybody/);
  });

  test("lists show what the granted scopes allow", async () => {
    const token = await tokenFor("orders:read");
    assert.deepEqual(await toolNames(testServer.url, token), [
      "whoami",
      "say_hello",
      "list_orders",
      "orders",
    ]);
    const listed = async (method: string) => (await rpc(testServer.url, token, method)).body.result;
    const uris = (await listed("resources/list")).resources.map(({ uri }: { uri: string }) => uri);
    assert.deepEqual(uris, ["orders://all", "orders://help"]);
    assert.deepEqual((await listed("resources/templates/list")).resourceTemplates, []);
    assert.deepEqual(
      (await listed("prompts/list")).prompts.map(({ name }: { name: string }) => name),
      ["greet"],
    );
  });

  test("A7 A8 a hidden tool, resource or prompt is answered with 403 and all that is needed", async () => {
    const token = await tokenFor("weather:read");
    const calls: Array<[method: string, params: object]> = [
      ["tools/call", { name: "place_order", arguments: {} }],
      ["resources/read", { uri: "orders://order/7" }],
      ["prompts/get", { name: "reorder", arguments: { id: "7" } }],
    ];
    for (const [method, params] of calls) {
      const answer = await rpc(testServer.url, token, method, params);
      assert.equal(answer.status, 403, method);
      const challenge = answer.headers.get("www-authenticate") ?? "";
      assert.match(challenge, /error="insufficient_scope"/);
      assert.match(challenge, /scope="weather:read orders:write"/);
      assert.match(challenge, /resource_metadata="[^"]+\/\.well-known\/oauth-protected-resource\/mcp"/);
    }
  });

  test("A9 a whole lets its parts be used, whoever granted it", async () => {
    const token = await tokenFor("orders");
    assert.equal(
      (await callTool(testServer.url, token, "place_order")).body.result.content[0].text,
      "placed",
    );
    const read = await rpc(testServer.url, token, "resources/read", { uri: "orders://order/a%20b" });
    assert.equal(read.body.result.contents[0].text, "order a b");
    const got = await rpc(testServer.url, token, "prompts/get", { name: "reorder", arguments: { id: "7" } });
    assert.equal(got.body.result.messages[0].content.text, "Order 7 again.");
    // Carol has "orders" at the provider, and this client asked for a part of it only.
    const part = await tokenFor("orders:read", "carol");
    assert.equal((await callTool(testServer.url, part, "list_orders")).status, 200);
    assert.equal((await callTool(testServer.url, part, "place_order")).status, 403);
  });

  test("one of several alternatives is enough; the challenge names the first", async () => {
    const support = await tokenFor("support:read");
    assert.equal((await callTool(testServer.url, support, "list_orders")).status, 200);
    const neither = await callTool(testServer.url, await tokenFor("weather:read"), "list_orders");
    assert.equal(neither.status, 403);
    assert.match(neither.headers.get("www-authenticate") ?? "", /scope="weather:read orders:read"/);
  });

  test("A9 who unticks a part on the consent page does not grant the whole", async () => {
    const url = authorizeUrl(testServer.baseUrl, client, { scope: "orders orders:read orders:write" });
    const callback = await signIn(newBrowser(), url, { login: "alice", untick: ["orders:write"] });
    const { body } = await redeem(testServer.baseUrl, client, callback.searchParams.get("code"));
    assert.equal(body.scope, "orders:read");
    const alone = authorizeUrl(testServer.baseUrl, client, { scope: "orders weather:read" });
    const without = await signIn(newBrowser(), alone, { login: "alice", untick: ["orders"] });
    const answer = await redeem(testServer.baseUrl, client, without.searchParams.get("code"));
    assert.equal(answer.body.scope, "weather:read");
  });

  describe("requireScopes() in a tool", () => {
    const modern = {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientInfo": { name: "t", version: "1" },
      "io.modelcontextprotocol/clientCapabilities": {},
    };
    const message = (args: object, era: "2025" | "2026", { id = 1, progressToken = "" } = {}) => {
      const _meta = {
        ...(progressToken && { progressToken }),
        ...(era === "2026" && modern),
      };
      return { jsonrpc: "2.0", id, method: "tools/call", params: { name: "orders", arguments: args, _meta } };
    };
    const send = async (body: object, era: "2025" | "2026", name = "orders") =>
      postJson(testServer.url, body, {
        authorization: `Bearer ${await tokenFor("weather:read")}`,
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": era === "2026" ? "2026-07-28" : "2025-06-18",
        ...(era === "2026" && { "mcp-method": "tools/call", "mcp-name": name }),
      });
    const call = (args: object, era: "2025" | "2026", progressToken = "") =>
      send(message(args, era, { progressToken }), era);

    for (const era of ["2025", "2026"] as const) {
      test(`${era}: lacking them is the same 403 while nothing was sent`, async () => {
        const answer = await call({ write: true }, era);
        assert.equal(answer.status, 403);
        assert.match(
          answer.headers.get("www-authenticate") ?? "",
          /error="insufficient_scope".*scope="weather:read orders:read orders:write"/,
        );
        assert.equal(answer.body.error, "insufficient_scope");
      });

      test(`${era}: nothing is needed for other arguments`, async () => {
        const answer = await call({ write: false }, era);
        assert.equal(answer.status, 200);
        assert.equal(answer.body.result.content[0].text, "done");
      });

      test(`${era}: after something was sent it is a tool error that names the scope`, async () => {
        const answer = await call({ write: true, streamFirst: true }, era, "p1");
        assert.equal(answer.status, 200);
        assert.equal(answer.body.result.isError, true);
        assert.match(answer.body.result.content[0].text, /orders:read, orders:write/);
      });
    }

    test("lacking them is the same 403 for a request that the SDK's own handler serves", async () => {
      const encoded = `=?base64?${btoa("orders")}?=`; // which the direct transport leaves to it
      const answer = await send(message({ write: true }, "2026"), "2026", encoded);
      assert.equal(answer.status, 403);
      assert.match(
        answer.headers.get("www-authenticate") ?? "",
        /error="insufficient_scope".*scope="weather:read orders:read orders:write"/,
      );
      assert.equal((await send(message({ write: false }, "2026"), "2026", encoded)).status, 200);
    });

    test("in a batch the others keep their results: it is a tool error", async () => {
      const batch = [message({ write: true }, "2025"), message({ write: false }, "2025", { id: 2 })];
      const { status, headers, body } = await postBatch(batch);
      assert.equal(status, 200);
      assert.equal(headers.get("www-authenticate"), null);
      assert.match(body, /"isError":true/);
      assert.match(body, /orders:read, orders:write/);
      assert.match(body, /"text":"done"/);
    });

    async function postBatch(batch: readonly object[]) {
      const answer = await fetch(testServer.url, {
        method: "POST",
        body: JSON.stringify(batch),
        headers: {
          authorization: `Bearer ${await tokenFor("weather:read")}`,
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          "mcp-protocol-version": "2025-03-26",
        },
      });
      return { status: answer.status, headers: answer.headers, body: await answer.text() };
    }
  });
});

describe("TOOLS_LISTED=all", () => {
  test("also shows what needs more scopes; calling it is still 403", async () => {
    const testServer = await startTestServer({ ...serverOptions, environment: { TOOLS_LISTED: "all" } });
    try {
      const client = await register(testServer.baseUrl);
      const { access_token: token } = await signInForTokens(testServer.baseUrl, client, {
        parameters: { scope: "weather:read" },
      });
      assert.ok((await toolNames(testServer.url, token)).includes("place_order"));
      assert.equal((await callTool(testServer.url, token, "place_order")).status, 403);
    } finally {
      await testServer.close();
    }
  });
});
