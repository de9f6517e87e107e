/**
 * Metrics of the processes that share a port (WORKERS): whichever of them is asked answers for all. What a process that is gone
 * had counted stays in the sums, because a sum that falls looks like a restart of everything to Prometheus.
 */
import { AggregatorRegistry, type Registry } from "prom-client";

/** A registry's metrics at a moment, as they travel between processes. */
type Reading = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>;

/** Between a worker and the primary process. */
export type MetricsMessage =
  /** A worker was asked for the metrics of all … */
  | { metrics: "wanted"; id: number }
  /** … and so every worker is asked for its own, */
  | { metrics: "read"; id: number }
  /** answers; without an id it is the last one before its end, */
  | { metrics: "reading"; id?: number; reading: Reading }
  /** and the first gets them together. */
  | { metrics: "all"; id: number; text: string };

/** One worker, for the primary process. */
export interface Sibling {
  /** Resolves when it is on its way. */
  send(message: MetricsMessage): Promise<void>;
}

export interface MetricsPool {
  joined(sibling: Sibling): void;
  left(sibling: Sibling): void;
  received(sibling: Sibling, message: MetricsMessage): Promise<void>;
}

/** A worker that does not answer in this time counts with what it said last. */
const ANSWER_MS = 2_000;

/** In the primary process. */
export function createMetricsPool(): MetricsPool {
  const latest = new Map<Sibling, Reading>();
  const waiting = new Map<number, (sibling: Sibling) => void>();
  /** Of those that are gone: one is added after the other, also if several go at once. */
  let gone: Promise<Reading> = Promise.resolve([]);
  let lastId = 0;

  async function readAll(): Promise<string> {
    const id = ++lastId;
    const silent = new Set(latest.keys());
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ANSWER_MS);
      waiting.set(id, (sibling) => {
        silent.delete(sibling);
        if (silent.size > 0) return;
        clearTimeout(timer);
        resolve();
      });
      for (const sibling of latest.keys()) void sibling.send({ metrics: "read", id });
    });
    waiting.delete(id);
    for (;;) {
      const sum = gone;
      const reading = await sum;
      // Who went meanwhile is in neither.
      if (sum === gone) return AggregatorRegistry.aggregate([...latest.values(), reading]).metrics();
    }
  }

  return {
    joined: (sibling) => void latest.set(sibling, []),
    left(sibling) {
      const counted = (latest.get(sibling) ?? []).filter(isCounted);
      latest.delete(sibling);
      gone = gone.then((before) => AggregatorRegistry.aggregate([before, counted]).getMetricsAsJSON());
      for (const answered of waiting.values()) answered(sibling);
    },
    async received(sibling, message) {
      if (message.metrics === "wanted")
        await sibling.send({ metrics: "all", id: message.id, text: await readAll() });
      if (message.metrics !== "reading") return;
      if (latest.has(sibling)) latest.set(sibling, message.reading);
      if (message.id !== undefined) waiting.get(message.id)?.(sibling);
    },
  };
}

/** What only grows. A process that is gone has no memory and no open connections. */
function isCounted({ type }: Reading[number]): boolean {
  return ["counter", "histogram"].includes(String(type));
}

export interface SharedMetrics {
  /** Of all processes, in Prometheus's text format. */
  read(): Promise<string>;
  received(message: MetricsMessage): Promise<void>;
  /** Before this process ends; resolves when it is on its way. */
  sendLast(): Promise<void>;
}

/** In a worker. */
export function shareMetrics(registry: Registry, send: Sibling["send"]): SharedMetrics {
  const waiting = new Map<number, (text: string) => void>();
  let lastId = 0;
  return {
    async read() {
      const id = ++lastId;
      const text = await new Promise<string | undefined>((resolve) => {
        // The primary waits for the slowest worker.
        const timer = setTimeout(() => resolve(undefined), 2 * ANSWER_MS);
        waiting.set(id, (all) => {
          clearTimeout(timer);
          resolve(all);
        });
        void send({ metrics: "wanted", id });
      });
      waiting.delete(id);
      if (text === undefined) throw new Error("The primary process does not answer");
      return text;
    },
    async received(message) {
      if (message.metrics === "all") waiting.get(message.id)?.(message.text);
      if (message.metrics === "read")
        await send({ metrics: "reading", id: message.id, reading: await registry.getMetricsAsJSON() });
    },
    sendLast: async () => await send({ metrics: "reading", reading: await registry.getMetricsAsJSON() }),
  };
}
