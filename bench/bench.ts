/**
 * `npm run bench`: what authentication costs here, beside the SDKs without it and a peer with it. Loopback only, bounded;
 * prints its results and writes them to `bench/results.md`. `npm run bench -- --quick` looks whether all of it works.
 * `npm run bench -- --growth` measures what a million entries in an index make slower, and prints it alone; `--scale` what live
 * sessions do, up to 100,000 or with `--million` ten times as many; `--calls` and
 * `--machines` print what calls cost and what callers without a browser do, `--pass-through` what is passed on to another server, `--workers` what a
 * process for each core does, `--starts` how long a start takes.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { signIn, startDeployment } from "./deployment.ts";
import { growthReport } from "./growth-report.ts";
import { measureCalls } from "./measure-calls.ts";
import { measureGrowth } from "./measure-growth.ts";
import { measureMachines } from "./measure-machines.ts";
import { measurePassThrough } from "./measure-pass-through.ts";
import { measureScale, type Topology } from "./measure-scale.ts";
import { measureSessions } from "./measure-sessions.ts";
import { measureStarts } from "./measure-start.ts";
import { measureStreams } from "./measure-streams.ts";
import { measureWorkers } from "./measure-workers.ts";
import { meterRedis } from "./redis-meter.ts";
import {
  callsAlone,
  machinesReport,
  passThroughReport,
  report,
  startsReport,
  workersReport,
} from "./report.ts";
import { scaleReport } from "./scale-report.ts";

const isQuick = process.argv.includes("--quick");
const effort = isQuick
  ? { rounds: 2, requests: 300, warmUp: 300, settling: 100, coldSessions: 1_000 }
  : { rounds: 7, requests: 4_000, warmUp: 30_000, settling: 3_000, coldSessions: 1_000 };

if (process.argv.includes("--growth")) {
  const growth = isQuick
    ? { members: 20_000, rounds: 3, removed: 500 }
    : { members: 1_000_000, rounds: 40, removed: 20_000 };
  process.stdout.write(growthReport(await measureGrowth(growth)));
  process.exit();
}

if (process.argv.includes("--scale")) {
  const sizes = [1_000, 10_000, 100_000, ...(process.argv.includes("--million") ? [1_000_000] : [])];
  const scale = isQuick
    ? { sizes: [2_000], rounds: 2, endingSeconds: 5, mostListed: 2_000 }
    : { sizes, rounds: 10, endingSeconds: 20, mostListed: 10_000 };
  for (const topology of ["one Redis", "a cluster of three"] satisfies Topology[])
    process.stdout.write(scaleReport(await measureScale(topology, scale, say)));
  process.exit();
}

const deployment = await startDeployment();
if (process.argv.includes("--calls")) {
  process.stdout.write(callsAlone(await measureCalls(deployment, effort)));
  await deployment.close();
  process.exit();
}
if (process.argv.includes("--machines")) {
  const machines = await measureMachines(deployment, effort);
  process.stdout.write(machinesReport(machines));
  await deployment.close();
  process.exit();
}
if (process.argv.includes("--pass-through")) {
  const amounts = isQuick
    ? { megabytes: 10, readers: 4, open: 100, laterSeconds: 2 }
    : { megabytes: 10, readers: 16, open: 1_000, laterSeconds: 20 };
  const calls = await measurePassThrough(deployment, effort);
  process.stdout.write(passThroughReport(calls, await measureStreams(deployment, amounts)));
  await deployment.close();
  process.exit();
}
if (process.argv.includes("--starts")) {
  await deployment.ours({ tools: 1, guarded: true });
  const { access_token: accessToken } = await signIn(deployment);
  process.stdout.write(startsReport(await measureStarts(deployment, accessToken, isQuick ? 2 : 20)));
  await deployment.close();
  process.exit();
}
if (process.argv.includes("--workers")) {
  const amounts = isQuick
    ? { rounds: 2, secondsEach: 1, warmUpSeconds: 1 }
    : { rounds: 7, secondsEach: 5, warmUpSeconds: 20 };
  process.stdout.write(workersReport(await measureWorkers(deployment, amounts)));
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
  const starts = await measureStarts(deployment, (await signIn(deployment)).access_token, isQuick ? 2 : 10);
  const redis = await meterRedis(deployment.redis.url);
  const redisVersion = await redis.version();
  await redis.close();
  const text = report({ effort, calls, machines, sessions, starts, versions: versions(), redisVersion });
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
