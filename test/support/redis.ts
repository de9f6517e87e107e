/**
 * Real Redis servers for tests: one of its own per caller, on a free loopback port, without persistence.
 * They end with the process that started them, however that ends.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export interface TestRedis {
  url: string;
  port: number;
  /** Sends the signal to the server; after a deadly one it waits until nothing answers any more. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port with the same arguments; the data is gone. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** @param options.args further arguments of `redis-server`, such as `["--maxmemory", "10mb"]`. */
export async function startRedis(options: { args?: readonly string[] } = {}): Promise<TestRedis> {
  const args = options.args ?? [];
  let server = await startOnFreePort(args);
  const { port } = server;
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    async kill(signal = "SIGKILL") {
      process.kill(server.pid, signal);
      if (signal === "SIGKILL" || signal === "SIGTERM") await untilSilent(port);
    },
    async restart() {
      await end(server);
      server = await startServer(port, args);
    },
    async stop() {
      await end(server);
    },
  };
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

/** Why tests that call `startRedis` cannot run here, or false; with CI=true not being able to is an error. */
export function skipWithoutRedisServer(): string | false {
  if (spawnSync("redis-server", ["--version"]).status === 0) return false;
  const skip =
    "redis-server is not on PATH: install it with 'apt-get install redis-server' or set TEST_REDIS_URL";
  if (process.env.CI === "true") throw new Error(skip);
  return skip;
}

interface Server {
  port: number;
  pid: number;
  keeper: ChildProcess;
}

/** Another process may take the port between its choice and its use. */
async function startOnFreePort(args: readonly string[]): Promise<Server> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startServer(await freePort(), args);
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
}

/**
 * A shell keeps the server and kills it when its own standard input ends. The kernel closes that pipe with
 * this process, so not even SIGKILL or a crash leaves a Redis behind.
 */
const keeperScript = 'redis-server "$@" >/dev/null 2>&1 & echo $!; read -r _; kill -9 $!; wait';

async function startServer(port: number, args: readonly string[]): Promise<Server> {
  const own = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const keeper = spawn("sh", ["-c", keeperScript, "sh", ...own, ...args], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  const [line] = (await once(keeper.stdout, "data")) as [Buffer];
  // A forgotten server must not keep the test process from ending.
  keeper.unref();
  for (const pipe of [keeper.stdin, keeper.stdout]) (pipe as unknown as Socket).unref();
  const server = { port, pid: Number(line.toString()), keeper };
  try {
    await untilReady(server);
  } catch (error) {
    await end(server);
    throw error;
  }
  return server;
}

async function end({ keeper }: Server): Promise<void> {
  if (keeper.exitCode !== null || keeper.signalCode !== null) return;
  const ended = once(keeper, "exit");
  keeper.ref();
  keeper.stdin?.end();
  await ended;
}

/** Its own process id in the answer tells it from another Redis that got the port first. */
async function untilReady({ port, pid }: Server): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await delay(20)) {
    const reply = await ask(port, "INFO server\r\n");
    if (reply?.includes(`process_id:${pid}\r\n`) || reply?.startsWith("-NOAUTH")) return;
  }
  throw new Error(`redis-server did not answer on port ${port}`);
}

async function untilSilent(port: number): Promise<void> {
  while ((await ask(port, "PING\r\n")) !== undefined) await delay(10);
}

/** The beginning of the answer, or undefined when nobody listens. */
function ask(port: number, command: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(command));
    socket.once("data", (data) => {
      socket.destroy();
      resolve(data.toString());
    });
    socket.once("close", () => resolve(undefined));
    socket.once("error", () => resolve(undefined));
  });
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}
