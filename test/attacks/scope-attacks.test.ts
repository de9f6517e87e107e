/** Attacks on scopes: to run what was not granted, to be given more than was consented to, to stop the server. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { before, beforeEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { withConsentedScopes } from "../../src/authorization/consent.ts";
import type { AwaitingConsent } from "../../src/login/transaction.ts";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { type ScopeCatalogue, scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { getAccessToken, requireScopes } from "../../src/resource/access-token-context.ts";
import { eventually } from "../support/eventually.ts";
import { held } from "../support/held.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  newBrowser,
  postForm,
  type Registered,
  redeem,
  refresh,
  register,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { ALICE, BOB, startTestServer, useTestServer } from "../support/test-server.ts";

const scopes = {
  "orders:read": "See orders",
  "orders:write": "Place orders",
  orders: { description: "All about orders", includes: ["orders:*"] },
};

/** What ran, and for whom. */
let ran: string[] = [];
/** Where the tool "held" waits. */
const inTool = held();
const note = (what: string) => {
  ran.push(`${what} for ${getAccessToken().subject}`);
  return what;
};

const tools = [
  defineTool({
    name: "launch",
    description: "x",
    scopes: ["weather:read"],
    run: () => note("launch"),
  }),
  defineTool({
    name: "who",
    description: "x",
    input: z.object({ ms: z.number() }),
    async run({ ms }) {
      await delay(ms);
      return getAccessToken().subject;
    },
  }),
  defineTool({
    name: "step",
    description: "x",
    input: z.object({ ms: z.number() }),
    async run({ ms }) {
      await delay(ms);
      requireScopes("weather:read");
      return note("step");
    },
  }),
  defineTool({
    name: "held",
    description: "x",
    async run() {
      note("held");
      await inTool.wait();
      requireScopes("weather:read");
      return note("released");
    },
  }),
  defineTool({
    name: "hang",
    description: "x",
    run() {
      note("hang");
      return new Promise<string>(() => {});
    },
  }),
];
const resources = [
  defineResource({
    uri: "orders://secret",
    name: "secret",
    description: "x",
    scopes: ["weather:read"],
    read: () => note("secret"),
  }),
  defineResource({
    uriTemplate: "orders://{id}",
    name: "order",
    description: "x",
    read: ({ id }) => note(`order ${id}`),
  }),
  defineResource({
    uriTemplate: "report://{from}-{to}",
    name: "report",
    description: "x",
    read: ({ from, to }) => note(`report ${from} ${to}`),
  }),
];
const prompts = [
  definePrompt({ name: "plan", description: "x", scopes: ["weather:read"], run: () => note("plan") }),
];

