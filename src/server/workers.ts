/**
 * WORKERS: several processes behind one port. The first process, the primary, answers no request: it starts the others, starts
 * another for one that died, and on SIGHUP replaces them one by one. They share what replicas share, and nothing else.
 */
import cluster, { type Worker } from "node:cluster";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import {
  createMetricsPool,
  type MetricsMessage,
  type SharedMetrics,
  shareMetrics,
} from "../telemetry/sibling-metrics.ts";

/** How a worker ended that never listened. */
interface Ended {
  code: number | null;
  signal: string | null;
}

/** To a worker that is replaced: its port is another's now, and it ends with its last request. */
const RETIRE = "retire";
type Message = MetricsMessage | typeof RETIRE;

/** One that waits for ever, for something that a tool needs, would keep all others from being started. */
const START_MS = 60_000;
const FIRST_DELAY_MS = 1_000;
const MAX_DELAY_MS = 30_000;
/** A primary process that does not answer keeps nobody from ending. */
const LEAVE_MS = 1_000;
/** Who has lived that long did not die of how it was started. */
const SETTLED_MS = 60_000;

/**
 * Resolves with the exit code when all workers have ended: after SIGTERM or SIGINT, or because the first one could not start.
 * @param count how many workers there are
 * @param startMs how long one may take until it listens
 */
export async function runWorkers(count: number, log: Log, startMs = START_MS): Promise<number> {
  const metrics = createMetricsPool();
  /** Those that are to go on. */
  const workers = new Set<Worker>();
  let delayMs = FIRST_DELAY_MS;
  let isFirst = true;
  const stopping = new AbortController();
  const { signal: stopped } = stopping;

  /** Resolves when it listens, or with its exit code if it ended before that. Without memory or a program there is no process. */
  async function start(): Promise<Worker | number> {
    try {
      return await fork();
    } catch (error) {
      log.error({ reason: "worker_not_started", err: error }, "A worker process could not be started");
      return 1;
    }
  }

  async function fork(): Promise<Worker | number> {
    const worker = cluster.fork();
    let isLate = false;
    const startedAt = performance.now();
    const sibling = { send: (message: MetricsMessage) => tell(worker.process, message) };
    worker.once("online", () => metrics.joined(sibling));
    worker.on("message", (message: MetricsMessage) => void metrics.received(sibling, message));
    worker.once("exit", (code, killedBy) => {
      metrics.left(sibling);
      if (!workers.delete(worker) || stopped.aborted) return;
      if (performance.now() - startedAt > SETTLED_MS) delayMs = FIRST_DELAY_MS;
      log.error(
        { reason: "worker_died", worker: worker.id, code, signal: killedBy, nextInMs: delayMs },
        "A worker process died: another is started",
      );
      void inTurn(fillAgain);
    });
    const ended = once(worker, "exit").then(([code, signal]): Ended => ({ code, signal }));
    const late = setTimeout(() => {
      isLate = true;
      log.error(
        { reason: "worker_not_started", worker: worker.id, seconds: startMs / 1_000 },
        "A worker process did not listen in time, and is ended",
      );
      worker.process.kill("SIGKILL");
    }, startMs);
    const listens = once(worker, "listening").then(() => worker);
    const outcome = await Promise.race([listens, ended]).finally(() => clearTimeout(late));
    if (outcome === worker) {
      workers.add(worker);
      return worker;
    }
    const { code, signal } = outcome as Ended;
    // The first one has said why on stderr, and its exit code is this program's.
    const isSaid = isLate || stopped.aborted || (isFirst && signal === null);
    if (!isSaid)
      log.error(
        { reason: "worker_not_started", worker: worker.id, code, signal },
        "A worker process ended before it listened",
      );
    return code ?? 1;
  }

  async function fillAgain(): Promise<void> {
    while (workers.size < count && !stopped.aborted) {
      await delay(delayMs, undefined, { signal: stopped }).catch(() => {});
      delayMs = Math.min(2 * delayMs, MAX_DELAY_MS);
      if (!stopped.aborted) await start();
    }
    sayAllListen();
  }

  function sayAllListen(): void {
    if (workers.size >= count) log.info({ workers: count }, "All worker processes listen");
  }

  /** No request is refused meanwhile: a worker goes when its successor listens. */
  async function replaceAll(): Promise<void> {
    for (const old of [...workers]) {
      const successor = stopped.aborted ? 0 : await start();
      if (stopped.aborted) return;
      if (typeof successor === "number")
        return log.error(
          { reason: "worker_not_replaced", code: successor },
          "A new worker process could not start: the others go on as they are",
        );
      workers.delete(old);
      void tell(old.process, RETIRE);
    }
    delayMs = FIRST_DELAY_MS;
    log.info({ workers: count }, "All worker processes were replaced");
  }

  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <Result>(work: () => Promise<Result>): Promise<Result> => {
    const done = turn.then(work);
    turn = done;
    return done;
  };
  const stop = () => {
    stopping.abort();
    for (const { process } of running()) process.kill("SIGTERM");
  };
  const replace = () => void inTurn(replaceAll);
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  // From the beginning: nobody knows when the first one listens, and without a listener it would end this process.
  process.on("SIGHUP", replace);

  // Alone: if the configuration is wrong, it says so once.
  const first = await inTurn(start);
  if (typeof first === "number") return stopped.aborted ? 0 : first;
  isFirst = false;
  await inTurn(() => Promise.all(Array.from({ length: count - 1 }, start)));
  if (workers.size < count) void inTurn(fillAgain);
  else sayAllListen();
  // There may be none when it comes: then nobody ends any more.
  if (!stopped.aborted) await once(stopped, "abort");
  while (running().length > 0) await once(cluster, "exit");
  return 0;
}

/** Without those that could not be started, which the cluster goes on to list. */
function running(): Worker[] {
  return Object.values(cluster.workers ?? {}).filter(
    (worker): worker is Worker => worker?.process.pid !== undefined,
  );
}

/** Resolves when it is on its way, also if the other process is gone already. */
function tell(other: Worker["process"], message: Message): Promise<void> {
  return new Promise((resolve) => {
    if (other.connected) other.send(message, () => resolve());
    else resolve();
  });
}

export interface WorkerProcess {
  /** Tells its log lines from those of the others. */
  readonly id: number;
  /** Its metrics are those of all workers from now on. */
  share(own: Metrics): SharedMetrics;
  /** @param retire ends this process with its last request */
  onRetire(retire: () => void): void;
  /**
   * Resolves when the primary process knows that this one takes no connections any more, and has those back that were on their way
   * here. One that ends before that leaves their clients waiting for ever.
   */
  leave(): Promise<void>;
}

/** What a process is beside its own work, if {@link runWorkers} started it. */
export function thisWorker(): WorkerProcess | undefined {
  const { worker } = cluster;
  if (worker === undefined) return undefined;
  const send = (message: MetricsMessage) => tell(worker.process, message);
  return {
    id: worker.id,
    share({ registry }) {
      const shared = shareMetrics(registry, send);
      worker.on("message", (message: MetricsMessage) => void shared.received(message));
      return shared;
    },
    onRetire: (retire) =>
      void worker.on("message", (message: Message) => {
        if (message === RETIRE) retire();
      }),
    async leave() {
      if (!worker.isConnected()) return;
      const left = once(worker, "disconnect");
      worker.disconnect();
      await Promise.race([left, delay(LEAVE_MS, undefined, { ref: false })]);
    },
  };
}
