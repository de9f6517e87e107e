/** Several servers behind a load balancer, with one Redis and one identity provider: a deployment in small. */
import {
  type ProviderBehaviour,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { type Balancer, startBalancer } from "./balancer.ts";
import { type FaultyProxy, startFaultyProxy } from "./faulty-proxy.ts";
import { freePort } from "./free-port.ts";
import { startRedis, type TestRedis } from "./redis.ts";
import { type ServerHere, startServerHere } from "./server-here.ts";
import { type ServerProcess, startServerProcess } from "./server-process.ts";
import { ALICE, AUDIENCE, BOB, REDIS_TIMEOUT_MS, SECRET_KEY } from "./test-server.ts";

export interface Cluster<Server = ServerProcess> {
  /** BASE_URL: the load balancer. */
  baseUrl: string;
  /** The MCP endpoint there. */
  url: string;
  balancer: Balancer;
  servers: Server[];
  ports: number[];
  redis: TestRedis;
  /** Between the servers and the identity provider. */
  upstream: FaultyProxy;
  close(): Promise<void>;
}

type EnvironmentOf = Record<string, string> | ((index: number) => Record<string, string>);

/**
 * Of processes.
 * @param environment of every server, or of the one with that index
 */
export function startCluster(
  count: number,
  environment: EnvironmentOf = {},
  behaviour: ProviderBehaviour = {},
): Promise<Cluster> {
  return clusterOf(startServerProcess, count, environment, behaviour);
}

/** The same without processes: nothing of it can be killed, and its servers share what a module keeps. */
export function startClusterHere(
  count: number,
  environment: EnvironmentOf = {},
): Promise<Cluster<ServerHere>> {
  return clusterOf(startServerHere, count, environment, {});
}

async function clusterOf<Server extends { end(): Promise<unknown> }>(
  startServer: (environment: Record<string, string>) => Promise<Server>,
  count: number,
  environment: EnvironmentOf,
  behaviour: ProviderBehaviour,
): Promise<Cluster<Server>> {
  const redis = await startRedis();
  const balancer = await startBalancer();
  const upstream = await startFaultyProxy();
  const issuer = await startIdentityProvider({
    port: 0,
    publicUrl: `http://localhost:${upstream.port}`,
    client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${balancer.url}/auth/callback`] },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [ALICE, BOB],
    behaviour: { advertisesApiScopes: true, ...behaviour },
  });
  upstream.target = issuer.port;
  const ports: number[] = [];
  while (ports.length < count) ports.push(await freePort());
  const servers = await Promise.all(
    ports.map((port, index) =>
      startServer({
        BASE_URL: balancer.url,
        PORT: String(port),
        HOST: "127.0.0.1",
        TRUSTED_PROXIES: "127.0.0.1",
        OIDC_ISSUER: issuer.issuer,
        OIDC_CLIENT_ID: "proxy",
        OIDC_CLIENT_SECRET: "proxy-secret",
        OIDC_AUDIENCE: AUDIENCE,
        REDIS_URL: redis.url,
        SECRET_KEY,
        REDIS_TIMEOUT_MS,
        MAX_GRANTS_PER_USER: "10000",
        MAX_GRANTS_PER_USER_AND_CLIENT: "10000",
        LOG_LEVEL: "silent",
        ...(typeof environment === "function" ? environment(index) : environment),
      }),
    ),
  );
  balancer.targets = [...ports];
  return {
    baseUrl: balancer.url,
    url: `${balancer.url}/mcp`,
    balancer,
    servers,
    ports,
    redis,
    upstream,
    async close() {
      await Promise.all(servers.map((server) => server.end()));
      await issuer.close();
      await upstream.close();
      await balancer.close();
      await redis.stop();
    },
  };
}
