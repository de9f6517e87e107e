/**
 * `WORKERS`: one process against one for each core, both as `npm start` runs them. The load is wrk's, which needs less of a processor
 * than a program of Node: with as many workers as cores there is no core left for it.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { builtProgram } from "../test/support/built-program.ts";
import { freePort } from "../test/support/free-port.ts";
import { untilServerIsReady } from "../test/support/server-process.ts";
import { type Deployment, signIn } from "./deployment.ts";

export interface WorkersEffort {
  rounds: number;
  secondsEach: number;
  warmUpSeconds: number;
}

export interface WorkersRow {
  workers: number;
  /** Of one round. */
  rounds: Array<{ requestsPerSecond: number; cpuMicroseconds: number }>;
}

const CONNECTIONS = 32;
const TICKS_PER_SECOND = 100; // Linux, `getconf CLK_TCK`
// All of them listen by then.
const SETTLE_MS = 3_000;

/** @throws if wrk is not installed, or an answer was none of success */
export async function measureWorkers(deployment: Deployment, effort: WorkersEffort): Promise<WorkersRow[]> {
  if (spawnSync("wrk", ["--version"]).error)
    throw new Error("Install wrk first: the load of this measurement is its.");
  const folder = mkdtempSync(join(tmpdir(), "bench-"));
  const servers: ChildProcess[] = [];
  try {
    const measured: Array<{ row: WorkersRow; port: number; server: ChildProcess }> = [];
    for (const workers of [1, availableParallelism()]) {
      const port = workers === 1 ? deployment.port : await freePort();
      const server = start({ ...deployment.environment(port), WORKERS: String(workers) }, folder);
      servers.push(server);
      await untilServerIsReady(port);
      measured.push({ row: { workers, rounds: [] }, port, server });
    }
    await delay(SETTLE_MS);
    const script = scriptOf((await signIn(deployment)).access_token, folder);
    const measure = ({ port, server }: (typeof measured)[number], seconds: number) => {
      const before = cpuSeconds(server.pid);
      const { requests, requestsPerSecond } = wrk(port, script, seconds);
      return { requestsPerSecond, cpuMicroseconds: ((cpuSeconds(server.pid) - before) / requests) * 1e6 };
    };
    for (const each of measured) measure(each, effort.warmUpSeconds);
    for (let round = 0; round < effort.rounds; round++)
      for (const each of measured) each.row.rounds.push(measure(each, effort.secondsEach));
    return measured.map(({ row }) => row);
  } finally {
    await Promise.all(servers.map(stop));
    rmSync(folder, { recursive: true });
  }
}

function start(environment: Record<string, string>, cwd: string): ChildProcess {
  return spawn(process.execPath, [builtProgram("src/cli/start")], {
    cwd,
    env: { PATH: process.env.PATH, NODE_ENV: "production", ...environment },
    stdio: ["ignore", "ignore", "inherit"],
  });
}

async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return;
  const gone = once(server, "exit");
  server.kill("SIGTERM");
  await gone;
}

/** A call of a tool, as wrk sends it. */
function scriptOf(accessToken: string, folder: string): string {
  const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "whoami", arguments: {} } };
  const headers = {
    "Content-Type": "application/json",
    Accept: "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
    Authorization: `Bearer ${accessToken}`,
  };
  const lines = [
    'wrk.method = "POST"',
    `wrk.body = [[${JSON.stringify(call)}]]`,
    ...Object.entries(headers).map(([name, value]) => `wrk.headers["${name}"] = "${value}"`),
  ];
  const file = join(folder, "call.lua");
  writeFileSync(file, lines.join("\n"), { mode: 0o600 });
  return file;
}

function wrk(port: number, script: string, seconds: number): { requests: number; requestsPerSecond: number } {
  const args = ["-t1", `-c${CONNECTIONS}`, `-d${seconds}s`, "-s", script, `http://127.0.0.1:${port}/mcp`];
  const said = execFileSync("wrk", args, { encoding: "utf8" });
  if (said.includes("Non-2xx")) throw new Error(said);
  const number = (pattern: RegExp) => Number(pattern.exec(said)?.[1]);
  return { requests: number(/(\d+) requests in/), requestsPerSecond: number(/Requests\/sec:\s+([\d.]+)/) };
}

/** Of a process and all that it started, user and system. */
function cpuSeconds(pid: number | undefined): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const [user = 0, system = 0] = stat.slice(stat.lastIndexOf(")")).split(" ").slice(12, 14).map(Number);
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  return (
    (user + system) / TICKS_PER_SECOND + children.reduce((sum, child) => sum + cpuSeconds(Number(child)), 0)
  );
}
