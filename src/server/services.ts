/** The composition root: every service is built here, from its dependencies. Nothing is mounted, nothing started. */
import { randomBytes } from "node:crypto";
import { getHeapStatistics } from "node:v8";
import { allowEverything, type Policy } from "../access/policy.ts";
import { storedUsers } from "../access/stored-users.ts";
import { createConnectedApplications } from "../account/list.ts";
import { createSessions, sessionFormat } from "../account/session.ts";
import { type AuditStream, createAudit } from "../audit/audit.ts";
import { consentFormat, createRememberedConsent } from "../authorization/remembered-consent.ts";
import { type ClientAuthentication, isCurrentCredential } from "../clients/authenticate-client.ts";
import { verifyClientAssertion } from "../clients/client-assertion.ts";
import { createClients } from "../clients/find-client.ts";
import {
  type ClientIdMetadata,
  createClientIdMetadata,
} from "../clients/metadata-documents/client-id-metadata.ts";
import { ASSUMED_REACH, type DocumentReach } from "../clients/metadata-documents/document-reach.ts";
import { createKeySets, type KeySets } from "../clients/metadata-documents/jwks.ts";
import { createSafeFetch } from "../clients/metadata-documents/safe-fetch.ts";
import {
  StoredDocument,
  type StoredDocuments,
  storedDocuments,
} from "../clients/metadata-documents/stored-document.ts";
import { createRegistrations } from "../clients/register.ts";
import type { Config } from "../config/config.ts";
import { endAll } from "../grants/end-grant.ts";
import { createEndings } from "../grants/endings.ts";
import { createExchangedTokens, KeptTokens } from "../grants/exchanged-tokens.ts";
import type { Grant } from "../grants/grant.ts";
import { createGrantCache } from "../grants/grant-cache.ts";
import { createGrants } from "../grants/grants.ts";
import { createLastUse } from "../grants/last-use.ts";
import { createStepUps } from "../grants/step-ups.ts";
import { grantFormat } from "../grants/stored-grant.ts";
import { createUpstreamRefresh } from "../grants/upstream-renewal.ts";
import { createUpstreamRevocations } from "../grants/upstream-revocations.ts";
import { type Bodies, largestShare } from "../http/body.ts";
import { createBodyBudget } from "../http/body-budget.ts";
import { spend } from "../http/rate-limit.ts";
import { createKeepClaims, decidingClaims, withBoundedClaims } from "../identity/bounded-claims.ts";
import {
  type AtLeastOne,
  type ConfiguredProvider,
  createIdentityProviders,
  decorated,
  openIdentityProviders,
} from "../identity/identity-providers.ts";
import { createAuthorizationServer } from "../identity/oidc/authorization-server.ts";
import { createProviderKeys, type KeyOwner } from "../identity/oidc/provider-keys.ts";
import { withOwnEmails } from "../identity/own-emails.ts";
import { readJwt } from "../issuers/jwt.ts";
import { trustedAssertions } from "../issuers/trusted-assertions.ts";
import type { TrustedIssuer } from "../issuers/trusted-issuer.ts";
import { browserCookies } from "../login/browser-binding.ts";
import { loginAdmission } from "../login/login-admission.ts";
import { rememberedProvider } from "../login/provider-choice.ts";
import { createLogins, loginFormat } from "../login/transaction.ts";
import { declaredScopes, type Features } from "../mcp/authoring/features.ts";
import { createCancellations } from "../mcp/server/cancellations.ts";
import { ChosenLogLevel, createLogLevels } from "../mcp/server/log-level.ts";
import { requestStates } from "../mcp/server/request-state.ts";
import { createRunningCalls } from "../mcp/server/running-calls.ts";
import { createServerRequests, StoredServerRequest } from "../mcp/server/server-requests.ts";
import { sessionIds } from "../mcp/server/session-id.ts";
import { CLIENT_CREDENTIALS_GRANT, Client, type RegistrationRules } from "../oauth/client-metadata.ts";
import { UnavailableError } from "../oauth/errors.ts";
import { redirectUriPolicy } from "../oauth/redirect-uri.ts";
import { parseScope } from "../oauth/scope.ts";
import { type ScopeUse, scopeCatalogue } from "../oauth/scope-catalogue.ts";
import { requiredScopes } from "../oauth/scope-requirement.ts";
import { createPages } from "../pages/shell.ts";
import { identityKeys } from "../resource/identity-keys.ts";
import { type ProtectedResources, resourceOf } from "../resource/protected-resource.ts";
import { createSignIdentity } from "../resource/signed-identity.ts";
import { upstreamAccessToken } from "../resource/upstream-access-token.ts";
import type { Log } from "../runtime/log.ts";
import { type Fetch, monotonicClock, type Runtime, systemClock } from "../runtime/runtime.ts";
import { createShutdown, type Shutdown } from "../runtime/shutdown.ts";
import { type Budgets, costOf } from "../storage/budgets.ts";
import { encryptedStore } from "../storage/encrypted.ts";
import { sparingRateLimits } from "../storage/rate-limits.ts";
import { createSealer } from "../storage/sealer.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { countDecisions } from "../telemetry/decision-metrics.ts";
import { createMetrics, type Metrics } from "../telemetry/metrics.ts";
import { observedIdentityProvider } from "../telemetry/observed-identity-provider.ts";
import { observedRecords } from "../telemetry/observed-records.ts";
import { type Observe, timeOperations } from "../telemetry/operation.ts";
import { traceOperations } from "../telemetry/spans.ts";
import type { GrantType } from "../token-endpoint/grant-type.ts";
import { offeredGrantTypes } from "../token-endpoint/grant-types.ts";
import {
  type DescribedResource,
  declarationOf,
  describeResource,
  type McpResource,
  type ResourceDeclaration,
  servedResource,
} from "./resources.ts";

