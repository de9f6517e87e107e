/** The forms of a request's target (RFC 9112 §3.2), as they come over a socket. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { before, describe, test } from "node:test";
import { callTool, register, signInForTokens } from "../support/oauth-client.ts";
import { receivedUntilClosed } from "../support/received-until-closed.ts";
import { useTestServer } from "../support/test-server.ts";

interface Sent {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

for (const basePath of ["", "/deep/tools"])
  describe(`at ${basePath || "the root of its host"}`, () => {
    let token: string;
    const testServer = useTestServer({ basePath });
    before(async () => {
      token = (await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl))).access_token;
    });

    /** The answer as it came, or "" if the connection was closed without one. */
    async function send({ method, headers = {}, body = "" }: Sent, target: string): Promise<string> {
      const socket = connect(Number(new URL(testServer.baseUrl).port), "127.0.0.1");
      const received = receivedUntilClosed(socket);
      const all = {
        Host: "127.0.0.1",
        Connection: "close",
        "Content-Length": String(body.length),
        ...headers,
      };
      const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n${body}`);
      return received;
    }
    const statusOf = (answer: string) => Number(answer.slice("HTTP/1.1 ".length).slice(0, 3));
    /** What differs from one answer to the next anyway. */
    const comparable = (answer: string) =>
      answer.replace(/^date: .*$/gim, "").replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "REQUEST");

    const AUTHORITIES = [
      "http://localhost",
      "https://evil.example",
      "HTTP://EVIL.example:99",
      "http://mallory:secret@evil.example",
      "http://[::1]:3000",
      "ftp://evil.example",
    ];

    const json = { "Content-Type": "application/json", Accept: "application/json, text/event-stream" };
    const call = {
      method: "POST",
      body: JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: { name: "whoami", arguments: {} },
      }),
    };
    const bearer = () => ({ ...json, Authorization: `Bearer ${token}` });
    const REQUESTS: ReadonlyArray<readonly [what: string, status: number, request: () => Sent]> = [
      ["a call", 200, () => ({ ...call, path: "/mcp", headers: bearer() })],
      ["a call without a token", 401, () => ({ ...call, path: "/mcp", headers: json })],
      [
        "a call from a foreign page",
        403,
        () => ({ ...call, path: "/mcp", headers: { ...bearer(), Origin: "https://evil.example" } }),
      ],
      [
        "a call from a page of the host it names",
        403,
        () => ({ ...call, path: "/mcp", headers: { ...bearer(), Origin: "ftp://evil.example" } }),
      ],
      [
        "a call with its token in the query",
        400,
        () => ({ ...call, path: `/mcp?access_token=${token}`, headers: bearer() }),
      ],
      ["a probe", 200, () => ({ method: "GET", path: "/healthz" })],
      [
        "the server's metadata",
        200,
        () => ({ method: "GET", path: "/.well-known/oauth-authorization-server" }),
      ],
      [
        "the resource's metadata",
        200,
        () => ({ method: "GET", path: "/mcp/.well-known/oauth-protected-resource" }),
      ],
      ["an authorization request", 400, () => ({ method: "GET", path: "/authorize?client_id=nobody" })],
      ["a registration", 400, () => ({ method: "POST", path: "/register", headers: json, body: "{}" })],
      ["a registration that is asked about", 401, () => ({ method: "GET", path: "/register/nobody" })],
      ["a token request", 400, () => ({ method: "POST", path: "/token" })],
      ["metrics", 200, () => ({ method: "GET", path: "/metrics" })],
      ["what is not there", 404, () => ({ method: "GET", path: "/nothing" })],
      ["two slashes", 404, () => ({ method: "GET", path: "//mcp" })],
    ];
    for (const [what, status, request] of REQUESTS)
      test(`${what} in absolute form is answered as in origin form`, async () => {
        const sent = request();
        const expected = await send(sent, basePath + sent.path);
        assert.equal(statusOf(expected), status, expected);
        for (const authority of AUTHORITIES) {
          const answer = await send(sent, authority + basePath + sent.path);
          assert.doesNotMatch(answer, /evil|mallory/i);
          if (what !== "metrics") assert.equal(comparable(answer), comparable(expected), authority);
          else assert.equal(statusOf(answer), status);
        }
      });

    test("a target that is a host alone is the root", async () => {
      const expected = await send({ method: "GET", path: "/" }, "/");
      for (const target of ["http://evil.example", "http://evil.example/"])
        assert.equal(statusOf(await send({ method: "GET", path: "/" }, target)), statusOf(expected), target);
      const withQuery = await send({ method: "GET", path: "/" }, "http://evil.example?a=b");
      assert.equal(statusOf(withQuery), statusOf(expected));
    });

    test("OPTIONS * is answered, CONNECT and what is no target are refused, and the next is served", async () => {
      const asterisk = statusOf(await send({ method: "OPTIONS", path: "*" }, "*"));
      assert.ok(asterisk >= 200 && asterisk < 500, String(asterisk));
      for (const target of ["evil.example:443", "localhost:3000", "/mcp", "http://evil.example/mcp"]) {
        const answer = await send({ method: "CONNECT", path: target, headers: bearer() }, target);
        assert.ok(answer === "" || statusOf(answer) === 400, answer);
      }
      for (const target of [
        "mcp",
        "://",
        "http:/mcp",
        "http:///mcp",
        "*mcp",
        "?",
        "http://",
        "evil.example:443",
      ]) {
        const status = statusOf(await send({ method: "GET", path: target, headers: bearer() }, target));
        assert.ok(status >= 400 && status < 500, `${target}: ${status}`);
      }
      assert.equal((await callTool(testServer.url, token, "whoami")).status, 200);
    });

    test("the log has the path, and nothing of the host that was named", async () => {
      testServer.log.length = 0;
      await send(
        { method: "GET", path: "/nothing" },
        `http://mallory:secret@evil.example${basePath}/nothing`,
      );
      const lines = testServer.log.filter(({ msg }) => msg === "request");
      assert.deepEqual(
        lines.map(({ path }) => path),
        ["/nothing"],
      );
      assert.doesNotMatch(JSON.stringify(testServer.log), /mallory|evil/);
    });
  });
