/** What all services stand on: clocks, log and measurements, the observed store, and how records are kept in it. */
import { randomBytes } from "node:crypto";
import { storedUsers } from "../../access/stored-users.ts";
import type { Config } from "../../config/config.ts";
import type { Log } from "../../runtime/log.ts";
import { type Fetch, monotonicClock, systemClock } from "../../runtime/runtime.ts";
import { createShutdown, type Shutdown } from "../../runtime/shutdown.ts";
import { sparingRateLimits } from "../../storage/rate-limits.ts";
import { createSealer } from "../../storage/sealer.ts";
import type { KeyValueStore } from "../../storage/store.ts";
import { createMetrics, type Metrics } from "../../telemetry/metrics.ts";
import { observedRecords } from "../../telemetry/observed-records.ts";
import { type Observe, timeOperations } from "../../telemetry/operation.ts";
import { traceOperations } from "../../telemetry/spans.ts";

export interface FoundationOptions {
  config: Config;
  records: KeyValueStore;
  log: Log;
  /** Where everything is counted and timed. Default: metrics of its own. */
  metrics?: Metrics;
  /** How trusted issuers and clients with keys at an address are asked. Default: Node's. */
  fetch?: Fetch | undefined;
  /** Stopped when the process is about to end. Default: never. */
  shutdown?: Shutdown;
  /** Seconds since the epoch. Default: the system's clock. */
  now?: () => number;
  /** See {@link ../../runtime/runtime.ts Runtime}. Default: that of the process, or `now` where one is given. */
  monotonicNow?: () => number;
}

export type Foundation = ReturnType<typeof layFoundation>;

export function layFoundation(options: FoundationOptions) {
  const { config, log, now = systemClock, metrics = createMetrics(), shutdown = createShutdown() } = options;
  const { monotonicNow = options.now ?? monotonicClock } = options;
  const observe = observing(metrics);
  const observed = observedRecords(options.records, observe);
  const records = { ...observed, rateLimits: sparingRateLimits(observed.rateLimits, monotonicNow) };
  const sealer = createSealer(config.secretKeys);
  return {
    config,
    runtime: { now, monotonicNow, randomBytes, log, fetch: options.fetch },
    metrics,
    observe,
    shutdown,
    records,
    sealer,
    /** What an encrypted store needs, beside the kind of its records. */
    storing: { records, sealer, log, waitUntil: shutdown.waitUntil },
    users: storedUsers(config.identityProviders),
  };
}

/** Every operation is timed, and where there is a trace, it is part of it. */
function observing(metrics: Metrics): Observe {
  const time = timeOperations(metrics);
  return (operation, work) => time(operation, () => traceOperations(operation, work));
}