/** With what the first resource offers. */
export interface AppOptions extends Features {
  config: Config;
  /** The policy. Default: nothing is denied. */
  policy?: Policy;
  /** Gets every audit line, beside the log. */
  auditStream?: AuditStream;
  /** Where everything is counted and timed. Default: metrics of its own. */
  metrics?: Metrics;
  records: KeyValueStore;
  /** Default: those of the configuration. */
  identityProviders?: AtLeastOne<ConfiguredProvider>;
  log: Log;
  /** Protected resources beside the first. Default: none. */
  furtherResources?: readonly ResourceDeclaration[];
  /** What clients may ask tokens with. Default: all that this server has. */
  grantTypes?: readonly GrantType[];
  /** Fetches what strangers' URLs name. Default: public addresses only; tests let it reach their own servers. */
  safeFetch?: typeof createSafeFetch;
  /** Whether documents can be fetched from here. Default: assumed. */
  documentReach?: DocumentReach;
  /** How trusted issuers and clients with keys at an address are asked. Default: Node's. */
  fetch?: Fetch | undefined;
  /** Stopped when the process is about to end. Default: never. */
  shutdown?: Shutdown;
  /** Seconds since the epoch. Default: the system's clock. */
  now?: () => number;
  /** See {@link Runtime}. Default: that of the process, or `now` where one is given. */
  monotonicNow?: () => number;
}

export type Services = ReturnType<typeof buildServices>;

