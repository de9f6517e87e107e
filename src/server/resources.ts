/** The protected resources that this server has: each with its scopes, its tokens and its MCP server. */
import { createPermissions } from "../access/permissions.ts";
import type { Policy } from "../access/policy.ts";
import type { Config } from "../config/config.ts";
import { searchPath } from "../config/environment.ts";
import type { ConfiguredResource } from "../config/resources.ts";
import type { ExchangedTokens } from "../grants/exchanged-tokens.ts";
import type { GrantCache } from "../grants/grant-cache.ts";
import { networksOf } from "../http/networks.ts";
import type { KeepClaims } from "../identity/bounded-claims.ts";
import { trustedAccessTokens } from "../issuers/trusted-access-tokens.ts";
import type { AccessTokenIssuer, TrustedIssuer } from "../issuers/trusted-issuer.ts";
import { type Features, type FeatureTable, featureTable } from "../mcp/authoring/features.ts";
import type { Backend } from "../mcp/backends/backend.ts";
import { backendFeatures } from "../mcp/backends/backend-features.ts";
import { type BackendHealth, backendHealth } from "../mcp/backends/backend-health.ts";
import {
  type BackendSettings,
  type HttpReach,
  type NeededScopes,
  nameInLog,
  type OneReach,
  serversOf,
} from "../mcp/backends/backend-settings.ts";
import { httpBackend } from "../mcp/backends/http-backend.ts";
import { mergedBackend } from "../mcp/backends/merged-backend.ts";
import { type Pins, readPins } from "../mcp/backends/pins.ts";
import { stdioBackend } from "../mcp/backends/stdio-backend.ts";
import { backendEndpoint } from "../mcp/transport/backend-endpoint.ts";
import { type McpEndpointOptions, mcpEndpoint } from "../mcp/transport/endpoint.ts";
import { pinnedTools } from "../mcp/transport/pinned-tools.ts";
import type { ApiRequest } from "../oauth/other-api.ts";
import { type ScopeUse, scopeCatalogue } from "../oauth/scope-catalogue.ts";
import { protectedResourceMetadata } from "../oauth/server-metadata.ts";
import { accessTokenFor } from "../resource/access-token-context.ts";
import { foreignTokenAuthenticator } from "../resource/authenticators/foreign-token.ts";
import { ownTokenAuthenticator } from "../resource/authenticators/own-token.ts";
import type { Caller } from "../resource/caller.ts";
import { reachedPastProxy } from "../resource/forward-auth.ts";
import type { ForwardAuthSettings } from "../resource/forward-auth-settings.ts";
import { createPlainIdentity } from "../resource/plain-identity.ts";
import type { ProtectedResource } from "../resource/protected-resource.ts";
import { IDENTITY_HEADER, type SignIdentity } from "../resource/signed-identity.ts";
import { packageManifest } from "../runtime/package.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { InvalidValue } from "../runtime/setting-problem.ts";
import type { Shutdown } from "../runtime/shutdown.ts";
import { observedFeatures } from "../telemetry/observed-features.ts";
import type { Observe } from "../telemetry/operation.ts";
import { traceHeaders } from "../telemetry/spans.ts";

/** A protected resource that is an MCP server. */
export interface McpResource extends ProtectedResource {
  readonly features: FeatureTable;
  /** Absent: this server answers there itself. */
  readonly forwardAuth?: ForwardAuthSettings;
  /** Present: an MCP server that stays as it is answers, behind this one. */
  readonly backend?: BackendSettings;
  /** Whether that backend answers, where /readyz is to say so. */
  readonly health: readonly BackendHealth[];
}

export interface ResourceDeclaration {
  /** Below BASE_URL: begins with "/". */
  path: string;
  name: string;
  /** See {@link ProtectedResource.identityProvider}. */
  identityProvider?: string;
  features: Features;
  /** A backend behind a reverse proxy, which asks this server: then it has no features here. */
  forwardAuth?: ForwardAuthSettings;
  /** An MCP server behind this one: then it has no features here, only scopes. */
  backend?: BackendSettings;
}

/** A configured resource, with what it offers here: of a backend only the scopes. */
export function declarationOf(
  { source, ...declared }: ConfiguredResource,
  features: Features,
): ResourceDeclaration {
  return {
    ...declared,
    features,
    ...(source.kind === "forwardAuth" && { forwardAuth: source.settings }),
    ...(source.kind === "server" && { backend: source.settings }),
  };
}

/** What is known of a resource before it can answer. */
export type DescribedResource = Omit<McpResource, "authenticators" | "answer" | "health">;

