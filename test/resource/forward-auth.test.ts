/** /auth/check: what a reverse proxy is told of the callers of a backend behind it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { before, describe, test } from "node:test";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { decodeJwt } from "jose";
import { createPolicy } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { reasonOf, sendRequest } from "../attacks/support.ts";
import { getJson, register, revoke, rpc, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const KEY = "the-key-of-the-reverse-proxy-0123456789";
const NEW_KEY = "its-next-key-of-the-reverse-proxy-9876543210";

const behindProxy = (name: string, path: string, needs = false) => ({
  path,
  name,
  features: {
    tools: [],
    scopes: {
      [`${name}:read`]: `Read ${name}`,
      [`${name}:write`]: { description: `Change ${name}`, whenNeeded: true },
    },
  },
  forwardAuth: {
    keys: [KEY, NEW_KEY],
    audience: `http://${name}.internal/mcp`,
    scopes: [[`${name}:read`]] as const,
    ...(needs && {
      needs: {
        tool: new Map([
          ["find", []],
          ["edit", [[`${name}:write`]] as const],
          ["secret", []],
          ["für alle", []],
        ]),
        resource: new Map(),
        prompt: new Map(),
      },
    }),
  },
});

const policy = createPolicy(
  parsePolicy("rules: [{ name: quiet, deny: { tools: [secret] } }]", "policy.yaml", {
    scopes: [],
    tools: ["secret"],
    resources: [],
    prompts: [],
  }),
);

describe("/auth/check", () => {
  const testServer = useTestServer({
    furtherResources: [
      behindProxy("docs", "/docs/mcp"),
      behindProxy("notes", "/notes/mcp", true),
      behindProxy("inner", "/docs/mcp/inner"),
    ],
    apiScopes: ["docs:read", "docs:write", "notes:read", "notes:write", "inner:read"],
    users: [
      {
        subject: "alice",
        name: "Alice",
        email: "alice@example.com",
        permissions: ["weather:read", "docs:read", "notes:read", "notes:write", "inner:read"],
      },
    ],
    policy,
    basePath: "/tools",
  });
  let docs: string;
  let notes: string;
  const tokenFor = async (path: string, scope?: string) => {
    const client = await register(testServer.baseUrl);
    const parameters = scope === undefined ? {} : { scope };
    const { access_token } = await signInForTokens(testServer.baseUrl, client, { path, parameters });
    return { client, access_token };
  };
  before(async () => {
    docs = (await tokenFor("/docs/mcp")).access_token;
    notes = (await tokenFor("/notes/mcp", "notes:read")).access_token;
  });

  interface Asked {
    key?: string | undefined;
    headers?: Record<string, string>;
    method?: string;
  }
  function check(
    path: string,
    token: string | undefined,
    { key = KEY, headers, method = "GET" }: Asked = {},
  ) {
    return sendRequest(`${testServer.baseUrl}/auth/check${path}`, {
      method,
      headers: {
        ...(key !== "" && { "x-forward-auth-key": key }),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...headers,
      },
    });
  }
  const challengeOf = ({ headers }: Refusal) => headers.get("www-authenticate") ?? "";
  const metadataOf = (path: string) =>
    `${new URL(testServer.baseUrl).origin}/.well-known/oauth-protected-resource/tools${path}`;

  type Refusal = { status: number; headers: Headers };
  async function refused(answer: Refusal, status: number, reason: string): Promise<void> {
    assert.equal(answer.status, status);
    assert.equal(answer.headers.get("x-mcp-identity-assertion"), null);
    assert.equal(await reasonOf(testServer, answer), reason);
  }

  test("says who calls, with whatever method and key the proxy asks", async () => {
    for (const asked of [
      {},
      { method: "POST" },
      { method: "DELETE" },
      { method: "OPTIONS" },
      { key: NEW_KEY },
    ]) {
      const answer = await check("/docs/mcp", docs, asked);
      assert.equal(answer.status, 200);
      assert.equal(answer.headers.get("cache-control"), "no-store");
      const { aud, email, scope } = decodeJwt(answer.headers.get("x-mcp-identity-assertion") ?? "");
      assert.deepEqual([aud, email, scope], ["http://docs.internal/mcp", "alice@example.com", "docs:read"]);
    }
  });

  test("challenges whoever has no good token, with the metadata of the backend, which are here", async () => {
    const { client, access_token: revoked } = await tokenFor("/docs/mcp");
    await revoke(testServer.baseUrl, client, revoked);
    const none = await check("/docs/mcp", undefined);
    await refused(none, 401, "no_token");
    assert.equal(
      challengeOf(none),
      `Bearer resource_metadata="${metadataOf("/docs/mcp")}", scope="docs:read"`,
    );
    const metadata = await getJson(metadataOf("/docs/mcp"));
    assert.equal(metadata.resource, `${testServer.baseUrl}/docs/mcp`);
    await refused(await check("/docs/mcp", notes), 401, "access_token_for_another_resource");
    await refused(await check("/docs/mcp", revoked), 401, "grant_ended");
    // nginx makes 500 of any other status.
    await refused(await check("/docs/mcp", "not a token"), 401, "no_token");
    await refused(await check(`/docs/mcp?access_token=${docs}`, undefined), 401, "no_token");
    const preflight = await check("/docs/mcp", undefined, {
      method: "OPTIONS",
      headers: { origin: "https://page.example", "access-control-request-method": "POST" },
    });
    await refused(preflight, 401, "no_token");
  });

  test("whoever lacks what every request needs is told so", async () => {
    const { access_token } = await tokenFor("/notes/mcp", "notes:write");
    const headers = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list" };
    const answer = await check("/notes/mcp", access_token, { headers });
    await refused(answer, 403, "insufficient_scope");
    assert.match(challengeOf(answer), /error="insufficient_scope".*scope="notes:write notes:read"/);
  });

  test("nobody but a proxy is answered: no client gets what is signed for a backend", async () => {
    for (const key of ["", "another-key-of-the-reverse-proxy-012345", `${KEY}, ${KEY}`])
      await refused(await check("/docs/mcp", docs, { key }), 403, "forward_auth_key");
    assert.equal(
      challengeOf(await check("/docs/mcp", docs, { key: "" })),
      "",
      "a new sign-in would not help",
    );
  });

  test("what the request says of itself does not choose the resource", async () => {
    const uri = (value: string) => ({ headers: { "x-forwarded-uri": value } });
    for (const said of ["/tools/docs/mcp", "/tools/docs/mcp?x=1", "https://e.example/tools/docs/mcp/"])
      assert.equal((await check("/docs/mcp", docs, uri(said))).status, 200, said);
    for (const said of [
      "/tools/notes/mcp",
      "/docs/mcp",
      "/tools/docs/mcp/../../notes/mcp",
      "/tools/docs/mcp/%2e%2e/notes",
      "/tools/docs/mcp2",
      "/tools/docs/mcp//x",
      "/tools/docs/mcp;/x",
      "/tools/DOCS/mcp",
      "",
    ])
      await refused(await check("/docs/mcp", docs, uri(said)), 403, "forward_auth_path");
    const original = {
      headers: { "x-original-uri": "/tools/notes/mcp", "x-forwarded-uri": "/tools/docs/mcp" },
    };
    await refused(await check("/docs/mcp", docs, original), 403, "forward_auth_path");
    // Envoy puts the path behind that of the check.
    assert.equal((await check("/docs/mcp/more", docs)).status, 200);
    for (const path of ["/docs/mcp/%2e%2e%2fnotes", "/docs/mcp/a%2fb", "/DOCS/mcp"])
      await refused(await check(path, docs), 403, "forward_auth_path");
    for (const path of ["", "/mcp", "/docs", "/docs/mcp2", "/docs/%6dcp"])
      assert.equal((await check(path, docs)).status, 404, path);
  });

  test("of two resources, one below the other, the longer path counts, whichever is written first", async () => {
    const { access_token: inner } = await tokenFor("/docs/mcp/inner", "inner:read");
    for (const path of ["/docs/mcp/inner", "/docs/mcp/inner/more"]) {
      await refused(await check(path, docs), 401, "access_token_for_another_resource");
      const { status, headers } = await check(path, inner);
      assert.equal(status, 200);
      assert.equal(decodeJwt(headers.get("x-mcp-identity-assertion") ?? "").aud, "http://inner.internal/mcp");
      const asked = { headers: { "x-forwarded-uri": `/tools${path}` } };
      await refused(await check("/docs/mcp", docs, asked), 403, "forward_auth_path");
    }
    assert.equal((await check("/docs/mcp/innermost", docs)).status, 200);
  });

  describe("a backend that refuses headers which its body contradicts", () => {
    const use = (
      method: string | undefined,
      name: string | undefined,
      token = notes,
      more: Record<string, string> = {},
    ) =>
      check("/notes/mcp", token, {
        headers: {
          "mcp-protocol-version": "2026-07-28",
          ...(method && { "mcp-method": method }),
          ...(name && { "mcp-name": name }),
          ...more,
        },
      });

    test("is asked for by the tool", async () => {
      for (const [method, name] of [
        ["tools/call", "find"],
        ["tools/list", undefined],
        ["tools/list", "edit"],
      ] as const)
        assert.equal((await use(method, name)).status, 200, `${method} ${name}`);
      const lacking = await use("tools/call", "edit");
      await refused(lacking, 403, "insufficient_scope");
      assert.match(challengeOf(lacking), /scope="notes:read notes:write"/);
      const { access_token } = await tokenFor("/notes/mcp", "notes:read notes:write");
      assert.equal((await use("tools/call", "edit", access_token)).status, 200);
      await refused(await use("tools/call", "secret", access_token), 403, "denied_by_policy");
    });

    test("and what the headers leave open counts as the most that there is", async () => {
      for (const [method, name] of [
        [undefined, undefined],
        [undefined, "find"],
        ["Tools/Call", "find"],
        ["tools/list, tools/call", "find"],
        ["something/new", "find"],
        ["constructor", "find"],
      ] as const)
        assert.equal((await use(method, name)).status, 403, `${method} ${name}`);
      for (const name of [undefined, "other", "find, edit", "constructor"])
        await refused(await use("tools/call", name), 403, "forward_auth_feature");
      await refused(await use("resources/read", "find"), 403, "forward_auth_feature");
    });

    test("and nothing is judged by headers that it does not look at: it believes the body of an older revision", async () => {
      for (const version of ["", "2025-11-25", "2025-06-18", "2026-07-28, 2025-11-25", "2027-01-01"])
        for (const [method, name] of [
          ["tools/list", undefined],
          ["tools/call", "find"],
        ] as const)
          assert.equal(
            (await use(method, name, notes, { "mcp-protocol-version": version })).status,
            403,
            `${version} ${method}`,
          );
    });

    test("and nothing by headers of which it may find another: CGI has one name for Mcp-Name and Mcp_Name", async () => {
      for (const header of ["mcp_name", "Mcp_Method", "mcp_protocol-version", "MCP-Protocol_Version"])
        assert.equal((await use("tools/call", "find", notes, { [header]: "edit" })).status, 403, header);
      assert.equal((await use("tools/call", "find", notes, { other_name: "edit" })).status, 200);
    });

    test("and is asked for a name that no header can have as it is", async () => {
      const encoded = (name: string) => `=?base64?${Buffer.from(name).toString("base64")}?=`;
      assert.equal((await use("tools/call", encoded("für alle"))).status, 200);
      assert.equal((await use("tools/call", encoded("find"))).status, 200);
      await refused(await use("tools/call", encoded("edit")), 403, "insufficient_scope");
      for (const name of ["=?base64?ZmluZA?=", "=?base64?!?=", encoded("other")])
        await refused(await use("tools/call", name), 403, "forward_auth_feature");
    });

    test("and a server of both generations, of the SDK v2, is no way around it", async () => {
      const called: string[] = [];
      const handler = toNodeHandler(
        createMcpHandler(() => {
          const server = new McpServer({ name: "notes", version: "1" });
          for (const name of ["find", "edit"])
            server.registerTool(name, {}, async () => {
              called.push(name);
              return { content: [] };
            });
          return server;
        }),
      );
      const backend = createServer((req, res) => void handler(req as never, res));
      await once(backend.listen(0, "127.0.0.1"), "listening");
      try {
        const { port } = backend.address() as AddressInfo;
        const edit = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "edit" } };
        for (const version of [undefined, "2025-11-25", "2026-07-28"])
          for (const lie of [
            { "mcp-method": "tools/list" },
            { "mcp-method": "tools/call", "mcp-name": "find" },
          ])
            for (const body of [edit, [edit]]) {
              const headers: Record<string, string> = {
                ...(version !== undefined && { "mcp-protocol-version": version }),
                ...lie,
              };
              const { status } = await check("/notes/mcp", notes, { headers });
              if (status !== 200) continue;
              await sendRequest(`http://127.0.0.1:${port}/`, {
                method: "POST",
                headers: {
                  ...headers,
                  "content-type": "application/json",
                  accept: "application/json, text/event-stream",
                },
                body: JSON.stringify(body),
              });
            }
        assert.deepEqual(called, []);
      } finally {
        backend.closeAllConnections();
        backend.close();
      }
    });
  });

  test("a request that its proxy should have passed on is not answered by this server", async () => {
    const answer = await rpc(`${testServer.baseUrl}/docs/mcp`, docs, "tools/list");
    await refused(answer, 421, "forward_auth_bypassed");
    const stranger = await rpc(`${testServer.baseUrl}/docs/mcp`, undefined, "tools/list");
    assert.equal(stranger.status, 401);
  });
});
