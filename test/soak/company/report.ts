/** The figures of an hour, for a terminal, with what they were measured on. */
import { availableParallelism, cpus, loadavg } from "node:os";
import { HEAP_MB } from "../deployment.ts";
import { answersOf, problemsOf, table } from "../report.ts";
import { NEW_PART } from "./arrivals.ts";
import { ALL } from "./latencies.ts";
import type { CompanyReport } from "./run.ts";

const KINDS = ["sign-in", "refresh", "tool call"];

export function reportText(report: CompanyReport): string {
  const { settings, ledger, latencies, redis, memory } = report;
  const total = ledger.total();
  const newcomers = Math.round(settings.people * NEW_PART);
  const found = latencies.list();
  const phases = [ALL, ...ledger.phases.map(({ name }) => name)];
  const sections = [
    table([
      ["settings", `SOAK_PEOPLE=${settings.people} SOAK_MINUTES=${settings.minutes}`],
      ["people", `${newcomers} sign in, ${settings.people - newcomers} have a session of yesterday`],
      ["", `at most ${HEAP_MB} MB of old space for V8 in each replica`],
      [
        "machine",
        `${availableParallelism()} × ${cpus()[0]?.model ?? "?"}, load ${loadavg()[0]?.toFixed(1)} at the end`,
      ],
      ["versions", `node ${process.version}, redis ${redis.version}`],
      ["duration", `${report.seconds.toFixed(0)} s of traffic`],
      ["requests", `${total}, ${(total / report.seconds).toFixed(0)} a second`],
      ["at once", `${report.mostAtOnce} people waited for something, at most`],
      ["the sender", `was late by ${report.lateMs.toFixed(0)} ms (99th percentile)`],
    ]),
    table([
      ["waited, ms", "since", "count", "p50", "p99", "p99.9", "longest"],
      ...KINDS.flatMap((kind) =>
        phases.flatMap((during) =>
          found
            .filter((each) => each.kind === kind && each.during === during)
            .map(({ count, p50, p99, p999, max }) => [
              kind,
              during,
              `${count}`,
              ...[p50, p99, p999, max].map((ms) => ms.toFixed(ms < 100 ? 1 : 0)),
            ]),
        ),
      ),
    ]),
    ...answersOf(ledger),
    table([
      ["memory (MB)", "from min", "to min", "RSS first", "highest", "last"],
      ...memory.map(({ replica, pid, fromMinutes, toMinutes, firstMb, highestMb, lastMb }) => [
        `replica ${replica}, pid ${pid}`,
        ...[fromMinutes, toMinutes].map((minutes) => minutes.toFixed(1)),
        ...[firstMb, highestMb, lastMb].map((mb) => mb.toFixed(0)),
      ]),
    ]),
    table([
      ["Redis at the end", `${redis.usedMb.toFixed(0)} MB`],
      ["roll call", `${report.rollCalled} sessions, each refreshed and used once more`],
      ["lost sessions", `${ledger.lost.length}`],
      ["unexpected answers", `${ledger.total("unexpected")}`],
    ]),
    problemsOf(ledger),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}
