/**
 * What lies in deploy/ works: its proxies run here as they are shipped, with other ports, in front of two real server
 * processes; the manifests agree with each other, with the code and with .env.example.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { parse, parseAllDocuments } from "yaml";
import { type Config, loadConfig } from "../../src/config.ts";
import { startIdentityProvider } from "../../src/dev/identity-provider.ts";
import { defineTool } from "../../src/mcp/define-tool.ts";
import { serve } from "../../src/serve.ts";
import { freePort } from "../support/free-port.ts";
import {
  callTool,
  getJson,
  REDIRECT_URI,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { type ServerProcess, startServerProcess } from "../support/server-process.ts";
import { ALICE, AUDIENCE, SECRET_KEY } from "../support/stage.ts";

const deploy = fileURLToPath(new URL("../../deploy", import.meta.url));
const example = readFileSync(join(deploy, "../.env.example"), "utf8");
const settings = new Set([...example.matchAll(/^(?:# )?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name));
const defaults = loadConfig({
  BASE_URL: "http://localhost",
  OIDC_ISSUER: "http://localhost",
  OIDC_CLIENT_ID: "id",
  OIDC_CLIENT_SECRET: "secret",
  STORE: "memory",
  SECRET_KEY,
});

interface Proxy {
  name: string;
  /** Of BASE_URL. */
  path: string;
  program: "caddy" | "nginx";
  /** Its arguments, after its files were written into `folder`. */
  configure(folder: string, baseUrl: string, replicas: readonly number[]): string[];
}

const proxies: Proxy[] = [
  {
    name: "deploy/compose/Caddyfile",
    path: "",
    program: "caddy",
    configure: () => ["run", "--adapter", "caddyfile", "--config", join(deploy, "compose/Caddyfile")],
  },
  ...["path-kept.conf", "path-stripped.conf"].map(
    (file): Proxy => ({
      name: `deploy/nginx/${file}`,
      path: "/tools",
      program: "nginx",
      configure: (folder, baseUrl, replicas) => configureNginx(file, folder, baseUrl, replicas),
    }),
  ),
];