describe("attacks on scopes", () => {
  const lines: Array<Record<string, unknown>> = [];
  let client: Registered;
  /** Has weather:read. */
  let alice: string;
  /** Has nothing. */
  let bob: string;
  const testServer = useTestServer({
    tools,
    resources,
    prompts,
    scopes,
    apiScopes: Object.keys(scopes),
    users: [ALICE, BOB, { ...ALICE, subject: "olga", permissions: ["orders"] }],
    auditStream: { write: (line) => lines.push(JSON.parse(line)) },
  });
  before(async () => {
    client = await register(testServer.baseUrl);
    alice = (await signInForTokens(testServer.baseUrl, client)).access_token;
    bob = (await signInForTokens(testServer.baseUrl, client, { login: "bob" })).access_token;
  });
  beforeEach(() => {
    ran = [];
    lines.length = 0;
  });

  const call = (name: unknown, args: unknown = {}, id: unknown = 1) => ({
    jsonrpc: "2.0",
    id,
    method: "tools/call",
    params: { name, arguments: args },
  });

  function httpMessage(token: string, body: string, { method = "POST", host = "localhost" } = {}): string {
    return [
      `${method} /mcp HTTP/1.1`,
      `Host: ${host}`,
      `Authorization: Bearer ${token}`,
      "Accept: application/json, text/event-stream",
      ...(body === ""
        ? []
        : ["Content-Type: application/json", `Content-Length: ${Buffer.byteLength(body)}`]),
      "",
      body,
    ].join("\r\n");
  }

  /** Writes what no HTTP client would, reads until it is `enough` or the server closes, and hangs up. */
  async function onSocket(text: string, enough: (read: string) => boolean): Promise<string> {
    const socket = connect(Number(new URL(testServer.baseUrl).port), "127.0.0.1");
    let [read, isClosed] = ["", false];
    socket.on("data", (chunk) => {
      read += chunk;
    });
    socket
      .on("error", () => {})
      .on("close", () => {
        isClosed = true;
      });
    socket.write(text);
    await eventually("enough of an answer", () => isClosed || enough(read));
    socket.destroy();
    return read;
  }

  async function post(body: unknown, headers: Record<string, string> = {}, token = bob) {
    const response = await fetch(testServer.url, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": "2025-06-18",
        ...headers,
      },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    return { status: response.status, text: await response.text() };
  }

  describe("refused and harmless requests", () => {
    const { params: wanted, ...bare } = call("launch");
    const asks = (method: string, params: object) => ({ jsonrpc: "2.0", id: 1, method, params });
    const challenged: Array<[string, unknown]> = [
      ["a notification", { jsonrpc: "2.0", method: "tools/call", params: wanted }],
      ["id null", { ...bare, id: null, params: wanted }],
      ["JSON-RPC 1.0", { ...bare, jsonrpc: "1.0", params: wanted }],
      ["a task", { ...bare, params: { ...wanted, task: { ttl: 1_000 } } }],
      ["hidden in a batch", [call("who", { ms: 0 }, 1), call("launch", {}, 2)]],
      ["twice the same id", [call("launch"), call("launch")]],
      [
        "a name given twice",
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"who","name":"launch"}}',
      ],
      ["a resource", asks("resources/read", { uri: "orders://secret" })],
      ["a prompt", asks("prompts/get", { name: "plan", arguments: [] })],
    ];
    for (const [how, body] of challenged)
      for (const version of ["2025-06-18", "2026-07-28"])
        test(`${how} (${version}) is challenged and does not run`, async () => {
          const answer = await post(body, { "mcp-protocol-version": version });
          assert.equal(answer.status, 403, answer.text);
          assert.deepEqual(ran, []);
          assert.equal(lines.at(-1)?.reason, "insufficient_scope");
        });

    const odd: Array<[string, unknown]> = [
      ["params as a list", { ...bare, params: ["launch"] }],
      ["params in a list", { ...bare, params: [wanted] }],
      ["a name in a list", call(["launch"])],
      ["a name in an object", call({ toString: "launch" })],
      [
        "a name by prototype",
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"__proto__":{"name":"launch"}}}',
      ],
      ["a method in a list", { ...bare, method: ["tools/call"], params: wanted }],
      ["a batch in a batch", [[call("launch")]]],
      ["a name with a space", call("launch ")],
      ["a uri in a list", asks("resources/read", { uri: ["orders://secret"] })],
      ["a subscription", asks("resources/subscribe", { uri: "orders://secret" })],
      [
        "completion",
        asks("completion/complete", {
          ref: { type: "ref/prompt", name: "plan" },
          argument: { name: "a", value: "" },
        }),
      ],
      ["a thousand calls at once", Array.from({ length: 1_000 }, (_, id) => call("step", { ms: 0 }, id))],
    ];
    for (const [how, body] of odd)
      test(`${how} runs nothing and breaks nothing`, async () => {
        const answer = await post(body);
        assert.ok(answer.status < 500, answer.text);
        assert.doesNotMatch(answer.text, /"result"/);
        assert.deepEqual(ran, []);
      });

    test("calls of two people, pipelined on one connection, stay apart: in tools, answers and the audit log", async () => {
      const slow = httpMessage(alice, JSON.stringify(call("who", { ms: 30 })));
      const fast = httpMessage(bob, JSON.stringify(call("who", { ms: 0 })));
      const names = (read: string) => [...read.matchAll(/"text":"(\w+)"/g)].map(([, name]) => name);
      const read = await onSocket(slow + fast + slow + fast, (text) => names(text).length === 4);
      assert.deepEqual(names(read), ["alice", "bob", "alice", "bob"]);
      const ids = [...read.matchAll(/x-request-id: (\S+)/gi)].map(([, id]) => id);
      const subjects = ids.map((id) => lines.find(({ requestId }) => requestId === id)?.subject);
      assert.deepEqual(subjects, ["alice", "bob", "alice", "bob"]);
    });

    test("requireScopes in a hundred calls at once refuses those who lack the scope, and nobody else", async () => {
      const calls = Array.from({ length: 100 }, (_, i) => [i % 2 === 0 ? alice : bob, (i * 7) % 20] as const);
      const answers = await Promise.all(
        calls.map(([token, ms]) => callTool(testServer.url, token, "step", { ms })),
      );
      for (const [i, { status }] of answers.entries()) assert.equal(status, i % 2 === 0 ? 200 : 403);
      assert.deepEqual([...new Set(ran)], ["step for alice"]);
    });

    test("requireScopes after the client went away: refused, written down, no error", async () => {
      const from = testServer.log.length;
      await onSocket(httpMessage(bob, JSON.stringify(call("held"))), () => ran.includes("held for bob"));
      await eventually("a line of the log", () => lines.length >= 1);
      inTool.letGo();
      await eventually("two lines of the log", () => lines.length >= 2);
      assert.deepEqual(
        lines.map(({ tool, reason }) => [tool, reason]),
        [
          ["held", "client_gone"],
          ["held", "insufficient_scope"],
        ],
      );
      assert.deepEqual(
        testServer.log.slice(from).filter(({ level }) => Number(level) > 30),
        [],
      );
    });

    test("a crafted consent form is given nothing that was not asked for", async () => {
      const browser = newBrowser();
      const url = authorizeUrl(testServer.baseUrl, client, { scope: "orders:read" });
      const page = await browser.get(url);
      const form = /name="request" value="([^"]+)"/.exec(page.body)?.[1] ?? "";
      const answer = await fetch(`${testServer.baseUrl}/consent`, {
        method: "POST",
        redirect: "manual",
        headers: { cookie: browser.cookieHeader(testServer.baseUrl), origin: testServer.baseUrl },
        body: new URLSearchParams([
          ["request", form],
          ["decision", "approve"],
          ...["orders", "orders:read", "orders:write", "weather:read"].map((scope) => ["scope", scope]),
        ] as [string, string][]),
      });
      assert.equal(answer.status, 303);
      const asked = new URL(answer.headers.get("location") ?? "").searchParams.get("scope")?.split(" ") ?? [];
      assert.deepEqual(
        asked.filter((scope) => /orders|weather/.test(scope)),
        ["orders:read"],
      );
    });

    test("a refresh may go down and up again within the grant, and never beyond it", async () => {
      const tokens = await signInForTokens(testServer.baseUrl, client, {
        login: "olga",
        parameters: { scope: "orders:read orders:write" },
      });
      const down = await refresh(testServer.baseUrl, client, tokens.refresh_token, { scope: "orders:read" });
      assert.equal(down.body.scope, "orders:read");
      for (const scope of ["orders", "orders:read weather:read", "constructor weather:read"]) {
        const wider = await refresh(testServer.baseUrl, client, down.body.refresh_token, { scope });
        assert.deepEqual([wider.status, wider.body.error], [400, "invalid_scope"]);
      }
      const up = await refresh(testServer.baseUrl, client, down.body.refresh_token, { scope: "constructor" });
      assert.equal(up.body.scope, "orders:read orders:write");
    });
  });

  test("a URI that fits no template costs no more than its length", async () => {
    const before = process.cpuUsage();
    await rpc(testServer.url, bob, "resources/read", { uri: `report://${"-".repeat(20_000)}/` });
    const { user } = process.cpuUsage(before);
    assert.ok(user < 500_000, `${user} µs of the processor for 20 KB, and a thousand times that for 640 KB`);
  });

  test("what a fixed URI protects is not read as a template's, percent-encoded", async () => {
    await rpc(testServer.url, bob, "resources/read", { uri: "orders://%73ecret" });
    assert.ok(!ran.includes("order secret for bob"), ran.join());
  });

  test("a call that never ends is in the audit log once its client is gone", async () => {
    await onSocket(httpMessage(bob, JSON.stringify(call("hang"))), () => ran.includes("hang for bob"));
    const line = await eventually("its line", () => lines.find(({ tool }) => tool === "hang"));
    assert.equal(line.decision, "allow");
  });

  for (const [what, text] of [
    ["TRACE", { method: "TRACE" }],
    ["a Host with a space", { host: "a b" }],
    ["a Host with a user", { host: "user@host" }],
    ["a Host with a port too large", { host: "localhost:99999999" }],
  ] as const)
    test(`${what} is no fault of ours: no 500`, async () => {
      const body = "method" in text ? "" : JSON.stringify(call("who", { ms: 0 }));
      const read = await onSocket(httpMessage(alice, body, text), (answer) => answer.includes("\r\n\r\n"));
      assert.match(read, /^HTTP\/1\.1 [24]\d\d /);
    });
});

