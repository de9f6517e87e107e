/** How long the production server takes from its start to its first answer, as `npm start` runs it and as the image does. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort } from "../test/support/free-port.ts";
import { makeImageTree } from "../test/support/image-tree.ts";
import type { Deployment } from "./deployment.ts";
import { type Spread, spread } from "./statistics.ts";

const NPM_START = fileURLToPath(new URL("../dist/src/cli/start.js", import.meta.url));
const POLL_MS = 5;
/** They make what is kept of the compiled modules, where Node keeps it (22 and later). */
const STARTS_BEFORE = 2;

export interface StartFigures {
  name: "npm start" | "the image";
  /** Milliseconds until `/mcp` answers somebody without a token: 401. */
  firstAnswerMs: Spread;
  /** Milliseconds until a live session is served: Redis is connected. */
  firstCallMs: Spread;
}

/** In turns. */
export async function measureStarts(
  deployment: Deployment,
  accessToken: string,
  times: number,
): Promise<StartFigures[]> {
  const image = makeImageTree();
  const programs = [
    { name: "npm start" as const, main: NPM_START },
    { name: "the image" as const, main: join(image.folder, ...image.command.slice(1)) },
  ].map((program) => ({ ...program, answers: [] as number[], calls: [] as number[] }));
  try {
    for (let round = -STARTS_BEFORE; round < times; round++)
      for (const { main, answers, calls } of programs) {
        const { firstAnswerMs, firstCallMs } = await startOnce(main, deployment, accessToken);
        if (round < 0) continue;
        answers.push(firstAnswerMs);
        calls.push(firstCallMs);
      }
  } finally {
    image.remove();
  }
  return programs.map(({ name, answers, calls }) => ({
    name,
    firstAnswerMs: spread(answers),
    firstCallMs: spread(calls),
  }));
}

async function startOnce(main: string, deployment: Deployment, accessToken: string) {
  const port = await freePort();
  const startedAt = performance.now();
  const server = start(main, deployment, port);
  await until(() => status(port, undefined), 401);
  const firstAnswerMs = performance.now() - startedAt;
  await until(() => status(port, accessToken), 200);
  const firstCallMs = performance.now() - startedAt;
  const gone = once(server, "exit");
  server.kill("SIGTERM");
  await gone;
  return { firstAnswerMs, firstCallMs };
}

function start(main: string, deployment: Deployment, port: number): ChildProcess {
  return spawn(process.execPath, [main], {
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
