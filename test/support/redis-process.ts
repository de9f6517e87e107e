/**
 * One `redis-server` process on a free loopback port, without persistence. It ends with the process that started it,
 * however that ends.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "./free-port.ts";

export interface RedisProcess {
  port: number;
  /** Sends the signal to the server; after a deadly one it waits until nothing answers any more. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port with the same arguments; the data is gone. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * @param args of `redis-server`
 * @param knownPort if others had to be told before it starts
 */
export async function startRedisProcess(args: readonly string[], knownPort?: number): Promise<RedisProcess> {
  let server = await (knownPort === undefined ? startOnFreePort(args) : startServer(knownPort, args));
  const { port } = server;
  return {
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

/** What a server is told that keeps data for a test only, and gives it to its replicas without waiting for more of them. */
export const WITHOUT_PERSISTENCE = ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"];

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
  const all = [...args, "--port", String(port), "--bind", "127.0.0.1"];
  const keeper = spawn("sh", ["-c", keeperScript, "sh", ...all], {
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
