/** What the subjects run on: a real Redis, a real identity provider, and processes of their own. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { startIdentityProvider } from "../dev/identity-provider/identity-provider.ts";
import { freePort } from "../test/support/free-port.ts";
import { register, signInForTokens, type Tokens } from "../test/support/oauth-client.ts";
import { startRedis, type TestRedis } from "../test/support/redis.ts";
import type { FastMcpSettings } from "./subjects/fastmcp.ts";
import type { OurSettings } from "./subjects/ours.ts";
import { CPU, MEMORY, type Settings } from "./subjects/subject.ts";

export interface Subject {
  url: string;
  ask<Answer>(question: unknown): Promise<Answer>;
  /** Processor time that it has used, in microseconds. */
  cpu(): Promise<number>;
  /** Bytes that are alive. */
  memory(): Promise<number>;
  stop(): Promise<void>;
}

export interface Deployment {
  redis: Pick<TestRedis, "url" | "stop">;
  /** Where our servers say they are; the first of them listens there. */
  port: number;
  /** Where the authenticated peer says it is. */
  peerOrigin: string;
  ours(settings: Settings & { guarded: boolean }, environment?: Record<string, string>): Promise<Subject>;
  fastmcp(settings: Settings, authenticated: boolean): Promise<Subject>;
  /** One of those that need nothing. */
  plain(name: string, settings: Settings): Promise<Subject>;
  /** The environment of `npm start`. */
  environment(port: number): Record<string, string>;
  close(): Promise<void>;
}

const AUDIENCE = "https://weather.example.com";
const CLIENT = { id: "proxy", secret: "proxy-secret" };
const TSX = createRequire(import.meta.url).resolve("tsx");

/** One Redis of its own, or what is given, with the settings that lead there. */
export interface OtherRedis {
  redis: Pick<TestRedis, "url" | "stop">;
  environment: Record<string, string>;
}

export async function startDeployment(other?: OtherRedis): Promise<Deployment> {
  const redis = other?.redis ?? (await startRedis());
  const [port, peerPort] = [await freePort(), await freePort()];
  const identityProvider = await startIdentityProvider({
    port: 0,
    client: {
      ...CLIENT,
      redirectUris: [`http://localhost:${port}/auth/callback`, `http://localhost:${peerPort}/oauth/callback`],
    },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [{ subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["weather:read"] }],
    behaviour: { advertisesApiScopes: true },
  });
  const { issuer } = identityProvider;
  const started: Subject[] = [];
  const start = async (name: string, settings: Settings & object): Promise<Subject> => {
    const subject = await startSubject(name, settings);
    started.push(subject);
    return subject;
  };
  const environment = (listenOn: number) => ({
    BASE_URL: `http://localhost:${port}`,
    PORT: String(listenOn),
    HOST: "127.0.0.1",
    OIDC_ISSUER: issuer,
    OIDC_CLIENT_ID: CLIENT.id,
    OIDC_CLIENT_SECRET: CLIENT.secret,
    OIDC_AUDIENCE: AUDIENCE,
    ...(other?.environment ?? { REDIS_URL: redis.url }),
    SECRET_KEY: "a-secret-of-the-benchmark-32-bytes-or-more",
  });
  let isFirst = true;
  return {
    redis,
    port,
    peerOrigin: `http://localhost:${peerPort}`,
    environment,
    async ours(settings, more = {}) {
      const listenOn = isFirst ? port : await freePort();
      isFirst = false;
      const all: Settings & OurSettings = { ...settings, environment: { ...environment(listenOn), ...more } };
      return start("ours", all);
    },
    async fastmcp(settings, authenticated) {
      const provider = { issuer, clientId: CLIENT.id, clientSecret: CLIENT.secret };
      const all: Settings & FastMcpSettings = {
        ...settings,
        port: authenticated ? peerPort : await freePort(),
        ...(authenticated && { provider }),
      };
      return start("fastmcp", all);
    },
    plain: start,
    async close() {
      await Promise.all(started.map((subject) => subject.stop()));
      await identityProvider.close();
      await redis.stop();
    },
  };
}

/**
 * Its log goes nowhere, but it is written. Each stands still while the others are measured, and V8 would make it small meanwhile: it
 * forgets what it compiled, and the next thousand calls cost three times as much.
 */
async function startSubject(name: string, settings: object): Promise<Subject> {
  const child = fork(new URL(`subjects/${name}.ts`, import.meta.url), [JSON.stringify(settings)], {
    execArgv: ["--expose-gc", "--no-memory-reducer", "--import", TSX],
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const ask = async <Answer>(question: unknown): Promise<Answer> => {
    child.send(question as string);
    return answerOf<Answer>(child, name);
  };
  const { port } = await answerOf<{ port: number }>(child, name);
  return {
    url: `http://localhost:${port}/mcp`,
    ask,
    cpu: () => ask<number>(CPU),
    memory: () => ask<number>(MEMORY),
    async stop() {
      if (!child.connected) return;
      const exited = once(child, "exit");
      child.disconnect();
      await exited;
    },
  };
}

async function answerOf<Answer>(child: ChildProcess, name: string): Promise<Answer> {
  const answered = new AbortController();
  const { signal } = answered;
  try {
    return await Promise.race([
      once(child, "message", { signal }).then(([answer]) => answer as Answer),
      once(child, "exit", { signal }).then(() => Promise.reject(new Error(`The subject ${name} ended`))),
    ]);
  } finally {
    answered.abort();
  }
}

/** Signs in at one of our servers, all the way. @param path of the resource, if it is not the first */
export async function signIn(deployment: Deployment, path?: string): Promise<Tokens> {
  const baseUrl = `http://localhost:${deployment.port}`;
  return signInForTokens(baseUrl, await register(baseUrl), path === undefined ? {} : { path });
}