/** @throws Error if two features of a kind have one name, or one needs a scope that is not declared */
export function describeResource(
  { path, name, identityProvider, features, forwardAuth, backend }: ResourceDeclaration,
  {
    config,
    policy,
    observe,
    log,
  }: Pick<Runtime, "log"> & {
    config: Pick<Config, "baseUrl" | "membership">;
    policy: Policy;
    observe: Observe;
  },
): DescribedResource {
  const uri = `${config.baseUrl}${path}`;
  const table = featureTable(observedFeatures(features, path, observe));
  const uses = [...table.tools, ...table.resources, ...table.prompts].map((feature) => ({
    name: `${feature.kind} ${feature.name}`,
    scopes: feature.scopes,
  }));
  const catalogue = scopeCatalogue(features.scopes, [
    ...uses,
    ...scopesChecked(path, forwardAuth),
    ...scopesOfBackend(path, backend),
  ]);
  return {
    uri,
    path,
    name,
    features: table,
    ...(forwardAuth && { forwardAuth }),
    ...(identityProvider !== undefined && { identityProvider }),
    ...(backend && { backend }),
    scopes: catalogue,
    permissions: createPermissions({
      policy: policy.at(path),
      catalogue,
      membership: config.membership,
      log,
    }),
    metadata: protectedResourceMetadata({
      issuer: config.baseUrl,
      resource: uri,
      usualScopes: catalogue.defaultScopes,
      name,
    }),
  };
}

/** With its authenticators and what answers behind them. */
export function servedResource(
  described: DescribedResource,
  {
    grantCache,
    takenBack,
    now,
    upstreamToken,
    exchangedTokens,
    issuers,
    keepClaims,
    signIdentity,
    shutdown,
    observe,
    endpoint,
    ...runtime
  }: Pick<Runtime, "now" | "monotonicNow" | "log" | "fetch" | "randomBytes"> & {
    grantCache: GrantCache;
    takenBack: NonNullable<Parameters<typeof ownTokenAuthenticator>[0]["takenBack"]>;
    /** A principal's own access token at the identity provider. */
    upstreamToken(grantId: string): Promise<string>;
    /** For other APIs in their name. */
    exchangedTokens: ExchangedTokens;
    /** All whom the operator trusts. */
    issuers: readonly TrustedIssuer[];
    keepClaims: KeepClaims;
    signIdentity: SignIdentity;
    shutdown: Pick<Shutdown, "onShutdown">;
    observe: Observe;
    endpoint: Omit<McpEndpointOptions, "features" | "name" | "version" | "resource">;
  },
): McpResource {
  const { uri, path, name, features, scopes, permissions, forwardAuth, backend } = described;
  const ourTokens = ownTokenAuthenticator({
    grants: grantCache,
    permissions,
    catalogue: scopes,
    resource: uri,
    takenBack,
    upstreamToken,
    exchangedTokens,
    now,
  });
  const others = issuers.filter(
    (issuer): issuer is AccessTokenIssuer =>
      issuer.accept === "access-token" && (issuer.resources?.includes(path) ?? true),
  );
  const othersTokens = foreignTokenAuthenticator({
    tokens: trustedAccessTokens({
      issuers: others,
      resource: uri,
      keepClaims,
      networksOf,
      ...runtime,
      now,
    }),
    permissions,
    catalogue: scopes,
    resource: uri,
  });
  const { version } = packageManifest();
  const { monotonicNow = now } = runtime;
  const answer = (): McpResource["answer"] => {
    if (forwardAuth !== undefined) return reachedPastProxy;
    if (backend !== undefined)
      return answerOfBackend(described, backend, {
        signIdentity,
        shutdown,
        endpoint,
        observe,
        log: runtime.log,
        now,
        monotonicNow,
      });
    return mcpEndpoint({ ...endpoint, features, name, version, resource: described });
  };
  return {
    ...described,
    authenticators: others.length === 0 ? [ourTokens] : [ourTokens, othersTokens],
    answer: answer(),
    health: healthOf(path, backend, { ...runtime, monotonicNow }),
  };
}

/** Where /readyz is to ask its backends. */
function healthOf(
  path: string,
  backend: BackendSettings | undefined,
  runtime: Required<Pick<Runtime, "monotonicNow">> & Pick<Runtime, "log">,
): BackendHealth[] {
  if (backend === undefined) return [];
  return [...serversOf(path, backend.reach)].flatMap(([name, reach]) =>
    reach.kind === "http" && reach.health !== undefined
      ? [backendHealth({ ...runtime, name, health: reach.health, headers: reach.headers })]
      : [],
  );
}

