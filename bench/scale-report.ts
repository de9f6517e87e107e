/** What live sessions cost and what they do not, as a document. */
import { FEW, type Grown, type ScaleFigures } from "./measure-scale.ts";
import type { Spread } from "./statistics.ts";

/** @param figures of one topology, the fewest sessions first */
export function scaleReport(figures: readonly ScaleFigures[]): string {
  const columns = figures.map(({ sessions }) => `× with ${counted(sessions)}`);
  const [first] = figures;
  const rows = (of: (each: ScaleFigures) => ReadonlyArray<Grown<string>>) =>
    [...new Set(figures.flatMap((each) => of(each).map(({ name }) => name)))].map((name) => {
      const all = figures.map((each) => of(each).find((row) => row.name === name));
      const few = all.find((row) => row !== undefined)?.fewMs;
      return [name, few && shown(few, 1), ...all.map((row) => row && shown(row.ratio, 2))];
    });
  return `
### ${first?.topology}

${table(
  ["", `with ${counted(FEW)}, ms`, ...columns],
  [
    ...rows(({ steps }) => steps),
    [
      "commands of Redis for a sign-in",
      first && shown(first.signInCommands.few, 0),
      ...figures.map(
        ({ signInCommands: { few, many } }) =>
          `${(many.median / few.median).toFixed(2)} (${shown(many, 0)} of them)`,
      ),
    ],
    ...rows(({ perThousand }) => perThousand).map(([name, ...rest]) => [
      `${name}, for 1,000 of them`,
      ...rest,
    ]),
  ],
)}

${table(
  ["", ...figures.map(({ sessions }) => counted(sessions))],
  [
    ["Redis for each session, bytes", ...figures.map((each) => counted(each.redisBytesPerSession))],
    [
      `memory of the server, MB (with ${counted(FEW)} beside it)`,
      ...figures.map(({ serverBytes: { few, many } }) => `${megabytes(many)} (${megabytes(few)})`),
    ],
    [
      "the longest command, ms",
      ...figures.map(({ longest: { microseconds, command } }) => `${inMs(microseconds)} \`${command}\``),
    ],
    ["ended in the time that was given", ...figures.map(({ ended }) => counted(ended))],
    ["written in, s", ...figures.map(({ writingSeconds }) => writingSeconds.toFixed(0))],
  ],
)}
`;
}

function table(titles: readonly string[], rows: ReadonlyArray<ReadonlyArray<string | undefined>>): string {
  const lines = [
    titles,
    titles.map(() => "---"),
    ...rows.map((row) => row.map((cell) => cell ?? "not measured")),
  ];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function shown({ median, least, most }: Spread, digits: number): string {
  const fixed = (value: number) => value.toFixed(digits);
  return least === most ? fixed(median) : `${fixed(median)} (${fixed(least)}–${fixed(most)})`;
}

function counted(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

/** Commands below a millisecond are not recorded. */
function inMs(microseconds: number): string {
  return microseconds === 0 ? "< 1" : (microseconds / 1000).toFixed(1);
}
