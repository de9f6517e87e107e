/**
 * What the soak runs against: two server processes behind a load balancer, a Redis that keeps its data over a crash,
 * and the identity provider behind a proxy that can fail. And what can happen to them.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { startFakeWeatherApi } from "../../dev/demo/fake-weather-api.ts";
import { type Balancer, startBalancer } from "../support/balancer.ts";
import { type Fault, type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { freePort } from "../support/free-port.ts";
import { startRedis } from "../support/redis.ts";
import { until } from "../support/redis-admin.ts";
import { startRedisSentinel } from "../support/redis-sentinel.ts";
import { type ServerProcess, startServerProcess } from "../support/server-process.ts";
import { ALICE, AUDIENCE, SECRET_KEY } from "../support/test-server.ts";
import { startProviderProcess } from "./provider-process.ts";

export interface DeploymentOptions {
  refreshTokens: "static" | "rotating";
  /** Life of the provider's access tokens, and so of ours at most. */
  accessTokenSeconds: number;
  /** One that keeps its data over a crash, or a master with a replica and three Sentinels. Default: one. */
  redis?: "one" | "sentinel";
  /** How long a server waits for the provider. Default: two, so that an outage is noticed soon. */
  upstreamTimeoutSeconds?: number;
}

export interface Deployment {
  baseUrl: string;
  balancer: Balancer;
  servers: ServerProcess[];
  /** The settings of each of them, but for the port. */
  environment: Record<string, string>;
  /** Of the Redis that is written to. */
  redisUrl(): string;
  upstream: FaultyProxy;
  /** A process is being killed, or is not back yet: connections break, and the balancer answers 502. */
  isKilling(): boolean;
  /** Redis is away, or was a moment ago: what a replica remembers may be served. */
  isStoreDisturbed(): boolean;
  isProviderDown(): boolean;
  isClosed(): boolean;
  killRedis(awayMs: number): Promise<void>;
  freezeRedis(ms: number): Promise<void>;
  /** Kills the master: a replica takes over. */
  failOver(): Promise<void>;
  failProvider(fault: Fault | "down", ms: number): Promise<void>;
  /** SIGTERM and start, one after the other; the exit codes. */
  deploy(): Promise<Array<number | null>>;
  killServer(index: number): Promise<void>;
  close(): Promise<void>;
}

// As in a small container. On a machine with much memory V8 lets garbage lie for minutes, and a leak would hide in it.
export const HEAP_MB = 128;
const READINESS_MS = 100;
const AFTERMATH_MS = 5_000;

export async function startDeployment(options: DeploymentOptions): Promise<Deployment> {
  const cleanUp: Array<() => Promise<unknown>> = [];
  try {
    return await start(options, cleanUp);
  } catch (error) {
    for (const clean of cleanUp.reverse()) await clean().catch(() => {});
    throw error;
  }
}

