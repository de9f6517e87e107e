/** The protected resources that this server has: each with its scopes, its tokens and its MCP server. */
import { createPermissions } from "../access/permissions.ts";
import type { Policy } from "../access/policy.ts";
import type { Config } from "../config/config.ts";
import type { GrantCache } from "../grants/grant-cache.ts";
import { networksOf } from "../http/networks.ts";
import type { KeepClaims } from "../identity/bounded-claims.ts";
import { trustedAccessTokens } from "../issuers/trusted-access-tokens.ts";
import type { AccessTokenIssuer, TrustedIssuer } from "../issuers/trusted-issuer.ts";
import { type Features, type FeatureTable, featureTable } from "../mcp/authoring/features.ts";
import { type McpEndpointOptions, mcpEndpoint } from "../mcp/transport/endpoint.ts";
import type { ApiRequest } from "../oauth/other-api.ts";
import { scopeCatalogue } from "../oauth/scope-catalogue.ts";
import { protectedResourceMetadata } from "../oauth/server-metadata.ts";
import { foreignTokenAuthenticator } from "../resource/authenticators/foreign-token.ts";
import { ownTokenAuthenticator } from "../resource/authenticators/own-token.ts";
import type { ProtectedResource } from "../resource/protected-resource.ts";
import { packageManifest } from "../runtime/package.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { observedFeatures } from "../telemetry/observed-features.ts";
import type { Observe } from "../telemetry/operation.ts";

/** A protected resource that is an MCP server. */
export interface McpResource extends ProtectedResource {
  readonly features: FeatureTable;
}

export interface ResourceDeclaration {
  /** Below BASE_URL: begins with "/". */
  path: string;
  name: string;
  features: Features;
}

/** What is known of a resource before it can answer. */
export type DescribedResource = Omit<McpResource, "authenticators" | "handlers">;

/** @throws Error if two features of a kind have one name, or one needs a scope that is not declared */
export function describeResource(
  { path, name, features }: ResourceDeclaration,
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
  const table = featureTable(observedFeatures(features, observe));
  const uses = [...table.tools, ...table.resources, ...table.prompts].map((feature) => ({
    name: `${feature.kind} ${feature.name}`,
    scopes: feature.scopes,
  }));
  const catalogue = scopeCatalogue(features.scopes, uses);
  return {
    uri,
    path,
    name,
    features: table,
    scopes: catalogue,
    permissions: createPermissions({ policy, catalogue, membership: config.membership, log }),
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
    tokenFor,
    issuers,
    keepClaims,
    endpoint,
    ...runtime
  }: Pick<Runtime, "now" | "monotonicNow" | "log" | "fetch"> & {
    grantCache: GrantCache;
    takenBack: NonNullable<Parameters<typeof ownTokenAuthenticator>[0]["takenBack"]>;
    /** A principal's own access token at the identity provider. */
    upstreamToken(grantId: string): Promise<string>;
    /** One for another API in their name. */
    tokenFor(grantId: string, api: ApiRequest): Promise<string>;
    /** All whom the operator trusts. */
    issuers: readonly TrustedIssuer[];
    keepClaims: KeepClaims;
    endpoint: Omit<McpEndpointOptions, "features" | "name" | "version" | "resource">;
  },
): McpResource {
  const { uri, path, name, features, scopes, permissions } = described;
  const ourTokens = ownTokenAuthenticator({
    grants: grantCache,
    permissions,
    catalogue: scopes,
    resource: uri,
    takenBack,
    upstreamToken,
    tokenFor,
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
  return {
    ...described,
    authenticators: others.length === 0 ? [ourTokens] : [ourTokens, othersTokens],
    handlers: mcpEndpoint({ ...endpoint, features, name, version, resource: described }),
  };
}
