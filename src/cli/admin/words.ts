/** What people read in a terminal: tables, times, and text of strangers made harmless. Pure. */

import { harmless, UNPRINTABLE } from "../../runtime/terminal-text.ts";
import { relativeTime } from "../../runtime/time-in-words.ts";

/** One line of JSON. Unlike JSON.stringify it also escapes C1 controls and what reorders text: people look at it too. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(UNPRINTABLE, (character) =>
    [...character.split("")].map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join(""),
  );
}

export interface Column {
  title: string;
  /** It is not made narrower than this, where the table has to be. */
  least: number;
}

const GAP = "  ";

/**
 * @param width of the terminal; undefined where nobody looks, and then nothing is shortened
 * @param rows texts of strangers are fine: they are made harmless here
 */
export function table(
  columns: readonly Column[],
  rows: ReadonlyArray<readonly string[]>,
  width?: number,
): string {
  const cells = [columns.map(({ title }) => title), ...rows].map((row) => row.map(harmless));
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => widthOf(row[index] ?? ""))));
  narrow(widths, columns, width);
  return cells
    .map((row) =>
      row
        .map((cell, index) => fitted(cell, widths[index] ?? 0))
        .join(GAP)
        .trimEnd(),
    )
    .join("\n");
}

/** Takes from the widest column that has something to give, until the table fits or none has. */
function narrow(widths: number[], columns: readonly Column[], available = Number.POSITIVE_INFINITY): void {
  const total = () => widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1));
  while (total() > available) {
    const spare = widths.map((width, index) => (width > (columns[index]?.least ?? 0) ? width : 0));
    const widest = Math.max(...spare);
    if (widest === 0) return;
    widths[spare.indexOf(widest)] = widest - 1;
  }
}

/** Cut or padded to `width` columns. */
function fitted(text: string, width: number): string {
  if (widthOf(text) <= width) return text + " ".repeat(width - widthOf(text));
  let cut = "";
  for (const { segment } of graphemes.segment(text)) {
    if (widthOf(cut + segment) > width - 1) break;
    cut += segment;
  }
  return fitted(`${cut}…`, width);
}

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });
// Chinese, Japanese, Korean and emoji take two columns.
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

function widthOf(text: string): number {
  let width = 0;
  for (const { segment } of graphemes.segment(text)) width += WIDE.test(segment) ? 2 : 1;
  return width;
}

/** Names and values under each other. Values of strangers are made harmless; what is undefined is left out. */
export function details(fields: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const width = Math.max(...given.map(([name]) => name.length));
  return given.map(([name, value]) => `${name.padEnd(width)}  ${harmless(value)}`).join("\n");
}

/** `2026-11-25 21:03:12+01:00 (3 hours ago)`: this computer's time. */
export function moment(seconds: number, now: number): string {
  const minutes = -new Date(seconds * 1000).getTimezoneOffset();
  const local = new Date((seconds + minutes * 60) * 1000).toISOString().slice(0, 19).replace("T", " ");
  const two = (value: number) => String(Math.floor(Math.abs(value))).padStart(2, "0");
  return `${local}${minutes < 0 ? "-" : "+"}${two(minutes / 60)}:${two(minutes % 60)} (${relativeTime(seconds, now)})`;
}

const SECONDS_OF = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

/**
 * `30d`, `12h`, `10m`, `5s` before now, or a date such as 2026-11-01 (midnight UTC). Seconds since the epoch.
 * @throws Error that says how to write it
 */
export function parseSince(text: string, now: number): number {
  const [, amount, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (amount !== undefined) return now - Number(amount) * SECONDS_OF[unit as keyof typeof SECONDS_OF];
  const date = /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(date)) throw new Error("write it like 30d, 12h, 10m, or as a date such as 2026-11-01");
  return Math.floor(date / 1000);
}