test("who lost a scope at the provider loses it with the renewal, in older access tokens as well", async () => {
  const testServer = await startTestServer({ behaviour: { accessTokenSeconds: 4_000 } });
  try {
    const client = await register(testServer.baseUrl, { token_endpoint_auth_method: "client_secret_post" });
    const secret = { client_secret: client.client_secret ?? "" };
    const code = (await authorize(testServer.baseUrl, client)).get("code");
    const before = (await redeem(testServer.baseUrl, client, code, secret)).body;
    testServer.identityProvider.changeUser("alice", { permissions: [] });
    testServer.clock.ahead += 2_100; // more than half of the provider's token is over, ours is good for 25 minutes
    const renewed = await refresh(testServer.baseUrl, client, before.refresh_token, secret);
    assert.equal(renewed.body.scope ?? "", "");
    const introspected = await postForm(`${testServer.baseUrl}/introspect`, {
      token: before.access_token,
      client_id: client.client_id,
      ...secret,
    });
    assert.deepEqual([introspected.body.active, introspected.body.scope], [true, ""]);
    const late = await callTool(testServer.url, before.access_token, "current_weather", { city: "Berlin" });
    assert.equal(late.status, 403);
  } finally {
    await testServer.close();
  }
});

test("a whole that was left ticked is granted, also where an unticked one shares a part with it", async () => {
  const testServer = await startTestServer({
    scopes: { ...scopes, support: { description: "Support", includes: ["orders:read"] } },
    apiScopes: [...Object.keys(scopes), "support"],
    users: [{ ...ALICE, permissions: ["orders", "support"] }],
  });
  try {
    const client = await register(testServer.baseUrl);
    const url = authorizeUrl(testServer.baseUrl, client, { scope: "orders support weather:read" });
    const callback = await signIn(newBrowser(), url, { login: "alice", untick: ["orders"] });
    const { body } = await redeem(testServer.baseUrl, client, callback.searchParams.get("code"));
    assert.match(body.scope ?? "", /support/);
  } finally {
    await testServer.close();
  }
});

