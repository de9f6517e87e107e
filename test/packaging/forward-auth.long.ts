/** deploy/forward-auth: nginx and Caddy in front of a backend that knows nothing of OAuth. Nobody gets past the check. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders, request, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { parse } from "yaml";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const KEY = "the-key-of-the-reverse-proxy-0123456789";
const AUDIENCE = "http://docs.internal/mcp";

interface Program {
  file: string;
  name: string;
  args(folder: string): string[];
  /** The file as it is for this computer, and the rest that the program needs. */
  adapt(file: string, ports: Ports): string;
}
interface Ports {
  front: number;
  server: number;
  backend: number;
}

function replaced(file: string, changes: ReadonlyArray<[from: RegExp, to: string]>): string {
  return changes.reduce((changed, [from, to]) => {
    assert.match(changed, from);
    return changed.replace(from, to);
  }, file);
}

const programs: Program[] = [
  {
    file: "nginx.conf",
    name: "nginx",
    args: (folder) => ["-p", folder, "-c", join(folder, "config"), "-e", "stderr"],
    adapt(file, { front, server, backend }) {
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
      return `daemon off; master_process off; pid nginx.pid; error_log stderr; events {}
http { access_log off; ${temporary.map((name) => `${name}_temp_path ${name};`).join(" ")}
${replaced(file, [
  [/listen 443 ssl;/, `listen 127.0.0.1:${front};`],
  [/ *ssl_certificate .*\n/, ""],
  [/ *ssl_certificate_key .*\n/, ""],
  [/127\.0\.0\.1:3000/, `127.0.0.1:${server}`],
  [/127\.0\.0\.1:8000/, `127.0.0.1:${backend}`],
  [/"KEY"/, `"${KEY}"`],
])} }`;
    },
  },
  {
    file: "Caddyfile",
    name: "caddy",
    args: (folder) => ["run", "--adapter", "caddyfile", "--config", join(folder, "config")],
    adapt: (file, { front, server, backend }) =>
      `{\n\tadmin off\n\tauto_https off\n}\n${replaced(file, [
        [/mcp\.example\.com \{/, `http://127.0.0.1:${front} {`],
        [/127\.0\.0\.1:3000/g, `127.0.0.1:${server}`],
        [/127\.0\.0\.1:8000/, `127.0.0.1:${backend}`],
        [/"KEY"/, `"${KEY}"`],
      ])}`,
  },
];

const skipWithout = (name: string) =>
  spawnSync(name, [name === "nginx" ? "-v" : "version"]).status === 0 ? false : `apt-get install ${name}`;

for (const program of programs)
  describe(`deploy/forward-auth/${program.file}`, { skip: skipWithout(program.name) }, () => {
    const testServer = useTestServer({
      furtherResources: [
        {
          path: "/docs/mcp",
          name: "docs",
          features: {
            tools: [],
            scopes: {
              "docs:read": "Read docs",
              "docs:write": { description: "Change docs", whenNeeded: true },
            },
          },
          forwardAuth: { keys: [KEY], audience: AUDIENCE, scopes: [["docs:read"]] },
        },
      ],
      apiScopes: ["docs:read", "docs:write"],
      users: [
        {
          subject: "alice",
          name: "Alice",
          email: "alice@example.com",
          permissions: ["weather:read", "docs:read", "docs:write"],
        },
      ],
    });
    const folder = mkdtempSync(join(tmpdir(), "forward-auth-"));
    /** What reached the backend since it was last looked at. */
    let reached: Array<{
      method?: string | undefined;
      url?: string | undefined;
      headers: IncomingHttpHeaders;
      body: string;
    }> = [];
    let backend: Server;
    let proxy: ChildProcess;
    let front: number;
    let token: string;
    let narrow: string;
    let elsewhere: string;

    before(async () => {
      backend = createServer(async (req, res) => {
        reached.push({ method: req.method, url: req.url, headers: req.headers, body: await text(req) });
        res
          .writeHead(200, { "content-type": "application/json" })
          .end('{"jsonrpc":"2.0","id":1,"result":{}}');
      });
      await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
      front = await freePort();
      const ports = {
        front,
        server: Number(new URL(testServer.baseUrl).port),
        backend: (backend.address() as AddressInfo).port,
      };
      const file = readFileSync(`deploy/forward-auth/${program.file}`, "utf8");
      writeFileSync(join(folder, "config"), program.adapt(file, ports));
      proxy = spawn(program.name, program.args(folder), {
        stdio: ["ignore", "ignore", "pipe"],
        env: { ...process.env, HOME: folder },
      });
      let said = "";
      proxy.stderr?.on("data", (chunk) => {
        said += chunk;
      });
      await eventually(`${program.name} listens`, async () => {
        assert.equal(proxy.exitCode, null, said);
        return (await ask({ path: "/healthz", method: "GET" }).catch(() => undefined))?.status === 200;
      });
      const resource = `${testServer.baseUrl}/docs/mcp`;
      const signIn = async (parameters: Record<string, string>) =>
        (await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl), { parameters }))
          .access_token;
      token = await signIn({ resource });
      narrow = await signIn({ resource, scope: "docs:write" });
      elsewhere = await signIn({});
      reached = [];
    });
    after(async () => {
      if (proxy?.exitCode === null) {
        proxy.kill("SIGKILL");
        await once(proxy, "exit");
      }
      await new Promise((resolve) => backend?.close(resolve));
      rmSync(folder, { recursive: true, force: true });
    });

    interface Asked {
      path?: string;
      method?: string;
      token?: string;
      headers?: Record<string, string | string[]>;
    }
    /** As it is written: fetch would tidy the path up. */
    function ask({ path = "/docs/mcp", method = "POST", token, headers = {} }: Asked) {
      return new Promise<{ status: number; headers: IncomingHttpHeaders; text: string }>(
        (resolve, reject) => {
          const body = method === "POST" ? '{"jsonrpc":"2.0","id":1,"method":"ping"}' : "";
          const sent = request(
            {
              host: "127.0.0.1",
              port: front,
              path,
              method,
              agent: false,
              headers: {
                ...(body !== "" && {
                  "content-type": "application/json",
                  "content-length": String(body.length),
                }),
                ...(token !== undefined && { authorization: `Bearer ${token}` }),
                ...headers,
              },
            },
            async (answer) =>
              resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text: await text(answer) }),
          );
          sent.on("error", reject);
          sent.end(body);
        },
      );
    }
    /** What the only request that reached the backend had. */
    function theOne() {
      const [one, another] = reached;
      reached = [];
      assert.equal(another, undefined);
      return one ?? assert.fail("it reached the backend");
    }

    test("a call with a good token reaches the backend, with who calls and without the token", async () => {
      const answer = await ask({ token, headers: { cookie: "a=b" } });
      assert.equal(answer.status, 200, answer.text);
      const { headers, body, url } = theOne();
      assert.match(body, /"ping"/);
      assert.equal(url, "/docs/mcp");
      assert.deepEqual(
        [headers.authorization, headers.cookie, headers["x-forward-auth-key"]],
        [undefined, undefined, undefined],
      );
      const keys = createRemoteJWKSet(new URL(`${testServer.baseUrl}/.well-known/jwks.json`));
      const { payload } = await jwtVerify(String(headers["x-mcp-identity-assertion"]), keys, {
        audience: AUDIENCE,
        typ: "mcp-identity+jwt",
      });
      assert.equal(payload.email, "alice@example.com");
    });

    test("the challenges of 401 and 403 reach the client", async () => {
      const unknown = await ask({});
      assert.equal(unknown.status, 401);
      assert.match(String(unknown.headers["www-authenticate"]), /resource_metadata=".*\/docs\/mcp"/);
      const lacking = await ask({ token: narrow });
      assert.equal(lacking.status, 403);
      assert.match(
        String(lacking.headers["www-authenticate"]),
        /error="insufficient_scope".*resource_metadata=.*scope="docs:write docs:read"/,
      );
      assert.equal((await ask({ token: elsewhere })).status, 401);
      assert.deepEqual(reached, []);
    });

    test("who calls cannot be said by the client", async () => {
      for (const name of [
        "X-Mcp-Identity-Assertion",
        "x-mcp-identity-assertion",
        "X-MCP-IDENTITY-ASSERTION",
      ]) {
        assert.equal((await ask({ token, headers: { [name]: ["forged", "again"] } })).status, 200);
        assert.match(String(theOne().headers["x-mcp-identity-assertion"]), /^ey[\w-]+\.[\w-]+\.[\w-]+$/);
      }
      // To backends that name headers as CGI does (WSGI, Rack, PHP) these are the same.
      for (const name of [
        "X_Mcp_Identity_Assertion",
        "X-Mcp_Identity-Assertion",
        "x_mcp-identity_assertion",
      ]) {
        await ask({ token, headers: { [name]: "forged" } });
        assert.doesNotMatch(JSON.stringify(theOne().headers), /forged/, name);
      }
    });

    test("no header on the way is taken off by a client that calls it one of its connection", async () => {
      for (const name of [
        "X-Mcp-Identity-Assertion",
        "X-Forward-Auth-Key",
        "X-Forwarded-Uri",
        "Authorization",
      ]) {
        const { status } = await ask({ token, headers: { connection: `close, ${name}` } });
        if (status === 200) assert.match(String(theOne().headers["x-mcp-identity-assertion"]), /^ey/, name);
      }
      assert.deepEqual(reached, []);
    });

    test("nothing reaches the backend without a good token", async () => {
      const headers: Array<Record<string, string>> = [
        {},
        { authorization: "Bearer" },
        { authorization: "Basic YWxpY2U6YWxpY2U=" },
        { authorization: `Bearer ${elsewhere}` },
        { "x-forwarded-uri": "/healthz" },
        { "x-original-uri": "/healthz" },
        { "x-original-url": "/healthz" },
        { "x-rewrite-url": "/docs/mcp" },
        { "x-forwarded-method": "OPTIONS" },
        { "x-http-method-override": "OPTIONS" },
        { "x-forward-auth-key": KEY },
        { "x-forwarded-for": "127.0.0.1" },
        { origin: "http://localhost", "access-control-request-method": "POST" },
      ];
      for (const each of headers)
        for (const method of ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "TRACE", "PROPFIND"]) {
          const answer = await ask({ method, headers: each });
          assert.ok(answer.status >= 400, `${method} ${JSON.stringify(each)}: ${answer.status}`);
        }
      for (const path of [
        `/docs/mcp?access_token=${token}`,
        "/docs/mcp?x",
        "/docs/mcp/",
        "/docs/mcp/x",
        "//docs/mcp",
        "/docs//mcp",
        "/docs/%6dcp",
        "/docs%2fmcp",
        "/docs/./mcp",
        "/x/../docs/mcp",
        "/x/%2e%2e/docs/mcp",
        "/DOCS/MCP",
        "/docs/mcp;x",
        "/docs/mcp%00",
        "/docs/mcp%20",
        "/healthz/../docs/mcp",
        "http://127.0.0.1/docs/mcp",
        "/_check_docs",
      ])
        for (const method of ["GET", "POST"]) await ask({ path, method });
      assert.deepEqual(reached, []);
    });

    test("with a good token nothing but the resource itself reaches the backend", async () => {
      for (const path of [
        "/docs/mcp/../admin",
        "/docs/mcp/%2e%2e/admin",
        "/docs/mcp/x",
        "/docs/mcp%2fx",
        "/admin",
      ])
        await ask({ path, token });
      assert.ok(
        reached.every(({ url = "" }) => url.split("?", 1)[0] === "/docs/mcp"),
        JSON.stringify(reached),
      );
      reached = [];
    });

    test("a path that could be read in two ways is refused, also with a good token", async () => {
      for (const path of ["/x/../docs/mcp", "/docs/./mcp", "/docs/%6dcp", "/docs%2fmcp", "//docs/mcp"])
        assert.ok((await ask({ path, token })).status >= 400, path);
      assert.deepEqual(reached, []);
    });

    test("nobody is told about themselves by the check", async () => {
      for (const path of [
        "/auth/check/docs/mcp",
        "/AUTH/check/docs/mcp",
        "/auth/%63heck/docs/mcp",
        "//auth/check/docs/mcp",
      ])
        for (const headers of [{}, { "x-forward-auth-key": "a-guess" }]) {
          const answer = await ask({ path, token, headers });
          assert.ok(answer.status >= 400, `${path}: ${answer.status}`);
          assert.equal(answer.headers["x-mcp-identity-assertion"], undefined);
        }
    });

    test("a second request hidden in the first is judged by itself", async () => {
      const socket = connect(front, "127.0.0.1");
      const inner = "POST /docs/mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
      socket.end(
        `POST /docs/mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n${inner}`,
      );
      await text(socket).catch(() => "");
      assert.ok(reached.length <= 1, JSON.stringify(reached));
      assert.ok(reached.every(({ headers }) => headers["x-mcp-identity-assertion"] !== undefined));
      reached = [];
    });

    test("an outage of the check opens nothing, and is no 401", async () => {
      const { server } = { server: testServer };
      await server.close();
      const answer = await ask({ token });
      assert.ok(answer.status >= 500, String(answer.status));
      assert.deepEqual(reached, []);
    });
  });

test("the files for Traefik and Envoy name the same check and the same headers", () => {
  for (const [file, check] of [
    ["traefik.yaml", /address: http:\/\/mcp-oidc-proxy:3000\/auth\/check\/docs\/mcp/],
    ["envoy.yaml", /path_prefix: \/auth\/check/],
  ] as const) {
    const content = readFileSync(`deploy/forward-auth/${file}`, "utf8");
    assert.ok(parse(content));
    assert.match(content, check);
    assert.match(content, /x-mcp-identity-assertion/i);
    assert.match(content, /x-forward-auth-key/i);
    assert.match(content, /X_Mcp_Identity_Assertion: ""|headers_with_underscores_action: DROP_HEADER/);
  }
});
