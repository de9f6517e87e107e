/** createApp: the app with everything that its configuration asks for, opened here and closed again. */

import { randomBytes } from "node:crypto";
import type { RequestListener } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { type LivePolicy, watchPolicy } from "../access/live-policy.ts";
import { type Audit, type AuditStream, createAudit, openAuditStream } from "../audit/audit.ts";
import { createDocumentReach, type LiveDocumentReach } from "../clients/metadata-documents/document-reach.ts";
import { createSafeFetch } from "../clients/metadata-documents/safe-fetch.ts";
import type { Config } from "../config/config.ts";
import type { IdentityProvider } from "../identity/identity-provider.ts";
import { type ConfiguredProvider, openIdentityProviders } from "../identity/identity-providers.ts";
import type { Features } from "../mcp/authoring/features.ts";
import { causes } from "../oauth/errors.ts";
import type { Log } from "../runtime/log.ts";
import { createLog } from "../runtime/log.ts";
import { openProxiedFetch } from "../runtime/proxied-fetch.ts";
import { monotonicClock, systemClock } from "../runtime/runtime.ts";
import { createShutdown, type Shutdown } from "../runtime/shutdown.ts";
import { memoryStore } from "../storage/memory.ts";
import { redisStore } from "../storage/redis/redis.ts";
import { reencrypt } from "../storage/reencrypt.ts";
import { createSealer } from "../storage/sealer.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { untilReady } from "../storage/until-ready.ts";
import { countDecisions } from "../telemetry/decision-metrics.ts";
import { loadTracing } from "../telemetry/load-tracing.ts";
import { collectProcessMetrics, createMetrics, type Metrics } from "../telemetry/metrics.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import { buildApp } from "./mount.ts";
import { catalogueOfAll, type Offered, policyNames } from "./offered.ts";
import { loadFurtherResources } from "./tools-module.ts";

/** Options that are no settings. */
export interface AppOptions {
  /**
   * Default: pino with JSON lines on stdout, at `config.logLevel`. Give your own logger `mixin: requestFields`, so that
   * its lines say which request they are about.
   */
  log?: Logger;
  /** Gets every audit line, instead of the place that `AUDIT_LOG` names. */
  auditStream?: AuditStream;
}

/** The whole server, except for the port that it listens on. */
export interface App {
  /**
   * For `http.createServer()`, or for `use()` of an express application. It answers every path: mount it last, at the
   * root (also if `BASE_URL` has a path), behind your own routes.
   */
  readonly handler: RequestListener;
  /** From here on `/readyz` says no, and every answer closes its connection: before your server closes. */
  stop(): void;
  /**
   * Closes the store, after renewals at the identity provider have finished, or `SHUTDOWN_SECONDS` are over: when your
   * server has closed.
   */
  close(): Promise<void>;
}

/**
 * The server as a request listener, for those who have an HTTP server of their own; {@link serve} is for everybody else.
 * Redis and the identity provider may be out of reach: it says so in the log, answers 503, and recovers by itself.
 * @throws Error if features and scopes do not fit together, the policy file is wrong, or the audit log cannot be written
 */
export async function createApp(config: Config, features: Features, options: AppOptions = {}): Promise<App> {
  const { handler, shutdown, close } = await openApp(config, features, options);
  return {
    handler,
    stop: shutdown.stop,
    async close() {
      shutdown.stop();
      const limit = new AbortController();
      const overdue = delay(config.shutdownSeconds * 1000, undefined, limit).catch(() => {});
      await Promise.race([shutdown.finished(), overdue]);
      limit.abort();
      await close();
    },
  };
}

export interface OpenApp {
  handler: RequestListener;
  shutdown: Shutdown;
  metrics: Metrics;
  log: Log;
  /** Closes immediately: requests in flight fail. */
  close(): Promise<void>;
}

/** What this process has already. */
interface Given {
  /** A store instead of the configured one. */
  records?: KeyValueStore;
  /** Metrics that are not this process's alone. */
  metrics?: Metrics;
}