/** @throws Error if two features of a kind have one name, or one needs a scope that is not declared */
export function buildServices(options: AppOptions) {
  const { config, log, now = systemClock, metrics = createMetrics() } = options;
  const { shutdown = createShutdown() } = options;
  const { monotonicNow = options.now ?? monotonicClock } = options;
  const observe = observing(metrics);
  const observed = observedRecords(options.records, observe);
  const records = { ...observed, rateLimits: sparingRateLimits(observed.rateLimits, monotonicNow) };
  const runtime = { now, monotonicNow, randomBytes, log, fetch: options.fetch };
  const { baseUrl, lifetimes } = config;
  if (config.policyFile !== undefined && options.policy === undefined)
    throw new Error(
      "POLICY_FILE is set and no policy was given: pass the one that watchPolicy() makes of it.",
    );
  const { policy = allowEverything } = options;
  const describe = (declared: ResourceDeclaration) =>
    describeResource(declared, { config, policy, observe, log });
  const { furtherResources = [] } = options;
  const described: ProtectedResources<DescribedResource> = [
    describe(declarationOf(config.resources[0], options)),
    ...furtherResources.map(describe),
  ];
  const audit = createAudit(log, options.auditStream, countDecisions(metrics, described));
  const offered = [options, ...furtherResources.map(({ features }) => features)];
  const catalogue = scopeCatalogue(declaredScopes(offered), scopeUses(config));
  const catalogueOf = (resource: string) => resourceOf(resource, described).scopes;
  const deciding = () => decidingClaims(described[0].permissions, config.identityProviders);
  const keepClaims = createKeepClaims(deciding, log);
  const { identityProviders: providers = openIdentityProviders(config.identityProviders, baseUrl, runtime) } =
    options;
  const identityProviders = createIdentityProviders(
    decorated(providers, (each) =>
      observedIdentityProvider(
        each.settings.id,
        withBoundedClaims(withOwnEmails(each, providers), deciding, keepClaims),
        observe,
      ),
    ),
  );
  const pages = createPages(config);
  const sealer = createSealer(config.secretKeys);
  const keysOfIdentities = identityKeys(config.secretKeys);
  const users = storedUsers(config.identityProviders);
  const storing = { records, sealer, log, waitUntil: shutdown.waitUntil };

  const { grantTypes = offeredGrantTypes(config) } = options;
  const redirectUris = redirectUriPolicy(config.redirectUriPatterns);
  const registrationRules = {
    redirectUriPolicy: redirectUris,
    grantTypes: grantTypes
      .filter(({ clients }) => clients === "any" || clients === "confidential")
      .map(({ name }) => name),
  };
  const stored = (kind: "document" | "key-set") =>
    storedDocuments(encryptedStore({ ...storing, kind, schema: StoredDocument }));
  const { documentReach = ASSUMED_REACH } = options;
  const { documents, keySets, verifyAssertion } = clientIdMetadataServices(
    { ...options, records, documentReach },
    { ...runtime, stored },
    registrationRules,
  );
  const clients = createClients(
    encryptedStore({ ...storing, kind: "client", schema: Client }),
    config.clients,
    { documents, keySets },
    lifetimes,
    now,
  );
  const approvalStore = encryptedStore({ ...storing, kind: "approval", ...consentFormat(users) });
  const { rememberSeconds: seconds } = config.consent;
  const rememberedConsent = createRememberedConsent({
    store: approvalStore,
    records,
    users,
    seconds,
    // Whichever is the first now: consent to one must never be taken for consent to another.
    unnamedResource: `${baseUrl}/mcp`,
    now,
  });
  const browsers = browserCookies(
    baseUrl,
    config.consent.mode === "remember" ? seconds : lifetimes.transactionSeconds,
    randomBytes,
  );
  const endings = createEndings({
    records,
    users,
    signInSeconds: lifetimes.transactionSeconds,
    now,
    log,
  });
  const logins = createLogins(
    encryptedStore({ ...storing, kind: "login", ...loginFormat(users) }),
    loginAdmission(config, records),
    endings,
  );
  const compact = config.storedSessions === "compact";
  const grantStore = encryptedStore({ ...storing, kind: "grant", compact, ...grantFormat(users) });
  const lastUse = createLastUse({ ...runtime, records, grants: grantStore });
  shutdown.onShutdown(lastUse.flush);
  const revocations = createUpstreamRevocations({ identityProviders, log, waitUntil: shutdown.waitUntil });
  const grants = createGrants({
    ...runtime,
    store: grantStore,
    records,
    indexes: records.indexes,
    users,
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
    now: monotonicNow,
    onLookup: (outcome) => metrics.grantCache.inc({ outcome }),
  });
  const stepUps = createStepUps({ records, users });
  const sessionStore = encryptedStore({ ...storing, kind: "session", ...sessionFormat(users) });
  const sessions = createSessions({ ...runtime, store: sessionStore, records, users, baseUrl });
  const questionStore = encryptedStore({ ...storing, kind: "question", schema: StoredServerRequest });
  const bodies = boundsOfBodies(config.maxRequestBytes, getHeapStatistics().heap_size_limit);
  const endpoint = {
    listAll: config.listed === "all",
    auditArguments: config.audit.arguments,
    bodies: bodies.ofCallers,
    audit,
    log,
    calls: createRunningCalls({ ...config.runningCalls, records, audit, now }),
    serverRequests: createServerRequests({
      ...runtime,
      store: questionStore,
      records,
      onShutdown: shutdown.onShutdown,
    }),
    cancellations: createCancellations(records),
    logLevels: createLogLevels(encryptedStore({ ...storing, kind: "log-level", schema: ChosenLogLevel })),
    states: requestStates(sealer, now),
    sessionIds: sessionIds(sealer, users),
    mayChallenge: stepUps.mayChallenge,
  };
  const connections = createConnectedApplications({
    configured: config.clients,
    grants,
    clients,
    lastUse,
    records,
    resources: described,
    catalogueOf,
  });
  const registrations = createRegistrations({
    ...runtime,
    clients,
    rules: registrationRules,
    baseUrl,
    spend: spendOnRegistration(config.registration, records.budgets),
    async endGrantsOf(clientId) {
      await endings.mark(["client", clientId], "client_removed");
      await endAll(() => grants.ofClient(clientId), "client_removed", grants);
    },
    audit,
  });
  const timeoutSeconds = Math.max(...config.identityProviders.map((each) => each.timeoutSeconds));
  const upstreamRefresh = createUpstreamRefresh({
    ...runtime,
    grants,
    identityProviders,
    revocations,
    records,
    keepClaims,
    catalogueOf,
    shutdown,
    timeoutSeconds,
  });
  const upstreamToken = (grantId: string) => upstreamAccessToken(grantId, { grants, upstreamRefresh, now });
  const exchangedTokens = createExchangedTokens({
    ...runtime,
    grants,
    kept: encryptedStore({ ...storing, kind: "exchanged", schema: KeptTokens }),
    identityProviders,
    authorizationServers: new Map(
      config.authorizationServers.map((each) => [each.issuer, createAuthorizationServer(each, runtime)]),
    ),
    upstreamRefresh,
    shutdown,
    records,
    audit,
    connectionsUrl: `${baseUrl}/connections`,
    timeoutSeconds,
  });
  const takenBack = credentialsTakenBack(config.clients);
  const assertions = trustedAssertions({
    ...runtime,
    issuers: config.issuers.filter((issuer) => issuer.accept !== "access-token"),
    baseUrl,
    records,
  });
  // An issuer that people sign in at knows this server as its client, whatever else it is trusted for.
  const verifyLogoutToken = async (token: string) => {
    const signsPeopleIn = identityProviders.ofIssuer(readJwt(token)?.issuer ?? "") !== undefined;
    const ofAssertions = signsPeopleIn ? undefined : assertions.verifyLogoutToken(token);
    return await (ofAssertions ?? identityProviders.ofToken(token).verifyLogoutToken(token));
  };
  const [first, ...others] = described;
  const signIdentity = createSignIdentity({ ...runtime, keys: keysOfIdentities, issuer: baseUrl });
  const served = (each: DescribedResource) =>
    servedResource(each, {
      ...runtime,
      grantCache,
      takenBack,
      upstreamToken,
      exchangedTokens,
      issuers: config.issuers,
      keepClaims,
      signIdentity,
      shutdown,
      observe,
      endpoint,
    });
  const resources: ProtectedResources<McpResource> = [served(first), ...others.map(served)];
  return {
    runtime,
    config,
    shutdown,
    metrics,
    audit,
    records,
    identityProviders,
    rememberedProvider: rememberedProvider(baseUrl, identityProviders),
    resources,
    catalogue,
    pages,
    sealer,
    identityKeys: keysOfIdentities,
    signIdentity,
    redirectUris,
    grantTypes,
    documents,
    documentReach,
    verifyAssertion,
    clients,
    registrations,
    rememberedConsent,
    browsers,
    logins,
    grants,
    endings,
    stepUps,
    grantCache,
    lastUse,
    sessions,
    users,
    connections,
    bodies,
    upstreamRefresh,
    assertions,
    verifyLogoutToken,
  };
}

