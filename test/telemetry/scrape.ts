/** What Prometheus would see: the series of /metrics, by name and labels. */
import assert from "node:assert/strict";

export interface Series {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface Scrape {
  text: string;
  series: Series[];
  /** The sum over all series of this name that have these labels. */
  sum(name: string, labels?: Record<string, string>): number;
  /** All values that a label of this metric has. */
  values(name: string, label: string): string[];
}

export async function scrape(baseUrl: string, headers: Record<string, string> = {}): Promise<Scrape> {
  const response = await fetch(`${baseUrl}/metrics`, { headers });
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  return read(await response.text());
}

export function read(text: string): Scrape {
  const series = text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map(readLine);
  return {
    text,
    series,
    sum: (name, labels = {}) =>
      series
        .filter((each) => each.name === name)
        .filter((each) => Object.entries(labels).every(([label, value]) => each.labels[label] === value))
        .reduce((sum, { value }) => sum + value, 0),
    values: (name, label) => [
      ...new Set(series.filter((each) => each.name === name).map(({ labels }) => labels[label] ?? "")),
    ],
  };
}

function readLine(line: string): Series {
  const [, name = "", labels = "", value = ""] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
  assert.ok(name !== "", `a line of the exposition format: ${line}`);
  const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label = "", text = ""]) => [
    label,
    text,
  ]);
  return { name, labels: Object.fromEntries(pairs), value: Number(value) };
}