async function start(
  { refreshTokens, accessTokenSeconds, redis: kind = "one", upstreamTimeoutSeconds = 2 }: DeploymentOptions,
  cleanUp: Array<() => Promise<unknown>>,
): Promise<Deployment> {
  const redis = kind === "one" ? await startOne(cleanUp) : await startSentinel(cleanUp);
  const balancer = await startBalancer();
  cleanUp.push(() => balancer.close());
  const upstream = await startFaultyProxy();
  cleanUp.push(() => upstream.close());
  const provider = await startProviderProcess({
    port: 0,
    publicUrl: `http://localhost:${upstream.port}`,
    client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${balancer.url}/auth/callback`] },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [ALICE],
    behaviour: { advertisesApiScopes: true, refreshTokens, accessTokenSeconds },
  });
  cleanUp.push(() => provider.close());
  upstream.target = provider.port;
  const weather = await startFakeWeatherApi({ port: 0 });
  cleanUp.push(() => weather.close());

  const ports = [await freePort(), await freePort()];
  const environment = {
    BASE_URL: balancer.url,
    HOST: "127.0.0.1",
    TRUSTED_PROXIES: "127.0.0.1",
    OIDC_ISSUER: provider.issuer,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
    OIDC_AUDIENCE: AUDIENCE,
    ...redis.environment,
    SECRET_KEY,
    OPEN_METEO_GEOCODING_URL: weather.geocodingUrl,
    OPEN_METEO_FORECAST_URL: weather.forecastUrl,
    UPSTREAM_TIMEOUT_SECONDS: String(upstreamTimeoutSeconds),
    // Longer than the balancer takes to notice, also on a busy machine.
    SHUTDOWN_DELAY_SECONDS: "3",
    SHUTDOWN_SECONDS: "8",
    // All clients of the soak have one address; everything else is as delivered.
    TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "1000000",
    REGISTRATIONS_PER_ADDRESS_PER_HOUR: "1000000",
    REGISTRATIONS_PER_HOUR: "1000000",
    SIGN_INS_PER_ADDRESS_PER_HOUR: "1000000",
    LOG_LEVEL: process.env.SOAK_LOG_LEVEL ?? "silent",
    NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}`,
  };
  const servers: ServerProcess[] = [];
  for (const port of ports) {
    const server = await startServerProcess({ ...environment, PORT: String(port) });
    cleanUp.push(() => server.kill());
    servers.push(server);
  }
  const watch = watchReadiness(balancer, ports);
  cleanUp.push(async () => watch.close());

  let killing = false;
  let storeDisturbedUntil = 0;
  let providerDown = false;
  let closed = false;

  /** In turn again: ready, and seen to be so. */
  async function inTurn(port: number): Promise<void> {
    for (const deadline = performance.now() + 60_000; performance.now() < deadline; await delay(50))
      if (watch.isReady(port)) return;
    throw new Error(`The server on port ${port} is not ready after 60 s`);
  }

  async function disturbStore(disturb: () => Promise<void>): Promise<void> {
    storeDisturbedUntil = Infinity;
    await disturb();
    storeDisturbedUntil = performance.now() + AFTERMATH_MS;
  }

  return {
    baseUrl: balancer.url,
    balancer,
    servers,
    environment,
    redisUrl: redis.url,
    upstream,
    isKilling: () => killing,
    isStoreDisturbed: () => performance.now() < storeDisturbedUntil,
    isProviderDown: () => providerDown,
    isClosed: () => closed,
    killRedis: (awayMs) => disturbStore(() => redis.killAndRestart(awayMs)),
    freezeRedis: (ms) => disturbStore(() => redis.freeze(ms)),
    failOver: () => disturbStore(() => redis.failOver()),
    async failProvider(fault, ms) {
      if (fault === "down") {
        providerDown = true;
        upstream.target = await freePort();
      } else upstream.fault = fault;
      await delay(ms);
      upstream.fault = undefined;
      upstream.target = provider.port;
      await delay(fault === "down" ? 500 : 0); // what was refused at the last moment may still be on its way
      providerDown = false;
    },
    async deploy() {
      const codes: Array<number | null> = [];
      for (const [index, server] of servers.entries()) {
        codes.push(await server.stop());
        await server.start();
        await inTurn(ports[index] ?? 0);
      }
      return codes;
    },
    async killServer(index) {
      killing = true;
      await servers[index]?.killAndRestart();
      await inTurn(ports[index] ?? 0);
      await delay(500); // what broke at the last moment may still be on its way
      killing = false;
    },
    async close() {
      closed = true;
      for (const clean of cleanUp.reverse()) await clean();
    },
  };
}

interface Redis {
  environment: Record<string, string>;
  url(): string;
  killAndRestart(awayMs: number): Promise<void>;
  freeze(ms: number): Promise<void>;
  failOver(): Promise<void>;
}

async function startOne(cleanUp: Array<() => Promise<unknown>>): Promise<Redis> {
  const directory = await mkdtemp(join(tmpdir(), "soak-redis-"));
  cleanUp.push(() => rm(directory, { recursive: true, force: true }));
  const redis = await startRedis({
    args: ["--appendonly", "yes", "--appendfsync", "always", "--dir", directory],
  });
  cleanUp.push(() => redis.stop());
  return {
    environment: { REDIS_URL: redis.url },
    url: () => redis.url,
    async killAndRestart(awayMs) {
      await redis.kill("SIGKILL");
      await delay(awayMs);
      await redis.restart();
    },
    async freeze(ms) {
      await redis.kill("SIGSTOP");
      await delay(ms);
      await redis.kill("SIGCONT");
    },
    async failOver() {
      throw new Error("There is no replica");
    },
  };
}

/** Nothing is written to disk: what a replica had not received when the master died is gone. */
async function startSentinel(cleanUp: Array<() => Promise<unknown>>): Promise<Redis> {
  const redis = await startRedisSentinel();
  cleanUp.push(() => redis.stop());
  let { master } = redis;
  return {
    environment: { REDIS_URL: redis.url, REDIS_SENTINELS: redis.sentinelUrls.join(",") },
    url: () => redis.dataUrl(master),
    async killAndRestart() {
      throw new Error("Nothing would be there again");
    },
    async freeze(ms) {
      await master.kill("SIGSTOP");
      await delay(ms);
      await master.kill("SIGCONT");
    },
    async failOver() {
      await master.kill("SIGKILL");
      master = redis.replica;
      await until("another master", async () => (await redis.masterNow()).endsWith(`:${master.port}`));
    },
  };
}

/**
 * As load balancers do it: requests go to who is ready, and if nobody is, to everybody who still accepts connections.
 * So an outage of Redis is answered by the servers and not by the balancer.
 */
function watchReadiness(balancer: Balancer, ports: readonly number[]) {
  const found = new Map<number, Readiness>();
  const are = (wanted: (each: Readiness) => boolean) =>
    ports.filter((port) => wanted(found.get(port) ?? "not ready"));
  let closed = false;
  balancer.targets = [...ports];
  // Each for itself: a slow answer of one must not keep the other, which is about to end, in turn.
  async function watch(port: number): Promise<void> {
    while (!closed) {
      found.set(port, await readiness(port));
      const ready = are((each) => each === "ready");
      balancer.targets = ready.length > 0 ? ready : are((each) => each !== "gone");
      await delay(READINESS_MS);
    }
  }
  for (const port of ports) void watch(port);
  return {
    isReady: (port: number) => found.get(port) === "ready",
    close() {
      closed = true;
    },
  };
}

type Readiness = "ready" | "not ready" | "gone";

async function readiness(port: number): Promise<Readiness> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(1_000) });
    await response.arrayBuffer();
    return response.ok ? "ready" : "not ready";
  } catch (error) {
    return error instanceof Error && error.name === "TimeoutError" ? "not ready" : "gone";
  }
}
