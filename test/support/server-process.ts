/** A server process of its own, as in production: configured by its environment, stopped politely or killed. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { buildOnce } from "./built-program.ts";
import { eventually } from "./eventually.ts";

export interface ServerProcess {
  url: string;
  /** Without notice, and up again on the same port. */
  killAndRestart(): Promise<void>;
  /** SIGTERM; resolves with the exit code when it is gone. */
  stop(): Promise<number | null>;
  /** Starts it again after it was stopped or killed. */
  start(): Promise<void>;
  kill(): Promise<void>;
  /** However that is fastest. */
  end(): Promise<void>;
  pid(): number;
}

/** On a machine that is ten times slower. */
export const START_SECONDS = 120;

/** Resolves when it is ready, as a load balancer would see it. The environment is all that it sees. */
export async function startServerProcess(environment: Record<string, string>): Promise<ServerProcess> {
  let child = await spawn(environment);
  const kill = async () => void (await endBy("SIGKILL"));
  const endBy = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exited = once(child, "exit");
    child.kill(signal);
    const [code] = await exited;
    return code;
  };
  return {
    url: `http://localhost:${environment.PORT}`,
    async killAndRestart() {
      await kill();
      child = await spawn(environment);
    },
    stop: () => endBy("SIGTERM"),
    async start() {
      child = await spawn(environment);
    },
    kill,
    end: kill,
    pid: () => child.pid ?? 0,
  };
}

async function spawn(environment: Record<string, string>): Promise<ChildProcess> {
  buildOnce();
  const child = fork(new URL("./server.js", import.meta.url), {
    // No test asks an address on the internet.
    env: { PATH: process.env.PATH, CLIENT_ID_METADATA: "on", ...environment },
    execArgv: [],
  });
  await new Promise((listening, failed) => {
    child.once("message", listening);
    child.once("exit", (code) => failed(new Error(`The server ended with ${code} before it listened.`)));
  });
  await untilServerIsReady(Number(environment.PORT), () => {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error("The server ended before it was ready.");
  });
  return child;
}

/** It listens before its connection to Redis is made, and answers 503 meanwhile. */
export async function untilServerIsReady(port: number, assertAlive = () => {}): Promise<void> {
  const isReady = async () => {
    assertAlive();
    return fetch(`http://127.0.0.1:${port}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
  };
  await eventually("the server is ready", isReady, START_SECONDS);
}