/**
 * The memory for request bodies follows from the size of the heap (`--max-old-space-size`, or Node's default). Strangers have a
 * budget of their own, so that they cannot use up that of callers with a token.
 */
function boundsOfBodies(maxRequestBytes: number, heapBytes: number): Bodies {
  const largest = largestShare(maxRequestBytes);
  const total = Math.max(heapBytes / 4, largest);
  // A session may have several large bodies in flight, and a share is left for others.
  const perHolder = Math.max(Math.min(2 * largest, total / 4), largest);
  return {
    ofCallers: { maxBytes: maxRequestBytes, budget: createBodyBudget({ total, perHolder }) },
    ofStrangers: { maxBytes: 65_536, budget: createBodyBudget({ total: heapBytes / 16 }) },
  };
}

/**
 * A registration counts by its size: one point up to 2 KB, six for the largest. So its limits bound the bytes that
 * strangers have stored: those of one hour, times the hours that an unused registration lives.
 */
function spendOnRegistration({ perAddressPerHour, perHour }: Config["registration"], budgets: Budgets) {
  const budget = { name: "registrations", points: perHour, seconds: 3_600 } as const;
  return (client: Client, address: string) =>
    // Where an operator allows fewer than six, a large one is all that an address may have.
    spend(budgets, budget, {
      address,
      perAddress: perAddressPerHour,
      cost: Math.min(costOf(client), perAddressPerHour),
    });
}

const MAX_JWKS_BYTES = 65_536;

