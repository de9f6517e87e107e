/** What the server is made of: every room is built here, from what it is given. Nothing is mounted, nothing started. */
import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import { type AuditStream, createAudit } from "./audit.ts";
import { Approval, createApprovals } from "./authorization/approvals.ts";
import { browserCookies } from "./authorization/browser.ts";
import { AwaitingLogin, createLogins } from "./authorization/transaction.ts";
import type { ClientAuthentication } from "./clients/authenticate-client.ts";
import { createFetchJwks } from "./clients/cimd-jwks.ts";
import { verifyClientAssertion } from "./clients/client-assertion.ts";
import { type ClientIdMetadata, createClientIdMetadata } from "./clients/client-id-metadata.ts";
import { createClients } from "./clients/find-client.ts";
import { createRegistrations } from "./clients/register.ts";
import { createSafeFetch } from "./clients/safe-fetch.ts";
import type { Config } from "./config.ts";
import { createConnections } from "./connections/list.ts";
import { createSessions, Session } from "./connections/session.ts";
import { createPages } from "./http/pages.ts";
import { createLifecycle, type Lifecycle } from "./lifecycle.ts";
import { createCancellations } from "./mcp/cancellations.ts";
import { type Features, type FeatureTable, featureTable } from "./mcp/features.ts";
import { ChosenLogLevel, createLogLevels } from "./mcp/log-level.ts";
import { AskedQuestion, createQuestions } from "./mcp/questions.ts";
import { requestStates } from "./mcp/request-state.ts";
import { createRunningCalls } from "./mcp/running-calls.ts";
import { sessionIds } from "./mcp/session-id.ts";
import { Client } from "./oauth/client-metadata.ts";
import { type RedirectUriPolicy, redirectUriPolicy } from "./oauth/redirect-uri.ts";
import { parseScope } from "./oauth/scope.ts";
import { type ScopeUse, scopeCatalogue } from "./oauth/scope-catalogue.ts";
import { requiredScopes } from "./oauth/scope-requirement.ts";
import { createPermissions } from "./policy/permissions.ts";
import { allowEverything, type Policy } from "./policy/policy.ts";
import { encryptedStore } from "./storage/encrypted.ts";
import { sparingRateLimits } from "./storage/rate-limits.ts";
import { createSealer } from "./storage/sealer.ts";
import type { Records } from "./storage/store.ts";
import { type Surroundings, systemClock } from "./surroundings.ts";
import { countDecisions } from "./telemetry/decision-metrics.ts";
import { createMetrics, type Metrics } from "./telemetry/metrics.ts";
import { observedFeatures } from "./telemetry/observed-features.ts";
import { observedIdentityProvider } from "./telemetry/observed-identity-provider.ts";
import { observedRecords } from "./telemetry/observed-records.ts";
import { type Observe, timeOperations } from "./telemetry/operation.ts";
import { traceOperations } from "./telemetry/spans.ts";
import { endGrants } from "./tokens/end-grant.ts";
import { Grant } from "./tokens/grant.ts";
import { createGrantCache } from "./tokens/grant-cache.ts";
import { createGrants } from "./tokens/grants.ts";
import { createLastUse } from "./tokens/last-use.ts";
import { createUpstreamRefresh } from "./tokens/upstream-refresh.ts";
import { createUpstreamRevocations } from "./tokens/upstream-revocations.ts";
import type { IdentityProvider } from "./upstream/identity-provider.ts";

export interface AppOptions extends Features {
  config: Config;
  /** Who may do what beyond the scopes. Default: nothing is denied. */
  policy?: Policy;
  /** Gets every audit line, beside the log. */
  auditStream?: AuditStream;
  /** Where everything is counted and timed. Default: metrics of its own. */
  metrics?: Metrics;
  records: Records;
  identityProvider: IdentityProvider;
  log: Logger;
  /** Fetches what strangers' URLs name. Default: public addresses only; tests let it reach their own servers. */
  safeFetch?: typeof createSafeFetch;
  /** Told when the process is about to end. Default: never. */
  lifecycle?: Lifecycle;
  /** Seconds since the epoch. Default: the system's clock. */
  now?: () => number;
}

export type Rooms = ReturnType<typeof buildRooms>;

