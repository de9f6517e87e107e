/**
 * The HTTP server that listens: how long a client may take, how many connections there may be, and what becomes of those
 * that cannot be taken. None of it ends the process.
 */

import { createServer, type RequestListener, type Server } from "node:http";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../telemetry/metrics.ts";

export interface ListenerOptions {
  /** Connections at once; further ones are closed as soon as they are made. */
  maxConnections: number;
  metrics: Pick<Metrics, "refusedConnections">;
  /** Seconds, see {@link Runtime.monotonicNow}. */
  monotonicNow(): number;
  log: Log;
}

// Longer than load balancers keep an idle connection (mostly 60 s): otherwise they would reuse a connection that is just being
// closed here.
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
// A client that sends its headers byte by byte must not hold a connection for ever.
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 60_000;
const CHECK_INTERVAL_MS = 2_000;

// Whoever opens connections in a loop would write the log full, and have all others looked through for each.
const LOG_SECONDS = 60;
const MAKE_ROOM_SECONDS = 1;

/** Does not listen yet. Errors of `listen()` are for whoever calls it. */
export function createListener(
  handler: RequestListener,
  { maxConnections, metrics, monotonicNow, log }: ListenerOptions,
): Server {
  const server = createServer({ connectionsCheckingInterval: CHECK_INTERVAL_MS }, handler);
  server.keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS;
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.maxConnections = maxConnections;

  const count = (reason: ReasonCode) => metrics.refusedConnections.inc({ reason });
  const sayFull = atMostEvery(LOG_SECONDS, monotonicNow, () =>
    log.warn(
      { reason: "too_many_connections", maxConnections },
      "Connections are closed as soon as they are made: see MAX_CONNECTIONS",
    ),
  );
  // Connections that wait for their next request would keep everybody else out, the probes of an orchestrator too.
  const makeRoom = atMostEvery(MAKE_ROOM_SECONDS, monotonicNow, () => server.closeIdleConnections());
  server.on("drop", () => {
    count("too_many_connections");
    sayFull();
    makeRoom();
  });

  const sayFailed = atMostEvery(LOG_SECONDS, monotonicNow, (code: string | undefined) =>
    log.error(
      { reason: "accept_failed", code },
      "A connection cannot be accepted; with EMFILE or ENFILE, allow more open files (ulimit -n) or lower MAX_CONNECTIONS",
    ),
  );
  // Without a listener one connection too many for the limit of open files would end the process.
  server.on("error", ({ code }: NodeJS.ErrnoException) => {
    if (!server.listening) return;
    count("accept_failed");
    sayFailed(code);
  });
  return server;
}

/** What is asked for sooner is left out. */
function atMostEvery<Arguments extends unknown[]>(
  seconds: number,
  monotonicNow: () => number,
  work: (...args: Arguments) => void,
): (...args: Arguments) => void {
  let next = Number.NEGATIVE_INFINITY;
  return (...args) => {
    if (monotonicNow() < next) return;
    next = monotonicNow() + seconds;
    work(...args);
  };
}
