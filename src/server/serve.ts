/** Runs the server until it is stopped: listen, log what matters, drain, close. */

import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Config } from "../config/config.ts";
import { registeredUrls } from "../identity/oidc/registered-urls.ts";
import type { Features } from "../mcp/authoring/features.ts";
import type { BackendSettings } from "../mcp/backends/backend-settings.ts";
import type { Log } from "../runtime/log.ts";
import { monotonicClock } from "../runtime/runtime.ts";
import type { Shutdown } from "../runtime/shutdown.ts";
import { type AppOptions, type OpenApp, openApp } from "./create-app.ts";
import { createListener } from "./listener.ts";

/** Options of {@link serve}. */
export interface ServeOptions extends AppOptions {
  /** Whether SIGTERM and SIGINT (Ctrl+C) stop it, as {@link RunningServer.stop} does. Default: true. */
  stopOnSignals?: boolean;
}

/** A server that listens. */
export interface RunningServer {
  readonly port: number;
  /**
   * `/readyz` says no, and after `SHUTDOWN_DELAY_SECONDS` nothing new is accepted. Resolves when requests in flight have
   * finished, or `SHUTDOWN_SECONDS` are over, and the store is closed. May be called again.
   */
  stop(): Promise<void>;
  /** Resolves when it has stopped, whoever asked for that. */
  readonly stopped: Promise<void>;
}

const SIGNALS = ["SIGTERM", "SIGINT"] as const;

/**
 * Runs the server, on `config.host` and `config.port`. Resolves when it listens, also while Redis or the identity
 * provider are out of reach: it says so in the log, answers 503, and recovers by itself.
 * @throws Error as {@link createApp} does; Error with the `code` of node:net if it cannot listen, such as `EADDRINUSE`
 */
export async function serve(
  config: Config,
  features: Features,
  options: ServeOptions = {},
): Promise<RunningServer> {
  return listenWith(await openApp(config, features, options), config, options);
}

/** A server that another process takes over from. */
export interface ReplaceableServer extends RunningServer {
  /** As {@link RunningServer.stop}, but the port stays open to whoever else has it, so nobody has to notice first. */
  retire(): void;
}

/** {@link serve} for an app that was opened before. */
export async function listenWith(
  { handler, shutdown, metrics, log, close }: OpenApp,
  config: Config,
  options: Pick<ServeOptions, "stopOnSignals"> = {},
): Promise<ReplaceableServer> {
  const { maxConnections } = config;
  const server = createListener(handler, { maxConnections, metrics, monotonicNow: monotonicClock, log });
  try {
    await listen(server, config);
  } catch (error) {
    await close();
    throw error;
  }
  const { port } = server.address() as AddressInfo;
  const [{ callbackUrl }, ...others] = callbackUrls(config);
  log.info(
    { url: config.resource, port, callbackUrl },
    `Listening. The one callback URL to register at the identity provider: ${callbackUrl}`,
  );
  announceBackends(config, log);
  for (const { id, callbackUrl } of others)
    log.info({ provider: id, callbackUrl }, `The callback URL to register at ${id}: ${callbackUrl}`);

  const told = new AbortController();
  let noticeSeconds = config.shutdownDelaySeconds;
  const stopOnSignal = (signal: NodeJS.Signals) => {
    // Once: Ctrl+C under npm comes twice.
    if (!told.signal.aborted) log.info({ signal }, "Stopping: finishing requests in flight");
    told.abort();
  };
  const signals = (options.stopOnSignals ?? true) ? SIGNALS : [];
  for (const signal of signals) process.on(signal, stopOnSignal);

  const stopped = once(told.signal, "abort").then(async () => {
    shutdown.stop();
    // The load balancer has to notice first; until then all requests are answered.
    await delay(noticeSeconds * 1000);
    await drain(server, shutdown, config.shutdownSeconds);
    await close().catch((error) =>
      log.warn({ reason: "unclean_stop", err: error }, "Something did not close cleanly"),
    );
    for (const signal of signals) process.off(signal, stopOnSignal);
    log.info("Stopped");
  });
  return {
    port,
    stopped,
    stop() {
      told.abort();
      return stopped;
    },
    retire() {
      noticeSeconds = 0;
      told.abort();
    },
  };
}

/** Whoever started it in front of a server sees what people will need: nothing there is open by being forgotten. */
function announceBackends({ resources }: Config, log: Log): void {
  for (const { path, source } of resources) {
    if (source.kind !== "server") continue;
    const { reach, needs } = source.settings;
    const backend = inWords(reach);
    const entries = [...needs.tools.values(), ...needs.resources.values(), ...needs.prompts.values()];
    const scopes = [...new Set(entries.flat(2))];
    const needed = scopes.length === 0 ? "no scope" : scopes.join(", ");
    log.info(
      { path, backend, scopes },
      `${path} is in front of ${backend}. What is used there needs ${needed}: allowed by the person, and given by the identity provider (see SCOPES_FROM)`,
    );
  }
}

/** Without what may have a key in it: a query, or the arguments of a program. */
function inWords(reach: BackendSettings["reach"]): string {
  if (reach.kind === "merged")
    return [...reach.servers].map(([name, each]) => `${name} (${inWords(each)})`).join(", ");
  if (reach.kind === "stdio") return reach.command[0];
  const { origin, pathname } = new URL(reach.url);
  return `${origin}${pathname}`;
}

function callbackUrls({ baseUrl, identityProviders: [first, ...others] }: Config) {
  const of = ({ id }: { id: string }, name?: string) => ({ id, ...registeredUrls(baseUrl, name) });
  return [of(first), ...others.map((each) => of(each, each.id))] as const;
}

function listen(server: Server, { host, port }: Config): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/**
 * Requests in flight, streams and renewals at the provider may finish; what is still open after the time limit is cut.
 * A renewal that is cut could lose the refresh token that the provider has just replaced.
 */
async function drain(server: Server, shutdown: Shutdown, seconds: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const limit = new AbortController();
  const cut = delay(seconds * 1000, undefined, { signal: limit.signal }).then(
    () => server.closeAllConnections(),
    () => {},
  );
  // The last requests may begin what nobody waits for.
  await Promise.race([closed.then(() => shutdown.finished()), cut]);
  limit.abort();
  await closed;
}
