/** Bad input to everything else: where clients look for metadata, what is not there, and the headers of every answer. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { describe, test } from "node:test";
import { authorizeUrl, callTool, register, signInForTokens } from "../support/oauth-client.ts";
import { writesDuring } from "../support/recorded-writes.ts";
import { useTestServer } from "../support/test-server.ts";
import {
  assertPage,
  assertRefused,
  assertRefusedPage,
  PERSON,
  PROGRAM,
  reasonOf,
  Secrets,
  sendRequest,
} from "./support.ts";

describe("bad input over HTTP", () => {
  const secrets = new Secrets();
  const testServer = useTestServer();

  const RESOURCE_METADATA = [
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
    "/mcp/.well-known/oauth-protected-resource",
  ];
  const SERVER_METADATA = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server/mcp",
    "/mcp/.well-known/oauth-authorization-server",
  ];
  // The same, and what OpenID Connect Discovery asks for beside it.
  const PROVIDER_METADATA = [
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/mcp",
    "/mcp/.well-known/openid-configuration",
  ];

  for (const [paths, name] of [
    [RESOURCE_METADATA, "the protected resource's metadata"],
    [SERVER_METADATA, "the authorization server's metadata"],
    [PROVIDER_METADATA, "the OpenID provider's metadata"],
  ] as const)
    test(`${name} is the same document at every place where clients look`, async () => {
      const [first = ""] = paths;
      const { text } = await sendRequest(testServer.baseUrl + first);
      for (const path of paths) {
        const reply = await sendRequest(testServer.baseUrl + path);
        assert.equal(reply.status, 200, path);
        assert.match(reply.headers.get("content-type") ?? "", /^application\/json/);
        assert.match(reply.headers.get("cache-control") ?? "", /max-age=\d+/);
        assert.equal(reply.text, text);
        const head = await sendRequest(testServer.baseUrl + path, { method: "HEAD" });
        assert.equal(head.status, 200);
        assert.equal(head.text, "");
        assert.equal((await sendRequest(`${testServer.baseUrl}${path}?ignored=1&ignored=2`)).text, text);
        for (const method of ["POST", "PUT", "DELETE"]) {
          const refused = await sendRequest(testServer.baseUrl + path, { method });
          await assertRefused(testServer, refused, {
            status: 405,
            error: "invalid_request",
            reason: "wrong_method",
            describes: new RegExp(`${method} is not offered here: use GET`),
          });
          assert.equal(refused.headers.get("allow"), "GET");
        }
      }
    });

  test("issuer and resource are the configured ones, whatever Host or X-Forwarded-* says", async () => {
    const headers = {
      "x-forwarded-host": "evil.example",
      "x-forwarded-proto": "https",
      forwarded: "host=evil.example",
    };
    const { json } = await sendRequest(`${testServer.baseUrl}/.well-known/oauth-authorization-server`, {
      headers,
    });
    assert.equal(json.issuer, testServer.baseUrl);
    const host = await rawGet("/.well-known/oauth-protected-resource", { host: "evil.example" });
    assert.ok(!host.includes("evil.example"));
    const challenge = await sendRequest(testServer.url, { headers });
    assert.ok(!challenge.headers.get("www-authenticate")?.includes("evil.example"));
    assert.ok(!(await rawGet("/authorize?client_id=x", { host: "evil.example" })).includes("evil.example"));
  });

  test("what is not there is 404 with a reason, not a stack trace", async () => {
    const paths = [
      "/nothing",
      "/mcp/nothing",
      "/token/x",
      "/authorize/x",
      "/.env",
      "/.git/config",
      "/.well-known/oauth-authorization-server/other",
      "/%ff",
      "/%00",
      "/%2e%2e/%2e%2e/etc/passwd",
      "//evil.example/",
      "/__proto__",
      "/constructor",
      `/${"x".repeat(8000)}`,
    ];
    for (const path of paths) {
      const reply = await sendRequest(testServer.baseUrl + path, { headers: PROGRAM });
      await assertRefused(testServer, reply, {
        status: 404,
        error: "invalid_request",
        reason: "unknown_path",
        describes: /There is nothing/,
      });
      assert.ok(!reply.text.includes("node_modules"));
    }
    for (const method of ["POST", "PUT", "DELETE", "PATCH"])
      assert.equal((await sendRequest(`${testServer.baseUrl}/nothing`, { method })).status, 404);
  });

  test("a person who opens what is not there sees a page", async () => {
    const reply = await sendRequest(`${testServer.baseUrl}/nothing`, { headers: PERSON });
    await assertRefusedPage(testServer, reply, {
      status: 404,
      error: "invalid_request",
      reason: "unknown_path",
    });
  });

  test("the page for people and the probes know their methods too", async () => {
    for (const path of ["/", "/healthz", "/readyz"]) {
      const reply = await sendRequest(testServer.baseUrl + path, { method: "POST" });
      assert.equal(reply.status, 405, path);
      assert.ok(reply.headers.get("allow"));
    }
  });

  test("strange methods and targets end in a 4xx", async () => {
    const attempts: Array<[string, string]> = [
      ["TRACE", "/"],
      ["PROPFIND", "/mcp"],
      ["OPTIONS", "*"],
      ["GET", "http://evil.example/authorize"],
      ["GET", "/\\evil.example"],
      ["GET", "/?%"],
      ["GET", "/authorize?%=%&%ff=%fe"],
      ["GET", "/authorize?client_id[]=x&client_id[a]=b&__proto__[x]=y&constructor=z"],
      ["GET", `/authorize?${"a&".repeat(3000)}`],
    ];
    for (const [method, path] of attempts) {
      const status = await rawStatus(method, path);
      assert.ok(status >= 200 && status < 500, `${method} ${path}: ${status}`);
    }
  });

  const EVERYWHERE = [
    ...[...RESOURCE_METADATA, ...SERVER_METADATA, "/", "/mcp", "/authorize", "/consent", "/auth/callback"],
    ...[
      "/token",
      "/revoke",
      "/introspect",
      "/register",
      "/register/x",
      "/auth/backchannel-logout",
      "/logout",
    ],
    ...[
      "/connections",
      "/connections/end",
      "/connections/sign-in",
      "/healthz",
      "/readyz",
      "/metrics",
      "/nothing",
    ],
  ];

  test("HEAD and OPTIONS end in no 5xx anywhere, have no body to read, and change nothing", async () => {
    const changed = await writesDuring(testServer.records, async () => {
      for (const path of EVERYWHERE) {
        const head = await sendRequest(testServer.baseUrl + path, { method: "HEAD" });
        assert.equal(head.text, "", path);
        const preflight = { origin: "https://evil.example", "access-control-request-method": "POST" };
        for (const headers of [{}, preflight]) {
          const options = await sendRequest(testServer.baseUrl + path, { method: "OPTIONS", headers });
          assert.equal(options.headers.get("access-control-allow-credentials"), null, path);
        }
      }
    });
    assert.deepEqual(changed, []);
  });

  test("bytes that are no UTF-8 are refused or read as nobody's, in paths, queries, headers, forms and JSON", async () => {
    const client = await register(testServer.baseUrl);
    const { access_token } = secrets.keepTokens(await signInForTokens(testServer.baseUrl, client));
    const broken = [[0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xf8, 0x88, 0x80, 0x80, 0x80], [0xc0, 0xaf]];
    for (const bytes of broken.map((each) => Buffer.from(each))) {
      const around = (before: string, after: string) =>
        Buffer.concat([Buffer.from(before), bytes, Buffer.from(after)]);
      const escaped = [...bytes].map((byte) => `%${byte.toString(16)}`).join("");
      const json = { "content-type": "application/json" };
      const form = { "content-type": "application/x-www-form-urlencoded" };
      const bearer = { ...json, authorization: `Bearer ${access_token}` };
      const attempts: Array<[string, string, Record<string, string>, Buffer?]> = [
        ["GET", `/${escaped}`, {}],
        ["GET", `/register/${escaped}`, {}],
        ["GET", `/authorize?client_id=${escaped}&state=${escaped}`, {}],
        ["GET", `/auth/callback?state=${escaped}&code=${escaped}`, {}],
        ["GET", "/mcp", { authorization: `Bearer ${bytes.toString("latin1")}` }],
        ["POST", "/token", form, around("grant_type=refresh_token&client_id=", "&refresh_token=x")],
        ["POST", "/token", { ...form, authorization: `Basic ${bytes.toString("base64")}` }, around("a=", "")],
        ["POST", "/consent", form, around("request=", "&decision=approve")],
        ["POST", "/register", json, around('{"redirect_uris":["https://app.example/', '"]}')],
        ["POST", "/mcp", bearer, around('{"jsonrpc":"2.0","id":1,"method":"', '"}')],
      ];
      for (const [method, path, headers, body] of attempts) {
        const { status } = await raw(method, path, headers, body);
        assert.ok(
          status >= 400 && status < 500,
          `${method} ${path} with ${bytes.toString("hex")}: ${status}`,
        );
      }
    }
    assert.equal((await callTool(testServer.url, access_token, "whoami")).status, 200);
  });

  test("every page may not be framed, sniffed, kept or scripted", async () => {
    const client = await register(testServer.baseUrl);
    // Of "/", which has one script, test/flows/home.test.ts says the same.
    const pages = [
      "/authorize",
      "/auth/callback",
      "/consent",
      authorizeUrl(testServer.baseUrl, client).slice(testServer.baseUrl.length),
    ];
    for (const path of pages) {
      const reply = await sendRequest(testServer.baseUrl + path, { headers: PERSON });
      assertPage(reply);
      assert.doesNotMatch(reply.text, / on[a-z]+=|javascript:/i);
    }
  });

  test("every answer to a program says what it is and hides what made it", async () => {
    const paths = [
      ...RESOURCE_METADATA,
      ...SERVER_METADATA,
      "/mcp",
      "/token",
      "/register",
      "/revoke",
      "/healthz",
      "/x",
    ];
    for (const path of paths) {
      const { headers } = await sendRequest(testServer.baseUrl + path, { headers: PROGRAM });
      assert.match(headers.get("content-type") ?? "", /^application\/json; ?charset=utf-8$/i, path);
      assert.equal(headers.get("x-content-type-options"), "nosniff");
      assert.match(headers.get("content-security-policy") ?? "", /frame-ancestors 'none'/);
      assert.equal(headers.get("x-powered-by"), null);
      assert.equal(headers.get("server"), null);
      assert.ok(headers.get("x-request-id"));
    }
  });

  test("no cache keeps an error of the browser's way, in any of its forms", async () => {
    const client = await register(testServer.baseUrl);
    for (const sent of [
      sendRequest(`${testServer.baseUrl}/authorize`, { headers: PROGRAM }),
      sendRequest(authorizeUrl(testServer.baseUrl, client, { response_type: "token" })),
    ])
      assert.equal((await sent).headers.get("cache-control"), "no-store");
  });

  test("a secret in a path or a query that nobody asked for does not reach the log by the query", async () => {
    const client = await register(testServer.baseUrl);
    const { access_token } = secrets.keepTokens(await signInForTokens(testServer.baseUrl, client));
    for (const path of ["/mcp", "/nothing", "/token", "/revoke", "/authorize", "/auth/callback", "/"])
      await reasonOf(
        testServer,
        await sendRequest(`${testServer.baseUrl}${path}?token=${access_token}&code=${access_token}`),
      );
    secrets.assertNotLogged(testServer);
  });

  test("no secret is in the log", () => secrets.assertNotLogged(testServer));

  function raw(method: string, path: string, headers: Record<string, string> = {}, body?: Buffer) {
    const { port } = new URL(testServer.baseUrl);
    return new Promise<{ status: number; text: string }>((resolve, reject) => {
      request({ host: "127.0.0.1", port, method, path, headers: { ...PERSON, ...headers } }, (response) => {
        const chunks: Buffer[] = [];
        response
          .on("data", (chunk) => chunks.push(chunk))
          .on("end", () => {
            const head = JSON.stringify(response.headers);
            resolve({ status: response.statusCode ?? 0, text: head + Buffer.concat(chunks) });
          });
      })
        .on("error", reject)
        .end(body);
    });
  }
  const rawStatus = async (method: string, path: string) => (await raw(method, path)).status;
  const rawGet = async (path: string, headers: Record<string, string>) =>
    (await raw("GET", path, headers)).text;
});
