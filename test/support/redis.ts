/** Real Redis servers for tests: one of its own per caller, or one that the environment names. */
import { spawnSync } from "node:child_process";
import { type RedisProcess, startRedisProcess, WITHOUT_PERSISTENCE } from "./redis-process.ts";

export interface TestRedis extends RedisProcess {
  url: string;
}

/** @param options.args further arguments of `redis-server`, such as `["--maxmemory", "10mb"]`. */
export async function startRedis(options: { args?: readonly string[] } = {}): Promise<TestRedis> {
  const server = await startRedisProcess([...WITHOUT_PERSISTENCE, ...(options.args ?? [])]);
  return { ...server, url: `redis://127.0.0.1:${server.port}` };
}

/** What a test file asks for: pass `skip` to its suite, and `stop` the rest after it. */
export type RedisForTests =
  | { skip: false; url: string; stop(): Promise<void> }
  | { skip: string; url: undefined; stop(): Promise<void> };

/**
 * TEST_REDIS_URL when set (shared with others: use keys of your own), else a server of one's own. Where there
 * is neither, the tests are to be skipped; with CI=true that is an error.
 */
export async function redisForTests(): Promise<RedisForTests> {
  const shared = process.env.TEST_REDIS_URL;
  if (shared) return { skip: false, url: shared, stop: async () => {} };
  const skip = skipWithoutRedisServer();
  if (skip) return { skip, url: undefined, stop: async () => {} };
  const { url, stop } = await startRedis();
  return { skip: false, url, stop };
}

/** Asked once: this process is large, and to start another from it costs more than the answer. */
let isInstalled: boolean | undefined;

/** Why tests that call `startRedis` cannot run here, or false; with CI=true not being able to is an error. */
export function skipWithoutRedisServer(): string | false {
  isInstalled ??= spawnSync("redis-server", ["--version"]).status === 0;
  if (isInstalled) return false;
  const skip =
    "redis-server is not on PATH: install it with 'apt-get install redis-server' or set TEST_REDIS_URL";
  if (process.env.CI === "true") throw new Error(skip);
  return skip;
}