/** Opens everything, also while Redis or the identity provider are out of reach. */
export async function openApp(
  config: Config,
  features: Features,
  options: AppOptions,
  given: Given = {},
): Promise<OpenApp> {
  const { log = createLog(config.logLevel) } = options;
  const { metrics = createMetrics() } = given;
  const furtherResources = await loadFurtherResources(config);
  const offered = { ...features, furtherResources };
  collectProcessMetrics(metrics);
  const auditStream = options.auditStream ?? openAuditStream(config.audit, log);
  // What is written before there are resources concerns none.
  const audit = createAudit(log, auditStream, countDecisions(metrics, []));
  const policy = watchPolicyFile(config, offered, audit, log);
  const tracing = await traceIfAsked(config, log);
  const records = given.records ?? createRecords(config, log);
  const proxied = config.outgoingProxy && (await openProxiedFetch(config.outgoingProxy));
  const fetch = proxied?.fetch;
  const runtime = { now: systemClock, monotonicNow: monotonicClock, randomBytes, log, fetch };
  const identityProviders = openIdentityProviders(config.identityProviders, config.baseUrl, runtime);
  const shutdown = createShutdown();
  const documentReach = documentReachOf(config, log);
  const close = async () => {
    policy?.close();
    documentReach?.close();
    await Promise.all([records.close(), tracing?.stop(), proxied?.close()]);
  };
  try {
    const handler = buildApp({
      ...offered,
      config,
      metrics,
      records,
      identityProviders,
      shutdown,
      log,
      fetch,
      ...(policy && { policy: policy.policy }),
      ...(auditStream && { auditStream }),
      ...(documentReach && { documentReach }),
    });
    documentReach?.start();
    void reencryptOldRecords(config, records, log);
    const scopes = catalogueOfAll(offered).names;
    const announcing = identityProviders.map((each) => announce(each, scopes, log));
    return {
      handler,
      shutdown,
      metrics,
      log,
      async close() {
        for (const each of announcing) each.cancel();
        await shutdown.end();
        await close();
      },
    };
  } catch (error) {
    await shutdown.end();
    await close();
    throw error;
  }
}

const FIRST_ANNOUNCE_DELAY_MS = 2_000;
const MAX_ANNOUNCE_DELAY_MS = 60_000;

/** With CLIENT_ID_METADATA=auto: tries whether documents can be fetched. */
function documentReachOf({ clientIdMetadata }: Config, log: Log): LiveDocumentReach | undefined {
  const { enabled, offered, probe, proxy } = clientIdMetadata;
  if (!enabled || offered === "always") return undefined;
  const fetch = createSafeFetch({ ...(proxy && { proxy }) });
  return createDocumentReach({ probe, fetch, monotonicNow: monotonicClock, log });
}

async function traceIfAsked({ telemetry }: Config, log: Log): Promise<Tracing | undefined> {
  if (telemetry.traceEndpoint === undefined) return undefined;
  const { startTracing } = await loadTracing();
  return startTracing(telemetry.traceEndpoint, log);
}

/** Every change of the policy is written down, and so is one that was not taken. */
function watchPolicyFile(config: Config, offered: Offered, audit: Audit, log: Log): LivePolicy | undefined {
  const { policyFile: path } = config;
  if (path === undefined) return undefined;
  return watchPolicy({
    path,
    known: policyNames(config, offered),
    hierarchy: catalogueOfAll(offered),
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
async function reencryptOldRecords({ secretKeys }: Config, records: KeyValueStore, log: Log): Promise<void> {
  if (secretKeys.length < 2) return;
  try {
    await untilReady(records);
    const count = await reencrypt(records, createSealer(secretKeys));
    log.info(count, "Every record is under the first SECRET_KEY; the others can be removed");
  } catch (error) {
    log.warn(
      { reason: "reencryption_failed", cause: causes(error) },
      "Records could not be brought under the first SECRET_KEY: keep the others until a restart could",
    );
  }
}

function createRecords({ store }: Config, log: Log): KeyValueStore {
  if (store.kind === "redis") return redisStore({ ...store, log });
  log.warn("STORE=memory: a restart forgets every registration and signs everybody out");
  return memoryStore();
}

/** Tries discovery until it works, so that the log says early, and not at the first sign-in, what is wrong. */
function announce(
  identityProvider: ConfiguredProvider,
  scopes: readonly string[],
  log: Log,
): { cancel(): void } {
  let timer: NodeJS.Timeout | undefined;
  let cancelled = false;
  const attempt = async (delayMs: number): Promise<void> => {
    try {
      await identityProvider.ready();
      log.info({ issuer: identityProvider.settings.issuer }, "The identity provider is reachable");
      await warnOfUnaskedScopes(identityProvider, scopes, log);
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

/** Logged early: otherwise users would sign in without scopes, and the operator would not know why. */
async function warnOfUnaskedScopes(
  identityProvider: IdentityProvider,
  toolScopes: readonly string[],
  log: Log,
): Promise<void> {
  const scopes = await identityProvider.unaskedScopes(toolScopes);
  if (scopes.length > 0)
    log.warn(
      { reason: "scopes_not_offered", scopes },
      "The identity provider does not list these scopes and OIDC_SCOPES does not name them, so nobody is asked for them: see OIDC_SCOPES and SCOPES_FROM",
    );
}