for (const proxy of proxies)
  describe(`${proxy.name} before two replicas`, {
    skip: skipWithout(proxy.program) || skipWithoutRedisServer(),
  }, () => {
    let site: Site;
    before(async () => {
      site = await startSite(proxy);
    });
    after(() => site.stop());

    test("a whole session: metadata, registration, sign-in, call, refresh", async () => {
      const { baseUrl } = site;
      const { origin } = new URL(baseUrl);
      const resource = await getJson(`${origin}/.well-known/oauth-protected-resource${proxy.path}/mcp`);
      assert.equal(resource.resource, `${baseUrl}/mcp`);
      for (const document of ["oauth-authorization-server", "openid-configuration"])
        assert.equal((await getJson(`${origin}/.well-known/${document}${proxy.path}`)).issuer, baseUrl);
      const client = await register(baseUrl);
      const tokens = await signInForTokens(baseUrl, client);
      for (let call = 0; call < 4; call++) {
        const answer = await callTool(`${baseUrl}/mcp`, tokens.access_token, "whoami");
        assert.equal(answer.body.result.structuredContent.subject, "alice");
      }
      assert.equal((await refresh(baseUrl, client, tokens.refresh_token)).status, 200);
      assert.equal((await fetch(baseUrl)).status, 200, "the home page, without a slash");
    });

    test("limits per address see the client, whatever it claims to be", async () => {
      const [one, another] = ["127.0.0.7", "127.0.0.8"];
      for (let count = 0; count < REGISTRATIONS; count++)
        assert.equal(await registerFrom(one, site.baseUrl), 201);
      assert.equal(await registerFrom(one, site.baseUrl), 429);
      assert.equal(await registerFrom(one, site.baseUrl, { "x-forwarded-for": "203.0.113.9" }), 429);
      assert.equal(await registerFrom(another, site.baseUrl, { "x-forwarded-for": one }), 201);
    });

    test("a stream's bytes arrive before the tool has ended", async () => {
      const { access_token } = await signInForTokens(site.baseUrl, await register(site.baseUrl));
      let end = () => {};
      const ended = new Promise<void>((resolve) => {
        end = resolve;
      });
      const port = await site.replicaWithTool(
        defineTool({
          name: "slow",
          description: "Says that it is half-way, and waits",
          async run(_input, { progress }) {
            await progress(1, 2);
            await ended;
            return "done";
          },
        }),
      );
      const { baseUrl } = await site.proxyBefore([port]);
      const response = await fetch(`${baseUrl}/mcp`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${access_token}`,
          accept: "application/json, text/event-stream",
          "content-type": "application/json",
        },
        body: JSON.stringify({
          jsonrpc: "2.0",
          id: 1,
          method: "tools/call",
          params: { name: "slow", arguments: {}, _meta: { progressToken: 1 } },
        }),
      });
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      let seen = "";
      while (!seen.includes("notifications/progress"))
        seen += (await before5Seconds(reader?.read() ?? Promise.reject())).value ?? "";
      assert.doesNotMatch(seen, /done/);
      end();
      for (let chunk = await reader?.read(); chunk?.done === false; chunk = await reader?.read())
        seen += chunk.value;
      assert.match(seen, /done/);
    });

    test("a body of 4 MB passes, a larger one does not", async () => {
      const { access_token } = await signInForTokens(site.baseUrl, await register(site.baseUrl));
      const send = (characters: number) =>
        callTool(`${site.baseUrl}/mcp`, access_token, "say_hello", { name: "x".repeat(characters) });
      assert.equal((await send(4 * 1024 * 1024 - 200)).status, 200);
      assert.equal((await send(4 * 1024 * 1024 + 200)).status, 413);
    });

    test("restarting one replica after the other loses nobody's call", async () => {
      const { access_token } = await signInForTokens(site.baseUrl, await register(site.baseUrl));
      const statuses: number[] = [];
      let restarting = true;
      const callers = Array.from({ length: 4 }, async () => {
        while (restarting)
          statuses.push((await callTool(`${site.baseUrl}/mcp`, access_token, "whoami")).status);
      });
      for (const replica of site.replicas) {
        assert.equal(await replica.stop(), 0);
        await replica.start();
        await until(async () => (await fetch(`${replica.url}/readyz`)).ok);
        await delay(PASSIVE_MS); // until the proxy gives it requests again
      }
      restarting = false;
      await Promise.all(callers);
      assert.ok(statuses.length > 100, `${statuses.length} calls`);
      assert.deepEqual(
        statuses.filter((status) => status !== 200),
        [],
      );
    });

    test("without Redis, who was here a moment ago goes on, and others are told when to come back", async () => {
      const { access_token } = await signInForTokens(site.baseUrl, await register(site.baseUrl));
      for (const { url } of site.replicas)
        assert.equal((await callTool(`${url}/mcp`, access_token, "whoami")).status, 200);
      await site.redis.kill();
      await delay(3_000); // long enough for every check of the proxy
      assert.equal((await callTool(`${site.baseUrl}/mcp`, access_token, "whoami")).status, 200);
      const unknown = await callTool(`${site.baseUrl}/mcp`, `mcp_at_${"A".repeat(65)}`, "whoami");
      assert.equal(unknown.status, 503);
      assert.ok(Number(unknown.headers.get("retry-after")) > 0);
    });
  });

const REGISTRATIONS = 5;
const PASSIVE_MS = 5_500; // both proxies leave out for 5 s what they could not connect to

interface Site {
  baseUrl: string;
  redis: TestRedis;
  replicas: ServerProcess[];
  /** A replica of the same deployment in this process; its port. */
  replicaWithTool(tool: ReturnType<typeof defineTool>): Promise<number>;
  /** The same proxy once more, before these ports. */
  proxyBefore(ports: readonly number[]): Promise<{ baseUrl: string }>;
  stop(): Promise<void>;
}

async function startSite(proxy: Proxy): Promise<Site> {
  const cleanUp: Array<() => Promise<unknown> | unknown> = [];
  const redis = await startRedis();
  cleanUp.push(() => redis.stop());
  const [port, ...replicaPorts] = [await freePort(), await freePort(), await freePort()];
  const baseUrl = `http://localhost:${port}${proxy.path}`;
  const issuer = await startIdentityProvider({
    port: 0,
    client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${baseUrl}/auth/callback`] },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [ALICE],
    character: { advertisesApiScopes: true },
  });
  cleanUp.push(() => issuer.close());
  const environment = (replica: number) => ({
    BASE_URL: baseUrl,
    PORT: String(replica),
    HOST: "127.0.0.1",
    TRUSTED_PROXIES: "127.0.0.1",
    OIDC_ISSUER: issuer.issuer,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
    OIDC_AUDIENCE: AUDIENCE,
    REDIS_URL: redis.url,
    REDIS_TIMEOUT_MS: "500",
    SECRET_KEY,
    REGISTRATIONS_PER_ADDRESS_PER_HOUR: String(REGISTRATIONS),
    SHUTDOWN_DELAY_SECONDS: "2",
    LOG_LEVEL: "silent",
  });
  const replicas = await Promise.all(replicaPorts.map((each) => startServerProcess(environment(each))));
  for (const replica of replicas) cleanUp.push(() => replica.kill());

  async function startProxy(baseUrl: string, ports: readonly number[]): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), "deploy-"));
    cleanUp.push(() => rmSync(folder, { recursive: true }));
    const args = proxy.configure(folder, baseUrl, ports);
    const running = startProgram(proxy.program, args, {
      BASE_URL: baseUrl,
      REPLICAS: ports.map((each) => `127.0.0.1:${each}`).join(" "),
      HOME: folder,
    });
    cleanUp.push(() => running.stop());
    await until(async () => (await fetch(`${baseUrl}/readyz`)).ok, running.output);
  }
  await startProxy(baseUrl, replicaPorts);

  return {
    baseUrl,
    redis,
    replicas,
    async replicaWithTool(tool) {
      const each = await freePort();
      const config = loadConfig(environment(each)) as Config;
      const server = await serve(config, { tools: [tool], scopes: {} }, pino({ level: "silent" }));
      cleanUp.push(() => server.stop());
      await until(async () => (await fetch(`http://127.0.0.1:${each}/readyz`)).ok);
      return each;
    },
    async proxyBefore(ports) {
      const another = `http://localhost:${await freePort()}${proxy.path}`;
      await startProxy(another, ports);
      return { baseUrl: another };
    },
    async stop() {
      for (const clean of cleanUp.reverse()) await clean();
    },
  };
}

/** The shipped files in a configuration around them that needs no rights; http instead of https, and these ports. */
function configureNginx(file: string, folder: string, baseUrl: string, replicas: readonly number[]): string[] {
  mkdirSync(join(folder, "mcp-oidc-proxy"));
  cpSync(join(deploy, "nginx/proxy.conf"), join(folder, "mcp-oidc-proxy/proxy.conf"));
  const server = readFileSync(join(deploy, "nginx", file), "utf8")
    .replace("listen 443 ssl;", `listen 127.0.0.1:${new URL(baseUrl).port};`)
    .replace("server_name example.com;", "server_name localhost;")
    .replaceAll(/^ *ssl_certificate.*\n/gm, "");
  writeFileSync(join(folder, "server.conf"), server);
  const shipped = readFileSync(join(deploy, "nginx/replicas.conf"), "utf8");
  const [first] = shipped.match(/^ *server .*\n/m) ?? [""];
  const servers = replicas.map((port) => first.replace("10.0.0.11:3000", `127.0.0.1:${port}`)).join("");
  writeFileSync(join(folder, "replicas.conf"), shipped.replace(/(?:^ *server .*\n)+/m, servers));
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${name};`);
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; master_process off; pid nginx.pid; error_log stderr; events {}
http { access_log off; ${paths.join(" ")} include replicas.conf; include server.conf; }`,
  );
  return ["-p", folder, "-c", "nginx.conf", "-e", "stderr"];
}

interface Running {
  output(): string;
  stop(): Promise<void>;
}

/** Ends with this process, however that ends: the kernel closes the pipe that the shell waits for. */
function startProgram(program: string, args: readonly string[], environment: Record<string, string>): Running {
  const script = '"$@" & read -r _; kill $!; wait $!';
  const keeper: ChildProcess = spawn("sh", ["-c", script, "sh", program, ...args], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ["pipe", "ignore", "pipe"],
  });
  let output = "";
  keeper.stderr?.on("data", (chunk) => {
    output += chunk;
  });
  return {
    output: () => output,
    async stop() {
      const ended = once(keeper, "exit");
      keeper.stdin?.end();
      await ended;
    },
  };
}

/** Why tests that run this program cannot run here, or false; with CI=true not being able to is an error. */
function skipWithout(program: "caddy" | "nginx"): string | false {
  if (spawnSync(program, [program === "nginx" ? "-v" : "version"]).status === 0) return false;
  const skip = `${program} is not on PATH: install it with 'apt-get install ${program}'`;
  if (process.env.CI === "true") throw new Error(skip);
  return skip;
}

/** The status of a registration that comes from this address of the loopback network. */
async function registerFrom(
  localAddress: string,
  baseUrl: string,
  headers: Record<string, string> = {},
): Promise<number | undefined> {
  const { port, host, pathname } = new URL(`${baseUrl}/register`);
  const sent = request({
    localAddress,
    host: "127.0.0.1",
    port,
    path: pathname,
    method: "POST",
    headers: { host, "content-type": "application/json", ...headers },
  }).end(JSON.stringify({ client_name: "c", redirect_uris: [REDIRECT_URI] }));
  const [response] = await once(sent, "response");
  await text(response);
  return response.statusCode;
}

async function until(isSo: () => Promise<boolean>, output = () => ""): Promise<void> {
  for (const deadline = Date.now() + 15_000; Date.now() < deadline; await delay(50))
    if (await isSo().catch(() => false)) return;
  throw new Error(`Not within 15 s. ${output()}`);
}

async function before5Seconds<T>(awaited: Promise<T>): Promise<T> {
  const late = new AbortController();
  const timer = delay(5_000, undefined, { signal: late.signal }).then(() => {
    throw new Error("Nothing came within 5 s");
  });
  try {
    return await Promise.race([awaited, timer]);
  } finally {
    late.abort();
    timer.catch(() => {});
  }
}