/** @throws Error if two features of a kind have one name, or one needs a scope that is not declared */
export function buildRooms(options: AppOptions) {
  const { config, log, now = systemClock, metrics = createMetrics() } = options;
  const { lifecycle = createLifecycle() } = options;
  const observe = observing(metrics);
  const observed = observedRecords(options.records, observe);
  const records = { ...observed, rateLimits: sparingRateLimits(observed.rateLimits, now) };
  const identityProvider = observedIdentityProvider(options.identityProvider, observe);
  const surroundings: Surroundings = { now, randomBytes, log };
  const { baseUrl, lifetimes } = config;
  if (config.policyFile !== undefined && options.policy === undefined)
    throw new Error(
      "POLICY_FILE is set and no policy was given: pass the one that watchPolicy() makes of it.",
    );
  const audit = createAudit(log, options.auditStream, countDecisions(metrics));
  const features = featureTable(observedFeatures(options, observe));
  const catalogue = scopeCatalogue(options.scopes, scopeUses(features, config));
  const { policy = allowEverything } = options;
  const permissions = createPermissions({ policy, catalogue, membership: config.membership });
  const pages = createPages(config.brand);
  const sealer = createSealer(config.secretKeys);
  const storing = { records, sealer, log };

  const redirectUris = redirectUriPolicy(config.redirectUriPatterns);
  const { documents, verifyAssertion } = clientIdMetadataRooms(
    { ...options, records },
    surroundings,
    redirectUris,
  );
  const clients = createClients(
    encryptedStore({ ...storing, kind: "client", schema: Client }),
    config.clients,
    documents,
    lifetimes,
    now,
  );
  const approvalStore = encryptedStore({ ...storing, kind: "approval", schema: Approval });
  const { rememberSeconds: seconds } = config.consent;
  const approvals = createApprovals({ store: approvalStore, records, seconds, now });
  const browsers = browserCookies(
    baseUrl,
    config.consent.mode === "remember" ? seconds : lifetimes.transactionSeconds,
    randomBytes,
  );
  const logins = createLogins(encryptedStore({ ...storing, kind: "login", schema: AwaitingLogin }));
  const grantStore = encryptedStore({ ...storing, kind: "grant", schema: Grant });
  const lastUse = createLastUse({ ...surroundings, records, grants: grantStore });
  lifecycle.atEnd(lastUse.flush);
  const revocations = createUpstreamRevocations({ identityProvider, log, track: lifecycle.track });
  const grants = createGrants({
    ...surroundings,
    store: grantStore,
    indexes: records.indexes,
    lastUse,
    lifetimes,
    limits: config.grantLimits,
    revocations,
    audit,
  });
  const grantCache = createGrantCache({
    ...config.grantCache,
    grants,
    records,
    now,
    onLookup: (outcome) => metrics.grantCache.inc({ outcome }),
  });
  const sessionStore = encryptedStore({ ...storing, kind: "session", schema: Session });
  const sessions = createSessions({ ...surroundings, store: sessionStore, records, baseUrl });
  const questionStore = encryptedStore({ ...storing, kind: "question", schema: AskedQuestion });
  const conversation = {
    calls: createRunningCalls({ ...config.runningCalls, records, audit, now }),
    questions: createQuestions({ ...surroundings, store: questionStore, records, atEnd: lifecycle.atEnd }),
    cancellations: createCancellations(records),
    logLevels: createLogLevels(encryptedStore({ ...storing, kind: "log-level", schema: ChosenLogLevel })),
    states: requestStates(sealer, now),
    sessionIds: sessionIds(sealer),
  };
  const connections = createConnections({ configured: config.clients, grants, clients, lastUse, records });
  const registrations = createRegistrations({
    ...surroundings,
    clients,
    policy: redirectUris,
    baseUrl,
    async endGrantsOf(clientId) {
      const held = await grants.ofClient(clientId);
      await endGrants(
        held.map(({ id }) => id),
        "client_removed",
        grants,
      );
    },
    audit,
  });
  const { timeoutSeconds } = config.upstream;
  const upstreamRefresh = createUpstreamRefresh({
    ...surroundings,
    grants,
    identityProvider,
    records,
    catalogue,
    lifecycle,
    timeoutSeconds,
  });
  return {
    ...surroundings,
    config,
    lifecycle,
    metrics,
    audit,
    records,
    identityProvider,
    features,
    catalogue,
    permissions,
    pages,
    sealer,
    redirectUris,
    documents,
    verifyAssertion,
    clients,
    registrations,
    approvals,
    browsers,
    logins,
    grants,
    grantCache,
    lastUse,
    sessions,
    connections,
    conversation,
    upstreamRefresh,
  };
}

const MAX_JWKS_BYTES = 65_536;

/** What clients with a metadata document need: their document, and a check of what they sign. */
function clientIdMetadataRooms(
  { config, records, safeFetch = createSafeFetch }: AppOptions,
  { now, log }: Surroundings,
  redirectUriPolicy: RedirectUriPolicy,
): { documents: ClientIdMetadata | undefined; verifyAssertion: ClientAuthentication["verifyAssertion"] } {
  const { baseUrl, clientIdMetadata } = config;
  const { domains } = clientIdMetadata;
  const fetchJwks = createFetchJwks({ fetch: safeFetch({ maxBytes: MAX_JWKS_BYTES }), now, log });
  const rules = { issuer: baseUrl, tokenEndpoint: `${baseUrl}/token`, fetchJwks, records, now };
  return {
    documents: clientIdMetadata.enabled
      ? createClientIdMetadata({ fetch: safeFetch(), domains, redirectUriPolicy, now, log })
      : undefined,
    verifyAssertion: (assertion, assertionType, client) =>
      verifyClientAssertion(assertion, assertionType, client, rules),
  };
}

/** Every operation is timed, and where there is a trace, it is part of it. */
function observing(metrics: Metrics): Observe {
  const time = timeOperations(metrics);
  return (operation, work) => time(operation, () => traceOperations(operation, work));
}

/** Who names which scopes, for the message about one that is not declared. */
function scopeUses({ tools, resources, prompts }: FeatureTable, { clients, upstream }: Config): ScopeUse[] {
  const { scopeSources } = upstream;
  const mapped =
    scopeSources.kind === "provider" ? [...(scopeSources.claim?.map?.values() ?? [])].flat() : [];
  return [
    ...[...tools, ...resources, ...prompts].map(({ kind, name, scopes }) => ({
      name: `${kind} ${name}`,
      scopes,
    })),
    { name: "setting SCOPE_CLAIM_MAP", scopes: mapped.map((scope) => [scope]) },
    ...clients.map(({ client_id, scope = "" }) => ({
      name: `client ${client_id}`,
      scopes: requiredScopes(parseScope(scope) ?? [], `Client ${client_id}`),
    })),
  ];
}
