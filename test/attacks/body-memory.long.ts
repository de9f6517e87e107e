/** What is small on the way and large in memory, in a process that has little of it: it stays, and answers. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { callTool, type Registered, register, signInForTokens } from "../support/oauth-client.ts";
import { type ServerProcess, startServerProcess } from "../support/server-process.ts";
import { ALICE, AUDIENCE, BOB, SECRET_KEY } from "../support/test-server.ts";

const MEGABYTE = 1_048_576;
/** What a sender sees that is cut while it sends. */
const CUT = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);
const FORM = "application/x-www-form-urlencoded";

describe("a process with a heap of 256 MB", () => {
  let server: ServerProcess;
  let identityProvider: Awaited<ReturnType<typeof startIdentityProvider>>;
  let client: Registered;
  const tokens: string[] = [];
  before(async () => {
    const port = await freePort();
    const baseUrl = `http://localhost:${port}`;
    identityProvider = await startIdentityProvider({
      port: 0,
      client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${baseUrl}/auth/callback`] },
      audience: AUDIENCE,
      scopes: ["weather:read"],
      users: [ALICE, BOB],
      behaviour: { advertisesApiScopes: true },
    });
    server = await startServerProcess({
      NODE_OPTIONS: "--max-old-space-size=256",
      BASE_URL: baseUrl,
      PORT: String(port),
      HOST: "127.0.0.1",
      OIDC_ISSUER: identityProvider.issuer,
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "proxy-secret",
      OIDC_AUDIENCE: AUDIENCE,
      STORE: "memory",
      SECRET_KEY,
      LOG_LEVEL: "silent",
    });
    client = await register(baseUrl);
    while (tokens.length < 8) tokens.push((await signInForTokens(baseUrl, client)).access_token);
  });
  after(async () => {
    await server.kill();
    await identityProvider.close();
  });

  const post = (token: string, body: string | Buffer, headers: Record<string, string> = {}) =>
    fetch(`${server.url}/mcp`, {
      method: "POST",
      body,
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        authorization: `Bearer ${token}`,
        ...headers,
      },
    }).then(
      async (response) => {
        await response.arrayBuffer();
        return response.status;
      },
      (error: Error & { cause?: { code?: string } }) => {
        if (CUT.has(error.cause?.code ?? "")) return 503; // which it was told, before it had sent everything
        throw error;
      },
    );

  const callWith = (args: string) =>
    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"say_hello","arguments":{"name":"A","x":${args}}}}`;
  /** As many values as are taken, each of another shape: what costs the most. */
  const shapes = (which: number) =>
    Array.from({ length: 17_000 }, (_, n) => `{"k${which}-${n}":{"m${which}-${n}":1}}`).join(",");
  const bomb = gzipSync(callWith(`[${"[],".repeat(MEGABYTE)}[]]`));
  const worst: Array<[string, (which: number) => string | Buffer, Record<string, string>?]> = [
    ["inflating to 4 MB", () => bomb, { "content-encoding": "gzip" }],
    ["a megabyte of arrays", () => callWith(`[${"[],".repeat(MEGABYTE / 4)}[]]`)],
    ["every value of another shape", (which) => callWith(`[${shapes(which)}]`)],
    ["one large text", () => callWith(`"${"\u0101".repeat(MEGABYTE / 2 - 1_000)}"`)],
  ];

  for (const [name, bodyOf, headers] of worst)
    test(`survives 200 messages at once: ${name}`, async () => {
      const bodies = Array.from({ length: 20 }, (_, which) => bodyOf(which));
      const sent = Array.from({ length: 200 }, (_, n) =>
        post(tokens[n % tokens.length] ?? "", bodies[n % bodies.length] ?? "", headers),
      );
      const statuses = new Set(await Promise.all(sent));
      for (const status of statuses) assert.ok([200, 413, 415, 429, 503].includes(status), String(status));
      assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
      assert.equal((await callTool(`${server.url}/mcp`, tokens[0] ?? "", "whoami")).status, 200);
    });

  test("unfinished bodies of strangers are cut to make room for complete ones", async () => {
    const { port } = new URL(server.url);
    const answers: string[] = [];
    const sockets = Array.from({ length: 400 }, () => {
      const socket = connect(Number(port), "127.0.0.1").on("error", () => {});
      socket.on("data", (data) => void answers.push(String(data)));
      socket.write(
        `POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${FORM}\r\nContent-Length: 65536\r\n\r\n` +
          "x".repeat(65_000),
      );
      return socket;
    });
    try {
      const cut = await eventually("the oldest is cut", () => answers[0]);
      assert.match(cut, /^HTTP\/1\.1 503 /);
      assert.match(cut, /\r\nRetry-After: 5\r\n/i);
      const { access_token } = await signInForTokens(server.url, client);
      assert.equal((await callTool(`${server.url}/mcp`, access_token, "whoami")).status, 200);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });
});
