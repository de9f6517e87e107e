/** How long the production server takes from its start to its first answer. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort } from "../test/support/free-port.ts";
import type { Deployment } from "./deployment.ts";
import { type Spread, spread } from "./statistics.ts";

const MAIN = fileURLToPath(new URL("../dist/src/cli/start.js", import.meta.url));
const POLL_MS = 5;

export interface StartFigures {
  /** Milliseconds until `/mcp` answers somebody without a token: 401. */
  firstAnswerMs: Spread;
  /** Milliseconds until a live session is served: Redis is connected. */
  firstCallMs: Spread;
}

export async function measureStart(
  deployment: Deployment,
  accessToken: string,
  times: number,
): Promise<StartFigures> {
  const [answers, calls]: [number[], number[]] = [[], []];
  for (let round = 0; round < times; round++) {
    const port = await freePort();
    const startedAt = performance.now();
    const server = start(deployment, port);
    await until(() => status(port, undefined), 401);
    answers.push(performance.now() - startedAt);
    await until(() => status(port, accessToken), 200);
    calls.push(performance.now() - startedAt);
    const gone = once(server, "exit");
    server.kill("SIGTERM");
    await gone;
  }
  return { firstAnswerMs: spread(answers), firstCallMs: spread(calls) };
}

function start(deployment: Deployment, port: number): ChildProcess {
  return spawn(process.execPath, [MAIN], {
    env: { PATH: process.env.PATH, NODE_ENV: "production", ...deployment.environment(port) },
    stdio: ["ignore", "ignore", "inherit"],
  });
}

async function until(ask: () => Promise<number>, wanted: number): Promise<void> {
  for (const end = performance.now() + 30_000; performance.now() < end; await delay(POLL_MS))
    if ((await ask()) === wanted) return;
  throw new Error(`The server did not answer ${wanted} within 30 s`);
}

/** 0 while nobody listens. */
function status(port: number, accessToken: string | undefined): Promise<number> {
  const headers = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    ...(accessToken !== undefined && { authorization: `Bearer ${accessToken}` }),
  };
  return new Promise((resolve) => {
    const asking = request({ host: "127.0.0.1", port, path: "/mcp", method: "POST", headers }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    asking.on("error", () => resolve(0));
    asking.end(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: {} }));
  });
}
