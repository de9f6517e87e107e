/** The results as a document: what was measured, with its spread, and what was aimed at. */
import { cpus, loadavg } from "node:os";
import type { Measured } from "./load.ts";
import { type Effort, ROWS, type Row } from "./measure-calls.ts";
import { MACHINE_ROWS } from "./measure-machines.ts";
import { PASS_THROUGH_ROWS, type PassThroughFigures } from "./measure-pass-through.ts";
import type { SessionFigures } from "./measure-sessions.ts";
import type { StartFigures } from "./measure-start.ts";
import type { StreamFigures } from "./measure-streams.ts";
import type { WorkersRow } from "./measure-workers.ts";
import { ratio, type Spread, spread } from "./statistics.ts";

export interface Results {
  effort: Effort;
  calls: Row[];
  machines: Row[];
  sessions: SessionFigures;
  starts: StartFigures[];
  versions: Record<string, string>;
  redisVersion: string;
}

export function report({
  effort,
  calls,
  machines,
  sessions,
  starts,
  versions,
  redisVersion,
}: Results): string {
  const aims = [...aimsOfCalls(calls), ...aimsOfSessions(sessions), ...aimsOfStarts(starts)];
  return `# Results of \`npm run bench\`

${new Date().toISOString().slice(0, 10)}, Node ${process.version}, Redis ${redisVersion}, ${cpus().length} × ${cpus()[0]?.model.trim()}.
${Object.entries(versions)
  .map(([name, version]) => `${name} ${version}`)
  .join(", ")}.

All in one run: ${effort.rounds} rounds, every subject in turn in each, ${effort.requests} requests over 8 connections, after ${effort.settling}
that do not count. Every process and Redis are on the same machine as the load. The median of the rounds, and in brackets the least and the most. Compare
the ratios: absolute times are this machine's. Ours writes its log and audit log, as in production; the others write none.

${callsReport(calls)}
CPU is the server process's, user and system, as the operating system counts it. Of the Redis commands those are
taken off that come anyway: each server checks its connection once a second. ${ROWS.cold}: ${effort.coldSessions} sessions in turn with room for 100 in memory.

${machinesReport(machines)}
## Sessions

| | |
| --- | --- |
| Sign-in, from \`/authorize\` to the tokens | ${sessions.signInHops} HTTP requests of browser and client, ${shown(sessions.signInMs, 1)} ms, all parties together |
| … store operations, Redis commands | ${fixed(sessions.signInOperations, 1)}, ${fixed(sessions.signInRedisCommands, 1)} (what a script calls is counted too) |
| Refresh | ${shown(sessions.refreshMs, 1)} ms |
| … store operations, Redis commands | ${fixed(sessions.refreshOperations, 1)}, ${fixed(sessions.refreshRedisCommands, 1)} |
| ${sessions.sessions} live sessions in Redis | ${megabytes(sessions.redisPerSession * sessions.sessions)} MB, ${fixed(sessions.redisPerSession, 0)} bytes each |
| … warm, in the memory of a process | ${megabytes(sessions.processPerSession * sessions.sessions)} MB, ${fixed(sessions.processPerSession, 0)} bytes each |

${startsReport(starts)}

## What was aimed at

Where the time goes, and why something was missed: [README.md](README.md).

| | aim | measured | |
| --- | --- | --- | --- |
${aims.map(aimRow).join("\n")}
`;
}

/** The calls alone, and what is aimed at for them. */
export function callsAlone(calls: readonly Row[]): string {
  return `${callsReport(calls)}
| | aim | measured | |
| --- | --- | --- | --- |
${aimsOfCalls(calls).map(aimRow).join("\n")}
`;
}

function callsReport(calls: readonly Row[]): string {
  return `## Calling a tool

| | CPU per request, µs | × (b) | requests/s | p50, ms | p99, ms | Redis commands | errors |
| --- | --- | --- | --- | --- | --- | --- | --- |
${calls.map((row) => rowOf(row, calls)).join("\n")}
`;
}

function aimRow({ what, aim, measured, isReached }: Aim): string {
  return `| ${what} | ${aim} | ${measured} | ${isReached ? "reached" : "**missed**"} |`;
}

