/** Runs the server until it is told to stop: listen, say what matters, drain, close. */
import { randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { createApp } from "./app.ts";
import { type Audit, createAudit, openAuditStream } from "./audit.ts";
import type { Config } from "./config.ts";
import type { UpstreamConfig } from "./config-upstream.ts";
import { createLifecycle, type Lifecycle } from "./lifecycle.ts";
import { type Features, knownNames } from "./mcp/features.ts";
import { causes } from "./oauth/errors.ts";
import { missingScopes } from "./oauth/scope.ts";
import { scopeCatalogue } from "./oauth/scope-catalogue.ts";
import { type LivePolicy, watchPolicy } from "./policy/live-policy.ts";
import { memoryRecords } from "./storage/memory.ts";
import { redisRecords } from "./storage/redis.ts";
import { reencrypt } from "./storage/reencrypt.ts";
import { createSealer } from "./storage/sealer.ts";
import type { Records } from "./storage/store.ts";
import { systemClock } from "./surroundings.ts";
import { countDecisions } from "./telemetry/decision-metrics.ts";
import { collectProcessMetrics, createMetrics } from "./telemetry/metrics.ts";
import type { Tracing } from "./telemetry/tracing.ts";
import type { IdentityProvider } from "./upstream/identity-provider.ts";
import { createOidcProvider } from "./upstream/oidc.ts";

export interface RunningServer {
  port: number;
  /** Stops accepting, finishes what is in flight, closes the store. */
  stop(): Promise<void>;
}

// Longer than load balancers keep an idle connection (60 s is usual): the other way round, one that is just being closed
// here is used there once more.
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
// A client that sends its headers byte by byte must not hold a connection for ever.
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 60_000;
const CHECK_INTERVAL_MS = 2_000;
const FIRST_ANNOUNCE_DELAY_MS = 2_000;
const MAX_ANNOUNCE_DELAY_MS = 60_000;

/** Starts listening even while Redis or the identity provider are out of reach: it says so, and recovers by itself. */
export async function serve(
  config: Config,
  features: Features,
  log: Logger,
  records: Records = createRecords(config, log),
): Promise<RunningServer> {
  const metrics = createMetrics();
  collectProcessMetrics(metrics);
  const tracing = await traceIfAsked(config, log);
  const auditStream = openAuditStream(config.audit, log);
  const audit = createAudit(log, auditStream, countDecisions(metrics));
  const policy = watchPolicyFile(config, features, audit, log);
  const surroundings = { now: systemClock, randomBytes, log };
  const identityProvider = createOidcProvider(config.upstream, surroundings);
  const lifecycle = createLifecycle();
  const server = createServer(
    { connectionsCheckingInterval: CHECK_INTERVAL_MS },
    createApp({
      ...features,
      config,
      metrics,
      records,
      identityProvider,
      lifecycle,
      log,
      ...(policy && { policy: policy.policy }),
      ...(auditStream && { auditStream }),
    }),
  );
  server.keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS;
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  await listen(server, config);
  const { port } = server.address() as AddressInfo;
  void reencryptOldRecords(config, records, log);
  const announcing = announce(identityProvider, config, Object.keys(features.scopes), log);
  return {
    port,
    async stop() {
      announcing.cancel();
      lifecycle.stop();
      // Whoever sends requests here has to notice first; until then all are answered.
      await delay(config.shutdownDelaySeconds * 1000);
      policy?.close();
      await drain(server, lifecycle, config.shutdownSeconds);
      await Promise.all([records.close(), tracing?.stop()]);
    },
  };
}

/** The SDK is loaded for those who want it; the others start faster without. */
async function traceIfAsked({ telemetry }: Config, log: Logger): Promise<Tracing | undefined> {
  if (telemetry.traceEndpoint === undefined) return undefined;
  const { startTracing } = await import("./telemetry/tracing.ts");
  return startTracing(telemetry.traceEndpoint, log);
}

/** Every change of the policy is written down, and so is one that was not taken. */
function watchPolicyFile(
  { policyFile: path }: Config,
  features: Features,
  audit: Audit,
  log: Logger,
): LivePolicy | undefined {
  if (path === undefined) return undefined;
  return watchPolicy({
    path,
    known: knownNames(features),
    hierarchy: scopeCatalogue(features.scopes, []),
    onChange: ({ rules, sha256 }) => {
      audit({ event: "policy_change", decision: "allow", sha256 });
      log.info({ path, rules, sha256 }, "The policy changed");
    },
    onRefused(problem) {
      audit({ event: "policy_change", decision: "deny", reason: "invalid_policy" });
      log.error({ reason: "invalid_policy", path, problem }, "The policy stays as it was: the file is wrong");
    },
  });
}

/** After SECRET_KEY got a new first key: says when the older ones are not needed any more. */
async function reencryptOldRecords({ secretKeys }: Config, records: Records, log: Logger): Promise<void> {
  if (secretKeys.length < 2) return;
  try {
    const count = await reencrypt(records, createSealer(secretKeys));
    log.info(count, "Every record is under the first SECRET_KEY; the others can be removed");
  } catch (error) {
    log.warn(
      { reason: "reencryption_failed", cause: causes(error) },
      "Records could not be brought under the first SECRET_KEY: keep the others until a restart could",
    );
  }
}

function createRecords({ store }: Config, log: Logger): Records {
  if (store.kind === "redis") return redisRecords({ ...store, log });
  log.warn("STORE=memory: a restart forgets every registration and signs everybody out");
  return memoryRecords();
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

/** Tries discovery until it works, so that the log says early, and not at the first sign-in, what is wrong. */
function announce(
  identityProvider: IdentityProvider,
  { upstream }: Config,
  scopes: readonly string[],
  log: Logger,
): { cancel(): void } {
  let timer: NodeJS.Timeout | undefined;
  let cancelled = false;
  const attempt = async (delayMs: number): Promise<void> => {
    try {
      await identityProvider.ready();
      log.info({ issuer: upstream.issuer }, "The identity provider is reachable");
      await warnOfUnofferedScopes(identityProvider, upstream, scopes, log);
    } catch {
      // The provider logged why.
      if (!cancelled)
        timer = setTimeout(attempt, delayMs, Math.min(delayMs * 2, MAX_ANNOUNCE_DELAY_MS)).unref();
    }
  };
  void attempt(FIRST_ANNOUNCE_DELAY_MS);
  return {
    cancel() {
      cancelled = true;
      clearTimeout(timer);
    },
  };
}

/** Said early: users would sign in, be given nothing, and nobody would know why. */
async function warnOfUnofferedScopes(
  identityProvider: IdentityProvider,
  { scopeSources }: UpstreamConfig,
  scopes: readonly string[],
  log: Logger,
): Promise<void> {
  if (scopeSources.kind === "consent" || scopeSources.claim !== undefined) return;
  const offered = await identityProvider.offeredScopes();
  const unoffered = missingScopes(scopes, offered ?? scopes);
  if (unoffered.length > 0)
    log.warn(
      { reason: "scopes_not_offered", scopes: unoffered },
      "The identity provider does not list these scopes. If it does not know them, nobody is given them: see SCOPES_FROM",
    );
}

/**
 * Requests in flight, streams and renewals at the provider may finish; what is still open after the time limit is cut.
 * A renewal that is cut could lose the refresh token that the provider has just replaced.
 */
async function drain(server: Server, lifecycle: Lifecycle, seconds: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const limit = new AbortController();
  const cut = delay(seconds * 1000, undefined, { signal: limit.signal }).then(
    () => server.closeAllConnections(),
    () => {},
  );
  await Promise.race([Promise.all([closed, lifecycle.finished()]), cut]);
  limit.abort();
  await closed;
}
