/**
 * `npm run bench`: what authentication costs here, beside the SDKs without it and a peer with it. Loopback only, bounded;
 * prints its results and writes them to `bench/results.md`. `npm run bench -- --quick` looks whether all of it works.
 * `npm run bench -- --growth` measures what a million sessions make slower, and prints it alone; `--machines` does so for the
 * callers without a browser.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { signIn, startDeployment } from "./deployment.ts";
import { growthReport } from "./growth-report.ts";
import { measureCalls } from "./measure-calls.ts";
import { measureGrowth } from "./measure-growth.ts";
import { measureMachines } from "./measure-machines.ts";
import { measureSessions } from "./measure-sessions.ts";
import { measureStart } from "./measure-start.ts";
import { meterRedis } from "./redis-meter.ts";
import { machinesReport, report } from "./report.ts";

const isQuick = process.argv.includes("--quick");
const effort = isQuick
  ? { rounds: 2, requests: 300, warmUp: 300, coldSessions: 1_000 }
  : { rounds: 5, requests: 1_500, warmUp: 2_500, coldSessions: 1_000 };

if (process.argv.includes("--growth")) {
  const growth = isQuick
    ? { members: 20_000, rounds: 3, removed: 500 }
    : { members: 1_000_000, rounds: 40, removed: 20_000 };
  process.stdout.write(growthReport(await measureGrowth(growth)));
  process.exit();
}

const deployment = await startDeployment();
if (process.argv.includes("--machines")) {
  const machines = await measureMachines(deployment, effort);
  process.stdout.write(machinesReport(machines));
  await deployment.close();
  process.exit();
}
try {
  say("calls");
  const calls = await measureCalls(deployment, effort);
  say("machines");
  const machines = await measureMachines(deployment, effort);
  say("sessions");
  const amounts = isQuick ? { signIns: 3, sessions: 1_000 } : { signIns: 50, sessions: 10_000 };
  const sessions = await measureSessions(deployment, amounts);
  say("starts");
  const { access_token: accessToken } = await signIn(deployment);
  const start = await measureStart(deployment, accessToken, isQuick ? 2 : 10);
  const redis = await meterRedis(deployment.redis.url);
  const redisVersion = await redis.version();
  await redis.close();
  const text = report({ effort, calls, machines, sessions, start, versions: versions(), redisVersion });
  process.stdout.write(`\n${text}`);
  if (!isQuick) writeFileSync(new URL("results.md", import.meta.url), text);
  const errors = [...calls, ...machines]
    .flatMap(({ rounds }) => rounds)
    .reduce((sum, round) => sum + round.errors, 0);
  if (errors > 0)
    throw new Error(`${errors} answers were not the expected ones: the figures are worth nothing`);
} finally {
  await deployment.close();
}

function say(what: string): void {
  process.stderr.write(`measuring ${what} …\n`);
}

function versions(): Record<string, string> {
  const { dependencies } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"));
  const compared = ["@modelcontextprotocol/server", "@modelcontextprotocol/sdk", "express", "fastmcp"];
  return Object.fromEntries(compared.map((name) => [name, dependencies[name]]));
}
