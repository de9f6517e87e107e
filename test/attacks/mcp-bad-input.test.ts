/** Bad input at /mcp: nothing without a token, and with one only what its scopes allow, however the call is wrapped. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { before, beforeEach, describe, test } from "node:test";
import { setTimeout as delay, setImmediate as immediate } from "node:timers/promises";
import { z } from "zod";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { redeem, register, rpc, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { PERSON, type Reply, reasonOf, Secrets, sendRequest } from "./support.ts";

/** Counts how often it ran: what a refused call must not change, even if its answer is lost. */
let launches = 0;
const launch = defineTool({
  name: "launch",
  description: "Has an effect that nobody may cause without the scope",
  scopes: ["weather:read"],
  input: z.object({}),
  run() {
    launches += 1;
    return "launched";
  },
});

describe("bad input at /mcp", () => {
  const secrets = new Secrets();
  /** May use every tool. */
  let alice: string;
  /** Has no scope at all. */
  let bob: string;
  const testServer = useTestServer({ tools: [launch] });
  before(async () => {
    const client = await register(testServer.baseUrl);
    alice = secrets.keepTokens(await signInForTokens(testServer.baseUrl, client)).access_token;
    bob = secrets.keepTokens(
      await signInForTokens(testServer.baseUrl, client, { login: "bob" }),
    ).access_token;
  });
  beforeEach(() => {
    launches = 0;
  });

  const MCP = { accept: "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18" };
  const as = (token: string, headers: Record<string, string> = {}) => ({
    ...MCP,
    authorization: `Bearer ${token}`,
    ...headers,
  });
  const call = (name: unknown, args: unknown = {}, id: unknown = 1) => ({
    jsonrpc: "2.0",
    id,
    method: "tools/call",
    params: { name, arguments: args },
  });

  async function assertChallenged(
    reply: Reply,
    { status = 401, error, reason }: { status?: number; error?: string; reason: string },
  ): Promise<void> {
    assert.equal(reply.status, status, reply.text);
    const challenge = reply.headers.get("www-authenticate") ?? "";
    assert.match(challenge, /^Bearer /);
    const metadata = `${testServer.baseUrl}/.well-known/oauth-protected-resource/mcp`;
    assert.ok(challenge.includes(`resource_metadata="${metadata}"`), challenge);
    assert.equal(/error="([^"]*)"/.exec(challenge)?.[1], error);
    if (status === 401) assert.match(challenge, /scope="weather:read"/);
    assert.equal(await reasonOf(testServer, reply), reason);
  }

  test("every probe without a token gets 401 and the challenge, never 400 or 405 (A2, A3)", async () => {
    const probes = [
      { method: "HEAD" },
      { method: "GET" },
      { method: "DELETE" },
      { method: "PUT" },
      { method: "POST" },
      { json: { jsonrpc: "2.0", id: 1, method: "initialize", params: {} } },
      { json: { jsonrpc: "2.0", id: 1, method: "server/discover", params: {} } },
      { body: "{ not json", headers: { "content-type": "application/json" } },
      { body: "x".repeat(5_000_000), headers: { "content-type": "application/json" } },
      { form: { access_token: alice } },
      { headers: { authorization: "Basic dXNlcjpwYXNz" } },
      { headers: { authorization: alice } },
      { headers: { "mcp-session-id": "somebody's session" } },
      { headers: { cookie: `access_token=${alice}` } },
    ];
    for (const probe of probes)
      await assertChallenged(await sendRequest(testServer.url, probe), { reason: "no_token" });
    await assertChallenged(await sendRequest(`${testServer.url}/`, PROBE), { reason: "no_token" });
  });

  test("OPTIONS is for browsers that ask before they send (CORS): it opens nothing", async () => {
    for (const headers of [{}, as(bob)]) {
      const reply = await sendRequest(testServer.url, { method: "OPTIONS", headers });
      assert.ok(reply.status === 204 || reply.status === 401, String(reply.status));
      assert.equal(reply.text.includes("jsonrpc"), false);
      assert.equal(reply.headers.get("access-control-allow-credentials"), null);
    }
  });

  test("a token that is none of ours: 401 invalid_token (A6)", async () => {
    const attempts: Array<[string, string]> = [
      ["garbage", "malformed_access_token"],
      ["null", "malformed_access_token"],
      ["__proto__", "malformed_access_token"],
      ["eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.", "malformed_access_token"],
      [`mcp_at_${"A".repeat(65)}`, "grant_ended"],
      [`${alice.slice(0, -4)}AAAA`, "unknown_access_token"],
      [alice.replace("mcp_at_", "mcp_ac_"), "malformed_access_token"],
    ];
    for (const [token, reason] of attempts) {
      const reply = await sendRequest(testServer.url, { json: call("whoami"), headers: as(token) });
      await assertChallenged(reply, { error: "invalid_token", reason });
      assert.match(reply.json.error_description, /Refresh it, or sign in again/);
    }
  });

  test("an expired token: 401, to the second", async () => {
    try {
      testServer.clock.ahead = 3_590;
      assert.equal((await rpc(testServer.url, alice, "tools/list")).status, 200);
      testServer.clock.ahead = 3_600;
      const reply = await sendRequest(testServer.url, { json: call("whoami"), headers: as(alice) });
      await assertChallenged(reply, { error: "invalid_token", reason: "expired_access_token" });
    } finally {
      testServer.clock.ahead = 0;
    }
  });

  test("a JWT is 401 invalid_token, whatever it says of itself and however long it is", async () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = { iss: testServer.baseUrl, sub: "alice", aud: testServer.url, exp: 4_102_444_800 };
    const headers = [
      { alg: "none" },
      { alg: "HS256", typ: "at+jwt" },
      { alg: "ES256", typ: "at+jwt", kid: "a" },
    ];
    for (const header of headers)
      for (const padding of ["", "x".repeat(4_000)]) {
        const token = `${part(header)}.${part({ ...claims, padding })}.c2lnbmF0dXJl`;
        const reply = await sendRequest(testServer.url, { json: call("whoami"), headers: as(token) });
        await assertChallenged(reply, { error: "invalid_token", reason: "malformed_access_token" });
      }
  });

  test("of several Authorization headers the first alone is read", async () => {
    const both = (first: string, second: string) =>
      sendTwice(testServer.url, [`Bearer ${first}`, `Bearer ${second}`]);
    const refused = await both("garbage", alice);
    assert.match(refused, /^HTTP\/1\.1 401 /);
    assert.match(refused, /WWW-Authenticate: Bearer error="invalid_token"/);
    assert.match(await both(alice, "garbage"), /^HTTP\/1\.1 200 /);
  });

  test("another scheme is no token: 401 without an error", async () => {
    for (const authorization of [
      `Basic ${btoa(`alice:${alice}`)}`,
      `DPoP ${alice}`,
      `Token ${alice}`,
      alice,
    ]) {
      const reply = await sendRequest(testServer.url, {
        json: call("whoami"),
        headers: { ...MCP, authorization },
      });
      await assertChallenged(reply, { reason: "no_token" });
    }
  });

  test("a token in the query is refused even beside one in the header (A12)", async () => {
    for (const headers of [MCP, as(alice)]) {
      const reply = await sendRequest(`${testServer.url}?access_token=${alice}`, {
        json: call("whoami"),
        headers,
      });
      await assertChallenged(reply, { status: 400, error: "invalid_request", reason: "token_in_query" });
      assert.match(reply.json.error_description, /Authorization header/);
    }
  });

  test("a malformed header: 400", async () => {
    for (const authorization of ["Bearer", "Bearer "])
      await assertChallenged(await sendRequest(testServer.url, { headers: { authorization } }), {
        reason: "no_token",
      });
    const malformed = ["Bearer a b", "Bearer a,b", 'Bearer "a"', "Bearer é", `Bearer ${"a".repeat(600)}=a`];
    for (const authorization of malformed) {
      const reply = await sendRequest(testServer.url, {
        json: call("whoami"),
        headers: { ...MCP, authorization },
      });
      await assertChallenged(reply, {
        status: 400,
        error: "invalid_request",
        reason: "malformed_authorization_header",
      });
    }
  });

  test("a token of 10 KB is 401 as any other that is none of ours; a header of 20 KB is Node's to refuse", async () => {
    for (const token of ["a".repeat(513), "a".repeat(10_000), `${alice}${"A".repeat(10_000)}`]) {
      const reply = await sendRequest(testServer.url, { json: call("whoami"), headers: as(token) });
      await assertChallenged(reply, { error: "invalid_token", reason: "malformed_access_token" });
    }
    const headers = { authorization: `Bearer ${"a".repeat(20_000)}` };
    assert.equal((await sendRequest(testServer.url, { headers })).status, 431);
  });

  test("what is no JSON is JSON-RPC's parse error", async () => {
    for (const body of ["{", "", "null", "1", '"text"', "[}", "\u0000"]) {
      const headers = as(alice, { "content-type": "application/json" });
      const reply = await sendRequest(testServer.url, { method: "POST", body, headers });
      assert.equal(reply.status, 400, body);
      assert.equal(reply.json.jsonrpc, "2.0");
      assert.ok([-32700, -32600].includes(reply.json.error.code), reply.text);
      assert.ok(reply.json.error.message.length > 10);
      assert.equal(reply.json.id, null);
    }
    const broken = await sendRequest(testServer.url, {
      body: "{",
      headers: as(alice, { "content-type": "application/json" }),
    });
    assert.equal(broken.json.error.code, -32700);
    assert.equal(await reasonOf(testServer, broken), "unreadable_body");
  });

  test("more than 1 MB: 413", async () => {
    const reply = await sendRequest(testServer.url, {
      json: call("say_hello", { name: "x".repeat(1_048_576) }),
      headers: as(alice),
    });
    assert.equal(reply.status, 413);
    assert.match(reply.json.error.message, /more than 1048576 bytes/);
    assert.equal(await reasonOf(testServer, reply), "unreadable_body");
  });

  test("a wrong content type is refused, and smuggles no call past the scopes", async () => {
    const body = JSON.stringify(call("launch"));
    const types = [
      "text/plain",
      "text/plain; a=application/json",
      "application/x-www-form-urlencoded",
      "application/jsonp",
      "application/json-rpc",
      "application/vnd.api+json",
      "application/json, text/plain",
      "application/json;,",
      "application/json ; charset",
      "application/json; charset=utf-16",
      "APPLICATION/JSON",
    ];
    for (const type of types) {
      const reply = await sendRequest(testServer.url, { body, headers: as(bob, { "content-type": type }) });
      assert.ok([400, 403, 415].includes(reply.status), `${type}: ${reply.status}`);
    }
    assert.equal(
      (await sendRequest(testServer.url, { body, headers: as(alice, { "content-type": "text/plain" }) }))
        .status,
      415,
    );
    assert.equal(launches, 0);
  });

  test("a content type that only the SDK takes for JSON smuggles no call past the scopes", async () => {
    const body = JSON.stringify(call("launch"));
    for (const type of ["application/json\u00a0", "application/json\u00a0;a=b", "\u00a0application/json"]) {
      const reply = await sendRequest(testServer.url, { body, headers: as(bob, { "content-type": type }) });
      assert.ok([400, 403, 415].includes(reply.status), reply.text);
    }
    assert.equal(launches, 0);
  });

  test("a forbidden tool stays forbidden however the call is wrapped", async () => {
    const harmless = { jsonrpc: "2.0", id: 1, method: "tools/list" };
    const forbidden = call("launch", {}, 2);
    for (const json of [
      forbidden,
      [harmless, forbidden],
      [forbidden],
      [call("whoami"), forbidden, harmless],
    ]) {
      const reply = await sendRequest(testServer.url, { json, headers: as(bob) });
      await assertChallenged(reply, {
        status: 403,
        error: "insufficient_scope",
        reason: "insufficient_scope",
      });
      assert.match(reply.headers.get("www-authenticate") ?? "", /scope="weather:read"/);
    }
    const others = [
      [[forbidden]],
      { ...forbidden, method: ["tools/call"] },
      { ...forbidden, params: { name: ["launch"] } },
      { ...forbidden, params: [{ name: "launch" }] },
      { ...forbidden, method: "tools/call " },
      { ...forbidden, method: "TOOLS/CALL" },
      { ...forbidden, params: { name: "launch " } },
      { ...forbidden, params: { name: "Launch" } },
      { 0: forbidden, length: 1 },
      { jsonrpc: "2.0", method: "tools/call", params: { name: "launch" } },
    ];
    for (const json of others) await sendRequest(testServer.url, { json, headers: as(bob) });
    const headers = as(bob, { "mcp-method": "tools/list", "mcp-name": "whoami" });
    await sendRequest(testServer.url, { json: forbidden, headers });
    const duplicate = `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"whoami","name":"launch"}}`;
    await sendRequest(testServer.url, {
      body: duplicate,
      headers: as(bob, { "content-type": "application/json" }),
    });
    assert.equal(launches, 0);
    assert.equal((await sendRequest(testServer.url, { json: forbidden, headers: as(alice) })).status, 200);
    assert.equal(launches, 1, "the tool does run for who may");
  });

  test("hanging up right after the request does not carry it past the scope check", async () => {
    const { get } = testServer.records;
    try {
      for (let turns = 0; turns < 20; turns++) {
        testServer.records.get = async (key) => {
          for (let turn = 0; turn < turns; turn++) await immediate();
          return get(key);
        };
        await halfClosed(bob, JSON.stringify(call("launch")), "length");
        await halfClosed(bob, JSON.stringify(call("launch")), "chunked");
      }
      await delay(20);
    } finally {
      testServer.records.get = get;
    }
    assert.equal(launches, 0);
  });

  /** Sends a complete request and the end of the connection's sending side in one go. */
  function halfClosed(token: string, body: string, framing: "length" | "chunked"): Promise<void> {
    const head = Object.entries(as(token, { host: "localhost", "content-type": "application/json" }))
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join("");
    const framed =
      framing === "length"
        ? `content-length: ${body.length}\r\n\r\n${body}`
        : `transfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    return new Promise((resolve) => {
      const socket = connect(Number(new URL(testServer.url).port), "127.0.0.1");
      socket.on("error", () => {}).on("close", () => resolve());
      socket.resume().end(`POST /mcp HTTP/1.1\r\n${head}${framed}`);
    });
  }

  test("a tool that does not exist", async () => {
    for (const name of ["no_such_tool", "__proto__", "constructor", "toString", "", "x".repeat(10_000)]) {
      const reply = await sendRequest(testServer.url, { json: call(name), headers: as(alice) });
      assert.equal(reply.json.error.code, -32602, reply.text);
      assert.match(reply.json.error.message, /There is no tool named/);
      assert.equal(reply.json.id, 1);
    }
    const { json } = await sendRequest(testServer.url, { json: call(7), headers: as(alice) });
    assert.ok(json.error.code <= -32600);
  });

  test("arguments that do not fit: a result that names the field, for the model to read", async () => {
    const attempts: Array<[unknown, RegExp]> = [
      [{}, /city/],
      [{ city: 7 }, /city/],
      [{ city: "" }, /city/],
      [{ city: ["Berlin"] }, /city/],
      [{ city: "x".repeat(101) }, /city/],
      [{ __proto__: { city: "Berlin" } }, /city/],
    ];
    for (const [args, describes] of attempts) {
      const reply = await sendRequest(testServer.url, {
        json: call("current_weather", args),
        headers: as(alice),
      });
      assert.equal(reply.status, 200);
      assert.equal(reply.json.result.isError, true);
      assert.match(reply.json.result.content[0].text, /Invalid arguments for current_weather/);
      assert.match(reply.json.result.content[0].text, describes);
    }
    for (const args of [7, "city", ["Berlin"]]) {
      const reply = await sendRequest(testServer.url, {
        json: call("current_weather", args),
        headers: as(alice),
      });
      assert.ok(reply.json.error ?? reply.json.result.isError, reply.text);
    }
  });

  test("other methods with a token are refused by the protocol", async () => {
    for (const method of ["GET", "DELETE", "PUT", "HEAD"]) {
      const { status } = await sendRequest(testServer.url, { method, headers: as(alice) });
      assert.equal(status, 405, method);
    }
  });

  test("unknown methods and envelopes", async () => {
    for (const json of [
      {},
      [],
      { jsonrpc: "1.0", id: 1, method: "tools/list" },
      { id: 1 },
      { method: "tools/list" },
    ]) {
      const reply = await sendRequest(testServer.url, { json, headers: as(alice) });
      assert.ok(reply.status === 400 || reply.status === 202, `${JSON.stringify(json)}: ${reply.status}`);
    }
    const unknown = await rpc(testServer.url, alice, "no/such/method");
    assert.equal(unknown.body.error.code, -32601);
  });

  test("every refusal by the protocol has a reason in the log (invariant 10)", async () => {
    for (const sent of [
      { method: "GET", headers: as(alice) },
      { body: "x", headers: as(alice, { "content-type": "text/plain" }) },
      { json: {}, headers: as(alice) },
    ]) {
      const reply = await sendRequest(testServer.url, sent);
      assert.ok(reply.status >= 400);
      assert.equal(typeof (await reasonOf(testServer, reply)), "string");
    }
  });

  test("a request from another site's page is refused (A17)", async () => {
    const headers = as(alice, { origin: "https://evil.example" });
    assert.equal((await sendRequest(testServer.url, { json: call("whoami"), headers })).status, 403);
  });

  test("a code or refresh token opens nothing (invariant 4)", async () => {
    const client = await register(testServer.baseUrl);
    const { refresh_token } = secrets.keepTokens(await signInForTokens(testServer.baseUrl, client));
    const reply = await sendRequest(testServer.url, { json: call("whoami"), headers: as(refresh_token) });
    await assertChallenged(reply, { error: "invalid_token", reason: "malformed_access_token" });
    assert.equal((await redeem(testServer.baseUrl, client, refresh_token)).body.error, "invalid_grant");
  });

  test("no token is in the log", () => secrets.assertNotLogged(testServer));

  const PROBE = { headers: PERSON };
});

/** A call with two Authorization headers, which no HTTP client would send. */
function sendTwice(url: string, authorization: readonly [string, string]): Promise<string> {
  const { hostname, port, host, pathname } = new URL(url);
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });
  const head = [
    `POST ${pathname} HTTP/1.1`,
    `Host: ${host}`,
    "Content-Type: application/json",
    `Content-Length: ${body.length}`,
    "Connection: close",
    ...authorization.map((value) => `Authorization: ${value}`),
  ];
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(Number(port), hostname, () => socket.write(`${head.join("\r\n")}\r\n\r\n${body}`));
    socket
      .on("data", (chunk) => (answer += chunk))
      .on("end", () => resolve(answer))
      .on("error", reject);
  });
}
