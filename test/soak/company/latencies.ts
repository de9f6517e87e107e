/** How long people waited from the moment at which they wanted something, with every attempt and every wait that it took. */
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";

export type Latencies = ReturnType<typeof createLatencies>;

export interface Latency {
  kind: string;
  /** What had happened last when they came. */
  during: string;
  count: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
  p999: number;
  max: number;
}

/** As they are called where all phases are taken together. */
export const ALL = "the whole hour";

export function createLatencies() {
  const histograms = new Map<string, RecordableHistogram>();
  const keyOf = (kind: string, during: string) => JSON.stringify([kind, during]);
  const add = (key: string, milliseconds: number) => {
    const histogram = histograms.get(key) ?? createHistogram();
    histograms.set(key, histogram);
    histogram.record(Math.max(1, Math.round(milliseconds * 1000)));
  };
  return {
    record(kind: string, during: string, milliseconds: number): void {
      add(keyOf(kind, ALL), milliseconds);
      add(keyOf(kind, during), milliseconds);
    },
    list(): Latency[] {
      return [...histograms].map(([key, histogram]) => {
        const [kind, during] = JSON.parse(key) as [string, string];
        const at = (percentile: number) => histogram.percentile(percentile) / 1000;
        return {
          kind,
          during,
          count: histogram.count,
          p50: at(50),
          p99: at(99),
          p999: at(99.9),
          max: histogram.max / 1000,
        };
      });
    },
  };
}