describe("whatever scopes include each other, nobody gains one", () => {
  /** Always the same numbers. */
  function dice(seed: number): () => number {
    let state = seed;
    return () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
  }

  function eachHierarchy(check: (catalogue: ScopeCatalogue, some: () => string[]) => void): void {
    const roll = dice(7);
    for (let round = 0; round < 3_000; round++) {
      const names = "abcdefg".slice(0, 2 + Math.floor(roll() * 6)).split("");
      const some = (of: readonly string[] = names) => of.filter(() => roll() < 0.5);
      const declarations = names.map((name, i) => [
        name,
        { description: name, includes: some(names.slice(i + 1)) },
      ]);
      check(scopeCatalogue(Object.fromEntries(declarations), []), some);
    }
  }

  const sorted = (scopes: readonly string[]) => [...new Set(scopes)].sort();

  test("exclude: nothing refused is left, not as a part either, and everything else is", () =>
    eachHierarchy((catalogue, some) => {
      const [scopes, refused] = [some(), some()];
      const left = catalogue.expand(catalogue.exclude(scopes, refused));
      const innocent = catalogue
        .expand(scopes)
        .filter((scope) => !catalogue.expand([scope]).some((part) => refused.includes(part)));
      assert.deepEqual(sorted(left), sorted(innocent));
    }));

  test("limit to: exactly what is both wanted and held", () =>
    eachHierarchy((catalogue, some) => {
      const [wanted, held] = [some(), some()];
      const reach = catalogue.expand(held);
      const both = catalogue.expand(wanted).filter((scope) => reach.includes(scope));
      assert.deepEqual(sorted(catalogue.expand(catalogue.limitTo(wanted, held))), sorted(both));
    }));

  test("consent: nothing unticked, nothing beyond what is ticked", () =>
    eachHierarchy((catalogue, some) => {
      const [asked, wished] = [some(), some()];
      const ticked = asked.filter((scope) => wished.includes(scope));
      const transaction = { request: { scopes: asked } } as AwaitingConsent;
      const { request } = withConsentedScopes(transaction, ticked, catalogue);
      const given = catalogue.expand(request.scopes);
      const reach = catalogue.expand(ticked);
      for (const scope of given) assert.ok(reach.includes(scope), `${scope} of ${ticked} out of ${asked}`);
      for (const scope of asked) if (!ticked.includes(scope)) assert.ok(!given.includes(scope), scope);
    }));
});
