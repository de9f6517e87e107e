/** How much memory the server processes take, over time: one series a process, a new one after each start. */
import { readFile } from "node:fs/promises";
import type { ServerProcess } from "../support/server-process.ts";

interface Sample {
  minutes: number;
  rssMb: number;
  /** What JavaScript holds, with garbage; its low points are what is left after a collection. */
  heapMb: number | undefined;
}

export interface MemorySeries {
  replica: number;
  pid: number;
  fromMinutes: number;
  toMinutes: number;
  firstMb: number;
  lastMb: number;
  highestMb: number;
  /** By least squares over the second half of the series; undefined if it is shorter than half a minute. */
  slopeMbPerMinute: number | undefined;
  /** The heap's lowest point in the first third of the series, and in the last. */
  heapFloorMb: [number, number] | undefined;
}

const LEAST_MINUTES = 0.5;

export function watchMemory(servers: readonly ServerProcess[], intervalMs: number) {
  const startedAt = performance.now();
  const series = new Map<string, Sample[]>();

  async function sample(server: ServerProcess, replica: number): Promise<void> {
    const pid = server.pid();
    const minutes = (performance.now() - startedAt) / 60_000;
    const [rssMb, heapMb] = await Promise.all([rssOf(pid), heapOf(server.url)]);
    if (rssMb === undefined || pid !== server.pid()) return;
    const key = `${replica}:${pid}`;
    series.set(key, [...(series.get(key) ?? []), { minutes, rssMb, heapMb }]);
  }

  const timer = setInterval(() => {
    for (const [replica, server] of servers.entries()) void sample(server, replica);
  }, intervalMs).unref();
  return {
    stop(): MemorySeries[] {
      clearInterval(timer);
      return [...series]
        .map(([key, samples]) => summary(key.split(":").map(Number) as [number, number], samples))
        .sort((a, b) => a.replica - b.replica || a.fromMinutes - b.fromMinutes);
    },
  };
}

function summary([replica, pid]: [number, number], samples: readonly Sample[]): MemorySeries {
  const [first, last] = [samples[0], samples.at(-1)] as [Sample, Sample];
  const length = last.minutes - first.minutes;
  const third = Math.ceil(samples.length / 3);
  const floor = (part: readonly Sample[]) => Math.min(...part.map(({ heapMb }) => heapMb ?? Infinity));
  const floors: [number, number] = [floor(samples.slice(0, third)), floor(samples.slice(-third))];
  return {
    replica: replica + 1,
    pid,
    fromMinutes: first.minutes,
    toMinutes: last.minutes,
    firstMb: first.rssMb,
    lastMb: last.rssMb,
    highestMb: Math.max(...samples.map(({ rssMb }) => rssMb)),
    slopeMbPerMinute:
      length < LEAST_MINUTES
        ? undefined
        : slope(samples.filter(({ minutes }) => minutes >= first.minutes + length / 2)),
    heapFloorMb: floors.every(Number.isFinite) ? floors : undefined,
  };
}

/** Of the line that fits best, by least squares. */
function slope(samples: readonly Sample[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, each) => sum + each, 0) / values.length;
  const x = mean(samples.map(({ minutes }) => minutes));
  const y = mean(samples.map(({ rssMb }) => rssMb));
  const up = samples.reduce((sum, { minutes, rssMb }) => sum + (minutes - x) * (rssMb - y), 0);
  const along = samples.reduce((sum, { minutes }) => sum + (minutes - x) ** 2, 0);
  return up / along;
}

/** Undefined where the process is gone, or there is no /proc. */
async function rssOf(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) / 1024;
}

async function heapOf(url: string): Promise<number | undefined> {
  try {
    const response = await fetch(`${url.replace("localhost", "127.0.0.1")}/metrics`, {
      signal: AbortSignal.timeout(1_000),
    });
    const bytes = /^nodejs_heap_size_used_bytes (\S+)$/m.exec(await response.text())?.[1];
    return bytes === undefined ? undefined : Number(bytes) / 1024 / 1024;
  } catch {
    return undefined;
  }
}