function answerOfBackend(
  resource: DescribedResource,
  { reach, needs, pins }: BackendSettings,
  { endpoint, ...options }: BackendOptions & { endpoint: Parameters<typeof servedResource>[1]["endpoint"] },
) {
  const backend = backendOf(resource, reach, options);
  options.shutdown.onShutdown(backend.close);
  const pinned =
    pins &&
    pinnedTools({
      backend,
      resource: resource.uri,
      pins: pinsOf(resource.path, pins.file),
      onDrift: pins.onDrift,
      monotonicNow: options.monotonicNow,
      audit: endpoint.audit,
      log: options.log,
    });
  if (pinned !== undefined) setImmediate(pinned.lookFirst);
  return backendEndpoint({
    ...endpoint,
    backend,
    features: backendFeatures({ reach, needs }),
    ...(pinned && { pinned }),
    maxAnswerBytes: reach.maxAnswerBytes,
    resource,
    monotonicNow: options.monotonicNow,
    observe: (method, work) => options.observe({ of: "backend", name: backend.name, method }, work),
  });
}

/** @throws Error that says what to do about the file */
function pinsOf(path: string, file: string): Pins {
  try {
    return readPins(file);
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    throw new Error(
      `resources.${path}.pins ${error.problem}: write what its server offers now with npm run admin -- backend pin --resource ${path}`,
      { cause: error },
    );
  }
}

type BackendOptions = Required<
  Pick<
    Parameters<typeof servedResource>[1],
    "signIdentity" | "shutdown" | "log" | "now" | "monotonicNow" | "observe"
  >
>;

export function backendOf(
  { path, name: title }: Pick<DescribedResource, "path" | "name">,
  reach: BackendSettings["reach"],
  options: Omit<BackendOptions, "shutdown">,
): Backend {
  if (reach.kind !== "merged") return oneBackend(path, reach, options);
  const { log, monotonicNow: now } = options;
  const { maxAnswerBytes } = reach;
  const servers = new Map(
    [...reach.servers].map(([server, each]) => {
      const one = oneBackend(nameInLog(path, server), each, options);
      return [server, observedBackend(one, options.observe)];
    }),
  );
  return mergedBackend({ name: path, title, servers, maxAnswerBytes, log, now });
}

/** Beside what is observed of the resource as a whole. */
function observedBackend(backend: Backend, observe: Observe): Backend {
  return {
    ...backend,
    send: (request) =>
      observe({ of: "backend", name: backend.name, method: request.method }, () => backend.send(request)),
  };
}

function oneBackend(
  name: string,
  reach: OneReach,
  { signIdentity, log, now, monotonicNow }: Omit<BackendOptions, "shutdown" | "observe">,
): Backend {
  if (reach.kind === "stdio")
    return stdioBackend({ name, reach, searchPath: searchPath(), log, now: monotonicNow });
  const { token } = reach.identity;
  return httpBackend({
    ...reach,
    name,
    identity: identityFor(reach, signIdentity),
    ...(token && { identityRefused: tokenRefused(token) }),
    traceHeaders,
    now,
  });
}

/** What a backend is told of a caller, and given in their name. */
function identityFor({ audience, identity }: HttpReach, signIdentity: SignIdentity) {
  const { headers = {}, token } = identity;
  const plain = createPlainIdentity(headers);
  return async (caller: Caller) => ({
    ...plain(caller),
    ...(audience !== undefined && { [IDENTITY_HEADER]: await signIdentity(caller, audience) }),
    ...(token && { authorization: `Bearer ${await accessTokenFor(token)}` }),
  });
}

/** What a backend answers 401 to is exchanged anew for whoever calls next. */
function tokenRefused(token: ApiRequest) {
  return async ({ otherApis }: Caller, { authorization = "" }: Readonly<Record<string, string>>) =>
    await otherApis?.refused(token, authorization.slice("Bearer ".length));
}

function scopesOfBackend(path: string, backend: BackendSettings | undefined): ScopeUse[] {
  const named = Object.values(backend?.needs ?? {}).flatMap((needed: NeededScopes) => [...needed.values()]);
  return named.map((scopes) => ({ name: `resource ${path}`, scopes }));
}

/** What its proxy asks about. */
function scopesChecked(path: string, forwardAuth: ForwardAuthSettings | undefined): ScopeUse[] {
  if (forwardAuth === undefined) return [];
  const { scopes, needs } = forwardAuth;
  const ofFeatures = Object.values(needs ?? {}).flatMap((named) => [...named.values()]);
  return [scopes, ...ofFeatures].map((each) => ({ name: `resource ${path}`, scopes: each }));
}