/** A section of its own. */
export function startsReport(starts: readonly StartFigures[]): string {
  const rows = starts.map(
    ({ name, firstAnswerMs, firstCallMs }) =>
      `| ${name} | ${shown(firstAnswerMs, 0)} | ${shown(firstCallMs, 0)} |`,
  );
  return `## A start

Node ${process.version}, milliseconds from the start of the process.

| | to the first answer (401) | to the first call of a live session |
| --- | --- | --- |
${rows.join("\n")}
`;
}

/** A section of its own: one process beside one for each core. */
export function workersReport([one, ...others]: readonly WorkersRow[]): string {
  const rate = (row: WorkersRow | undefined) =>
    row?.rounds.map(({ requestsPerSecond }) => requestsPerSecond) ?? [];
  const rowOf = (row: WorkersRow) =>
    `| ${row.workers} | ${shown(spread(rate(row)), 0)} | ${shown(ratio(rate(row), rate(one)), 2)} | ${shown(spread(row.rounds.map(({ cpuMicroseconds }) => cpuMicroseconds)), 0)} |`;
  return `## All cores

${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}, load average ${Math.round(loadavg()[0] ?? 0)}. wrk needs some of them as well.

| WORKERS | requests/s | × one | CPU per request, µs |
| --- | --- | --- | --- |
${[one, ...others].flatMap((row) => (row === undefined ? [] : [rowOf(row)])).join("\n")}
`;
}

/** A section of its own: one process, in which an issuer is trusted and a client configured. */
export function machinesReport(machines: readonly Row[]): string {
  return `## Callers without a browser

| | CPU per request, µs | × ${MACHINE_ROWS.own} | requests/s | p50, ms | p99, ms | Redis commands | errors |
| --- | --- | --- | --- | --- | --- | --- | --- |
${machines.map((row) => measuredRow(row, valuesOf(machines, MACHINE_ROWS.own, "cpuPerRequest"))).join("\n")}

All of them at one process, which trusts an issuer and has a client configured.
`;
}

/** Passing on through this server, beside what it is compared with. */
export function passThroughReport({ rows, crowded }: PassThroughFigures, streams: StreamFigures): string {
  const { backend, nginx, own, through } = PASS_THROUGH_ROWS;
  const cpu = (name: string) => valuesOf(rows, name, "cpuPerRequest");
  const p99 = (name: string) => valuesOf(crowded, name, "p99");
  const added = (name: string) =>
    spread(p99(name).map((value, round) => value - (p99(backend)[round] ?? Number.NaN)));
  const { megabytes: size, readers, open, laterSeconds } = streams;
  return `## A call that is passed on

${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}, load average ${fixed(loadavg()[1] ?? 0, 0)}.

| | CPU per request, µs | × ${nginx} | requests/s | p50, ms | p99, ms | Redis commands | errors |
| --- | --- | --- | --- | --- | --- | --- | --- |
${rows.map((row) => measuredRow(row, cpu(nginx))).join("\n")}

The processor time is that of the program in the row alone; requests and latencies are those of the whole way.

| | aim | measured |
| --- | --- | --- |
| CPU: this server to our own tool | ≤ 0.80 | ${shown(ratio(cpu(through), cpu(own)), 2)} |
| CPU: this server to nginx | ≤ 3.00 | ${shown(ratio(cpu(through), cpu(nginx)), 2)} |
| p99 beside the server alone, 16 connections, ms: nginx | | ${shown(added(nginx), 0)} |
| p99 beside the server alone, 16 connections, ms: this server | | ${shown(added(through), 0)} |
| ${readers} results of ${size} MB at once, all being read: memory, MB | | ${megabytes(streams.reading)} |
| ${readers} results of ${size} MB at once, none being read: memory, MB | | ${megabytes(streams.notReading)} |
| ${fixed(open, 0)} open event streams, each, bytes | | ${fixed(streams.perOpen, 0)} |
| … ${laterSeconds} seconds later | the same | ${fixed(streams.perOpenLater, 0)} |
| … all of them, processor time, ms in a second | | ${fixed(streams.idleMs, 1)} |
| … when they are closed: memory, MB | 0 | ${megabytes(streams.left)} |
`;
}

interface Aim {
  what: string;
  aim: string;
  measured: string;
  isReached: boolean;
}

