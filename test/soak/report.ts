/** The figures of a soak, for a terminal, with what they were measured on. */
import { availableParallelism, cpus, loadavg } from "node:os";
import { HEAP_MB } from "./deployment.ts";
import type { Ledger, Outcome } from "./ledger.ts";
import type { SoakReport } from "./run.ts";

const OUTCOMES: readonly Outcome[] = [
  "served",
  "refused",
  "told to wait",
  "hung up",
  "interrupted",
  "unexpected",
];

export function reportText(report: SoakReport): string {
  const { settings, ledger, redis } = report;
  const { counts } = ledger;
  const total = ledger.total();
  const sections = [
    table([
      [
        "settings",
        `SOAK_MINUTES=${settings.minutes} SOAK_RATE=${settings.rate} SOAK_PROVIDER=${settings.provider}`,
      ],
      [
        "",
        `about ${report.sessionsAtOnce} sessions at once; the provider's tokens live ${report.providerTokenSeconds} s`,
      ],
      ["", `at most ${HEAP_MB} MB of old space for V8 in each replica`],
      [
        "machine",
        `${availableParallelism()} × ${cpus()[0]?.model ?? "?"}, load ${loadavg()[0]?.toFixed(1)} at the end`,
      ],
      ["versions", `node ${process.version}, redis ${redis.version}`],
      [
        "duration",
        `${report.seconds.toFixed(0)} s of traffic, ${ledger.seconds().toFixed(0)} s with sign-ins before and roll call after`,
      ],
      ["requests", `${total}, ${(total / ledger.seconds()).toFixed(0)} a second`],
    ]),
    table([
      [
        "sign-ins",
        `${counts.signIns}, ${counts.denied} denied by the user, ${counts.signInsBegunAgain} begun again after a fault`,
      ],
      [
        "refreshes",
        `${counts.refreshes}, of these ${counts.refreshesTwiceAtOnce} twice at once, ${counts.refreshesAfterALostAnswer} repeated after a lost answer`,
      ],
      ["at the provider", `${report.upstreamRefreshes} refreshes asked for`],
      ["revocations", `${counts.revocations}`],
      ["registrations", `${counts.registrations}`],
    ]),
    ...answersOf(ledger),
    table([
      [
        "memory (MB)",
        "from min",
        "to min",
        "RSS first",
        "highest",
        "last",
        "slope/min, 2nd half",
        "heap floor, first and last third",
      ],
      ...report.memory.map((each) => [
        `replica ${each.replica}, pid ${each.pid}`,
        each.fromMinutes.toFixed(1),
        each.toMinutes.toFixed(1),
        each.firstMb.toFixed(0),
        each.highestMb.toFixed(0),
        each.lastMb.toFixed(0),
        each.slopeMbPerMinute === undefined ? "too short" : signed(each.slopeMbPerMinute),
        each.heapFloorMb?.map((mb) => mb.toFixed(1)).join(" → ") ?? "",
      ]),
    ]),
    table([
      ["Redis at the end", `${redis.usedMb.toFixed(1)} MB, ${sum(redis.keys.values())} keys`],
      [
        "",
        [...redis.keys]
          .sort()
          .map(([kind, count]) => `${kind} ${count}`)
          .join(", "),
      ],
      ["sessions at the end", `${report.sessionsAtEnd}, each refreshed and used once more`],
      ["lost sessions", `${ledger.lost.length}`],
      ["unexpected answers", `${ledger.total("unexpected")}`],
    ]),
    problemsOf(ledger),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

export function sum(numbers: Iterable<number>): number {
  return [...numbers].reduce((a, b) => a + b, 0);
}

/** What the answers were, by kind of request and by what had happened last. */
export function answersOf(ledger: Ledger): string[] {
  const counted = (outcomes: Readonly<Record<Outcome, number>>) =>
    OUTCOMES.map((each) => `${outcomes[each]}`);
  return [
    table([
      ["requests by kind", ...OUTCOMES],
      ...[...ledger.kinds].map(([kind, outcomes]) => [kind, ...counted(outcomes)]),
      ["all", ...OUTCOMES.map((each) => `${ledger.total(each)}`)],
    ]),
    table([
      ["from then on", "at s", "lasted s", ...OUTCOMES],
      ...ledger.phases.map(({ name, atSeconds, lastedSeconds, outcomes }) => [
        name,
        atSeconds.toFixed(0),
        lastedSeconds === 0 ? "" : lastedSeconds.toFixed(1),
        ...counted(outcomes),
      ]),
    ]),
  ];
}

/** What was lost, and the first of what nobody expected; empty if there is nothing. */
export function problemsOf(ledger: Ledger): string {
  return [...ledger.lost, ...ledger.unexpected]
    .map(({ atSeconds, during, kind, what }) => `  ! ${atSeconds.toFixed(1)} s (${during}) ${kind}: ${what}`)
    .join("\n");
}

function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

/** Columns as wide as their widest cell: the first to the left, numbers to the right. */
export function table(rows: ReadonlyArray<readonly string[]>): string {
  const widths: number[] = [];
  for (const row of rows)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  const isText = rows.every((row) => row.length === 2);
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return column === 0 || isText ? cell.padEnd(width) : cell.padStart(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
