/** `npm start`: reports missing settings, waits for what is down, drains on SIGTERM. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { builtProgram } from "../support/built-program.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { authorizeUrl, register, rpc } from "../support/oauth-client.ts";
import { receivedUntilClosed } from "../support/received-until-closed.ts";
import { skipWithoutRedisServer, startRedis } from "../support/redis.ts";
import { ALICE, AUDIENCE, SECRET_KEY } from "../support/test-server.ts";

const children: ChildProcess[] = [];

describe("npm start", () => {
  let elsewhere: string; // a folder without .env
  before(async () => {
    elsewhere = await mkdtemp(join(tmpdir(), "mcp-oidc-proxy-"));
  });
  after(() => {
    for (const child of children) child.kill("SIGKILL");
  });

  function start(environment: Record<string, string>) {
    const child = spawn(process.execPath, [builtProgram("src/cli/start")], {
      cwd: elsewhere,
      env: { PATH: process.env.PATH, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.push(child);
    const output = { text: "" };
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        output.text += chunk.toString();
      });
    return { child, output };
  }

  test("refuses an empty environment with one message and no stack trace", async () => {
    const { child, output } = start({});
    const [code] = await once(child, "close");
    assert.equal(code, 1);
    for (const name of [
      "BASE_URL",
      "OIDC_ISSUER",
      "OIDC_CLIENT_ID",
      "OIDC_CLIENT_SECRET",
      "REDIS_URL",
      "SECRET_KEY",
    ])
      assert.match(output.text, new RegExp(`${name} is missing`));
    assert.doesNotMatch(output.text, /^\s+at /m);
  });

  test("refuses a wrong setting of a tool, by its name and without a stack trace", async () => {
    const settings = { ...environment(await freePort(), "http://localhost:9", ""), STORE: "memory" };
    const { child, output } = start({ ...settings, OPEN_METEO_TIMEOUT_SECONDS: "soon" });
    const [code] = await once(child, "close");
    assert.equal(code, 1);
    assert.match(output.text, /cannot start: OPEN_METEO_TIMEOUT_SECONDS is wrong: it must be a number/);
    assert.doesNotMatch(output.text, /^\s+at /m);
  });

  test("a port in use is said in words, and the process ends, although it is connected to Redis", {
    skip: skipWithoutRedisServer(),
  }, async () => {
    const redis = await startRedis();
    const blocker = createServer().listen(0, "127.0.0.1");
    await once(blocker, "listening");
    const port = (blocker.address() as { port: number }).port;
    const { child, output } = start(environment(port, "http://localhost:9", redis.url));
    const [code] = await once(child, "close");
    blocker.close();
    await redis.stop();
    assert.equal(code, 1);
    assert.match(output.text, new RegExp(`port ${port} is in use`));
    assert.doesNotMatch(output.text, /^\s+at /m);
  });

  test("starts without Redis and identity provider, says so, and recovers; drains on SIGTERM", {
    skip: skipWithoutRedisServer(),
  }, async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    await redis.kill();
    const [port, issuerPort] = [await freePort(), await freePort()];
    const baseUrl = `http://localhost:${port}`;
    const { child, output } = start(environment(port, `http://localhost:${issuerPort}`, redis.url));
    await eventually("it listens", () => output.text.includes("Listening"));
    assert.match(output.text, new RegExp(`register at the identity provider: ${baseUrl}/auth/callback`));
    await eventually(
      "it misses both",
      () => output.text.includes("discovery_failed") && output.text.includes("redis_unavailable"),
    );

    assert.equal((await fetch(`${baseUrl}/healthz`)).status, 200);
    assert.equal((await fetch(`${baseUrl}/readyz`)).status, 503);
    const token = `mcp_at_${"A".repeat(65)}`;
    const undecided = await rpc(`${baseUrl}/mcp`, token, "tools/list");
    assert.equal(undecided.status, 503, "an outage is never a 401 (invariant 7)");
    assert.ok(Number(undecided.headers.get("retry-after")) > 0);

    await redis.restart();
    await eventually("it is ready", async () => (await fetch(`${baseUrl}/readyz`)).status === 200);
    assert.equal((await rpc(`${baseUrl}/mcp`, token, "tools/list")).status, 401);

    // Sign-in needs the provider, and nobody is asked for consent before it is there.
    const client = await register(baseUrl);
    const { Browser } = await import("../../dev/client/browser.ts");
    const browser = new Browser();
    const away = await browser.get(authorizeUrl(baseUrl, client));
    assert.equal(away.status, 503);
    assert.match(away.body, /identity provider cannot be reached/);
    const identityProvider = await startIdentityProvider({
      port: issuerPort,
      client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${baseUrl}/auth/callback`] },
      audience: AUDIENCE,
      scopes: ["weather:read"],
      users: [ALICE],
    });
    t.after(() => identityProvider.close());
    await eventually(
      "the provider is there",
      async () => (await browser.get(authorizeUrl(baseUrl, client))).status === 200,
    );
    const consent = await browser.get(authorizeUrl(baseUrl, client));
    const login = await browser.submit(consent, {}, { button: "approve" });
    assert.match(login.body, /name="login"/);

    const slow = await slowRequest(port);
    child.kill("SIGTERM");
    await eventually("it stops", () => output.text.includes("Stopping"));
    // It says so first, and closes its port then.
    await eventually("it accepts nothing new", () =>
      fetch(`${baseUrl}/healthz`).then(
        () => false,
        () => true,
      ),
    );
    assert.match(await slow.finish(), /^HTTP\/1\.1 201 /, "what was in flight is finished");
    const [code] = await once(child, "close");
    assert.equal(code, 0);
    assert.match(output.text, /Stopped/);
  });
});

function environment(port: number, issuer: string, redisUrl: string): Record<string, string> {
  return {
    BASE_URL: `http://localhost:${port}`,
    PORT: String(port),
    HOST: "127.0.0.1",
    OIDC_ISSUER: issuer,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
    OIDC_AUDIENCE: AUDIENCE,
    SECRET_KEY,
    REDIS_URL: redisUrl,
    REDIS_TIMEOUT_MS: "500",
    SHUTDOWN_SECONDS: "5",
  };
}

/** A registration whose body is only half sent: it is in flight until `finish`. */
async function slowRequest(port: number): Promise<{ finish(): Promise<string> }> {
  const body = JSON.stringify({
    redirect_uris: ["https://client.example/cb"],
    token_endpoint_auth_method: "none",
  });
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(
    `POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
  );
  socket.write(body.slice(0, 10));
  const received = receivedUntilClosed(socket);
  // Its headers are there when a request that came later on another connection was answered.
  await fetch(`http://127.0.0.1:${port}/healthz`);
  return {
    async finish() {
      socket.write(body.slice(10));
      return received;
    },
  };
}