/** What clients with a metadata document need: their document, and a check of what they sign. */
function clientIdMetadataServices(
  {
    config,
    records,
    documentReach,
    safeFetch = createSafeFetch,
  }: AppOptions & { documentReach: DocumentReach },
  {
    stored,
    ...runtime
  }: Required<Omit<Runtime, "fetch">> &
    Pick<Runtime, "fetch"> & { stored(kind: "document" | "key-set"): StoredDocuments },
  rules: RegistrationRules,
): {
  documents: ClientIdMetadata | undefined;
  keySets: KeySets;
  verifyAssertion: ClientAuthentication["verifyAssertion"];
} {
  const { baseUrl, clientIdMetadata, lifetimes } = config;
  const { domains, proxy } = clientIdMetadata;
  const { now, monotonicNow, log } = runtime;
  const way = proxy && { proxy };
  const heldSeconds = lifetimes.clientSeconds;
  const keySets = createKeySets({
    fetch: safeFetch({ ...way, maxBytes: MAX_JWKS_BYTES }),
    stored: stored("key-set"),
    heldSeconds,
    now,
    monotonicNow,
    log,
  });
  const assertionRules = {
    issuer: baseUrl,
    tokenEndpoint: `${baseUrl}/token`,
    configuredKeys: keysOfConfiguredClients(runtime),
    records,
    now,
  };
  return {
    documents: clientIdMetadata.enabled
      ? createClientIdMetadata({
          ...{
            fetch: documentReach.watching(safeFetch({ ...way })),
            reach: documentReach,
            stored: stored("document"),
            domains,
            ...rules,
            now,
            monotonicNow,
            log,
          },
          limits: { heldSeconds },
        })
      : undefined,
    keySets,
    verifyAssertion: (assertion, assertionType, client, requester) =>
      verifyClientAssertion(assertion, assertionType, client, {
        ...assertionRules,
        fetchJwks: (uri, options) => keySets.get(uri, requester, options),
      }),
  };
}

/** A token of a client that acts for itself is good for as long as the operator has the client and what it proved itself with. */
function credentialsTakenBack(configured: Config["clients"]) {
  const clients = new Map(configured.map((client) => [client.client_id, client]));
  return ({
    origin,
    client: { id },
  }: Pick<Grant, "origin" | "client">): "client_credentials_removed" | undefined => {
    if (origin.kind !== "client_credentials") return undefined;
    const client = clients.get(id);
    const isGood =
      client?.grant_types.includes(CLIENT_CREDENTIALS_GRANT) &&
      isCurrentCredential(origin.credential, client);
    return isGood ? undefined : "client_credentials_removed";
  };
}

/** Those of an address are kept once, however many clients name it; the operator decides how many addresses there are. */
function keysOfConfiguredClients(runtime: Pick<Runtime, "now" | "monotonicNow" | "log" | "fetch">) {
  const sources = new Map<string, ReturnType<typeof createProviderKeys>>();
  return (uri: string) => {
    const source =
      sources.get(uri) ?? createProviderKeys(uri, CLIENT_KEYS_TIMEOUT_SECONDS, runtime, CONFIGURED_CLIENT);
    sources.set(uri, source);
    return source.ofBearersToken;
  };
}

const CLIENT_KEYS_TIMEOUT_SECONDS = 5;
const CONFIGURED_CLIENT: KeyOwner = {
  reasons: { failed: "client_keys_failed", askedLately: "client_keys_asked_lately" },
  message: "The keys of a client from CLIENTS could not be fetched: it cannot prove who it is until they are",
  outage: (reason, cause, more) => new UnavailableError("application's web site", { reason, cause, ...more }),
};

/** Every operation is timed, and where there is a trace, it is part of it. */
function observing(metrics: Metrics): Observe {
  const time = timeOperations(metrics);
  return (operation, work) => time(operation, () => traceOperations(operation, work));
}

/** Which scopes the configuration names, for the message about one that is not declared. */
function scopeUses({ clients, identityProviders, issuers }: Config): ScopeUse[] {
  const mapped = identityProviders.flatMap(({ scopeSources }) =>
    scopeSources.kind === "provider" ? [...(scopeSources.claim?.map?.values() ?? [])].flat() : [],
  );
  return [
    { name: "setting SCOPE_CLAIM_MAP", scopes: mapped.map((scope) => [scope]) },
    ...clients.map(({ client_id, scope = "" }) => ({
      name: `client ${client_id}`,
      scopes: requiredScopes(parseScope(scope) ?? [], `Client ${client_id}`),
    })),
    ...issuers.map(
      (issuer): ScopeUse => ({
        name: `entry for ${issuer.issuer} (issuers, accept: ${issuer.accept})`,
        scopes: scopesBy(issuer).map((scope) => [scope]),
      }),
    ),
  ];
}

/** Those that its tokens and assertions can be worth by configuration. */
function scopesBy(issuer: TrustedIssuer): string[] {
  switch (issuer.accept) {
    case "access-token":
      return [...issuer.scopes.values()].flat();
    case "workload":
      return issuer.rules.flatMap(({ scopes }) => scopes);
    case "id-jag":
      return [];
  }
}
