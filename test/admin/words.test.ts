/** What the command line prints: tables that fit, times in words, names without control characters. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, test } from "node:test";
import { terminalOf } from "../../src/cli/admin/terminal.ts";
import { jsonLine, moment, parseSince, table } from "../../src/cli/admin/words.ts";
import type { Streams } from "../../src/cli/streams.ts";
import { harmless } from "../../src/runtime/terminal-text.ts";
import { DANGEROUS } from "./support.ts";

const EVIL = "a\u001b[31mb\u0007c\u009bd\u202ee\u2028f\r\ng\u{e0041}";

describe("names of strangers", () => {
  test("show what they are made of", () =>
    assert.equal(harmless("a\u001b[31m\u202eb\n"), "a\\u{1b}[31m\\u{202e}b\\u{a}"));

  test("stay what they are for programs", () => {
    const line = jsonLine({ [EVIL]: EVIL });
    assert.doesNotMatch(line, DANGEROUS);
    assert.deepEqual(JSON.parse(line), { [EVIL]: EVIL });
  });

  test("cannot add a row to a table", () => {
    const text = table([{ title: "NAME", least: 4 }], [["one\ntwo"], [EVIL]]);
    assert.equal(text.split("\n").length, 3);
    assert.doesNotMatch(text, DANGEROUS);
  });
});

describe("a table", () => {
  const columns = [
    { title: "ID", least: 22 },
    { title: "USER", least: 8 },
    { title: "CLIENT", least: 8 },
  ];
  const rows = [
    ["0Cq2v9rWb1nS3xQm5tLkYw", "a.person.with.a.very.long.address@subsidiary.example.com", "Claude Code"],
    ["1Cq2v9rWb1nS3xQm5tLkYw", "利用者の名前はとても長いので入りません", "👩‍💻 Editor"],
  ];

  test("fits 80 columns, and keeps ids whole", () => {
    const lines = table(columns, rows, 80).split("\n");
    for (const [index, line] of lines.entries())
      assert.ok(columnsOf(line) <= 80, `${index}: ${columnsOf(line)}`);
    assert.match(lines[1] ?? "", /^0Cq2v9rWb1nS3xQm5tLkYw {2}a\.person.*… {2}Claude Code$/);
  });

  test("begins every column at the same place, also after wide characters", () => {
    const lines = table(columns, rows, 60).split("\n");
    const starts = ["CLIENT", "Claude", "\\u"].map((word, index) =>
      columnsOf((lines[index] ?? "").slice(0, (lines[index] ?? "").indexOf(word === "\\u" ? "👩" : word))),
    );
    assert.equal(new Set(starts).size, 1, `${starts}`);
  });

  test("is not shortened where nobody looks", () =>
    assert.ok(table(columns, rows).includes(rows[0]?.[1] ?? "-")));

  test("is no narrower than it can be", () =>
    assert.match(table(columns, rows, 10), /0Cq2v9rWb1nS3xQm5tLkYw/));
});

/** Counted another way than the code does: by the characters that are known to be wide. */
function columnsOf(line: string): number {
  return [...line].length + (line.match(/[\u3000-\u9fff]|👩|💻/gu) ?? []).length;
}

describe("times", () => {
  test("are told exactly, by this computer's clock, and as people say them", () => {
    const seconds = Date.parse("2026-11-25T20:03:12Z") / 1000;
    const text = moment(seconds, seconds + 3_600);
    assert.match(text, /^2026-11-2\d \d\d:\d\d:12[+-]\d\d:\d\d \(60 minutes ago\)$/);
    const [, date, time, offset] = /^(\S+) (\S+?)([+-]\S+) /.exec(text) ?? [];
    assert.equal(Date.parse(`${date}T${time}${offset}`) / 1000, seconds, "it is that moment");
  });

  test("--since takes ages and dates, and nothing else", () => {
    const now = Date.parse("2026-11-25T12:00:00Z") / 1000;
    const iso = (text: string) => new Date(parseSince(text, now) * 1000).toISOString();
    assert.equal(iso("30d"), "2026-10-26T12:00:00.000Z");
    assert.equal(iso("36h"), "2026-11-24T00:00:00.000Z");
    assert.equal(iso("2026-11-01"), "2026-11-01T00:00:00.000Z");
    assert.equal(iso("2026-11-01T10:00:00+01:00"), "2026-11-01T09:00:00.000Z");
    for (const wrong of ["", "30", "d", "-1d", "soon", "2026-13-01", "1.5h", "30d "])
      assert.throws(() => parseSince(wrong, now), /write it like 30d/, wrong);
  });
});

describe("a question at the terminal", () => {
  async function answered(typed: string): Promise<boolean | undefined> {
    const terminal = () => Object.assign(new PassThrough(), { isTTY: true });
    const streams = { stdin: terminal().end(typed), stdout: terminal(), stderr: terminal() };
    return terminalOf(streams as unknown as Streams).confirm?.("Sure? ");
  }
  for (const [typed, means] of [
    ["y\n", true],
    ["YES\n", true],
    ["\n", false],
    ["yess\n", false],
    ["n\n", false],
    ["", false],
  ] as const)
    test(`${JSON.stringify(typed)} means ${means ? "yes" : "no"}`, async () =>
      assert.equal(await answered(typed), means));
});