function aimsOfCalls(calls: readonly Row[]): Aim[] {
  const cpu = (name: string) => valuesOf(calls, name, "cpuPerRequest");
  const compared = (one: string, other: string, most: number): Aim => {
    const found = ratio(cpu(one), cpu(other));
    return {
      what: `CPU: ${one} to ${other}`,
      aim: `≤ ${most.toFixed(2)}`,
      measured: shown(found, 2),
      isReached: found.median <= most,
    };
  };
  const commands = spread(valuesOf(calls, ROWS.warm, "redisCommandsPerRequest"));
  return [
    compared(ROWS.warm, ROWS.bare, 1.05),
    compared(ROWS.warm, ROWS.sdkV2, 0.45),
    compared(ROWS.warm, ROWS.peer, 0.28),
    compared(ROWS.warmWithPolicy, ROWS.warm, 1.05),
    compared(ROWS.warmTools100, ROWS.warm, 1.05),
    compared(ROWS.warmTools100, ROWS.sdkV2Tools100, 0.2),
    compared(ROWS.cold, ROWS.warm, 1.15),
    compared(ROWS.newWarm, ROWS.newBare, 1.05),
    compared(ROWS.newWarm, ROWS.newSdkV2, 0.45),
    {
      what: "Redis commands per warm request",
      aim: "0.00",
      measured: fixed(Math.abs(commands.median), 2),
      isReached: Math.abs(commands.median) < 0.005,
    },
  ];
}

function aimsOfSessions(figures: SessionFigures): Aim[] {
  const most = (what: string, value: number, limit: number, unit = ""): Aim => ({
    what,
    aim: `≤ ${limit}${unit}`,
    measured: `${fixed(value, 1)}${unit}`,
    isReached: value <= limit,
  });
  const per10000 = (bytes: number) => (bytes * 10_000) / 1e6;
  return [
    most("Store operations of a sign-in", figures.signInOperations, 10),
    most("Store operations of a refresh", figures.refreshOperations, 5),
    most("10,000 sessions in Redis", per10000(figures.redisPerSession), 40, " MB"),
    most("10,000 sessions, warm, in a process", per10000(figures.processPerSession), 40, " MB"),
  ];
}

function aimsOfStarts(starts: readonly StartFigures[]): Aim[] {
  return starts.map(({ name, firstAnswerMs }) => ({
    what: `Start to the first answer: ${name}`,
    aim: "≤ 500 ms",
    measured: `${shown(firstAnswerMs, 0)} ms`,
    isReached: firstAnswerMs.median <= 500,
  }));
}

function rowOf(row: Row, calls: readonly Row[]): string {
  const baseline = row.name.startsWith("2026") ? ROWS.newSdkV2 : ROWS.sdkV2;
  return measuredRow(row, valuesOf(calls, baseline, "cpuPerRequest"));
}

/** @param baseline of each round, for the ratio */
function measuredRow({ name, rounds }: Row, baseline: readonly number[]): string {
  const of = (field: keyof Measured) => spread(rounds.map((round) => round[field]));
  const errors = rounds.reduce((sum, round) => sum + round.errors, 0);
  const compared = ratio(
    rounds.map(({ cpuPerRequest }) => cpuPerRequest),
    baseline,
  );
  return `| ${name} | ${shown(of("cpuPerRequest"), 0)} | ${shown(compared, 2)} | ${fixed(of("requestsPerSecond").median, 0)} | ${fixed(of("p50").median, 0)} | ${fixed(of("p99").median, 0)} | ${fixed(of("redisCommandsPerRequest").median, 2)} | ${errors} |`;
}

function valuesOf(calls: readonly Row[], name: string, field: keyof Measured): number[] {
  return calls.find((row) => row.name === name)?.rounds.map((round) => round[field]) ?? [];
}

function shown({ median, least, most }: Spread, digits: number): string {
  return `${fixed(median, digits)} (${fixed(least, digits)}–${fixed(most, digits)})`;
}

function fixed(value: number, digits: number): string {
  const text = value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return /^-0\.0*$/.test(text) ? text.slice(1) : text;
}

function megabytes(bytes: number): string {
  return fixed(bytes / 1e6, 1);
}
