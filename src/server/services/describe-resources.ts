/** The protected resources before they can answer, and the scopes of all of them. */
import { allowEverything, type Policy } from "../../access/policy.ts";
import type { Config } from "../../config/config.ts";
import type { TrustedIssuer } from "../../issuers/trusted-issuer.ts";
import { declaredScopes, type Features } from "../../mcp/authoring/features.ts";
import { parseScope } from "../../oauth/scope.ts";
import { type ScopeCatalogue, type ScopeUse, scopeCatalogue } from "../../oauth/scope-catalogue.ts";
import { requiredScopes } from "../../oauth/scope-requirement.ts";
import type { ProtectedResources } from "../../resource/protected-resource.ts";
import {
  type DescribedResource,
  declarationOf,
  describeResource,
  type ResourceDeclaration,
} from "../resources.ts";
import type { Foundation } from "./foundation.ts";

/** What each resource offers, beginning with the first. */
export interface ResourcesOptions extends Features {
  /** The policy. Default: nothing is denied. */
  policy?: Policy;
  /** Protected resources beside the first. Default: none. */
  furtherResources?: readonly ResourceDeclaration[];
}

/** @throws Error if two features of a kind have one name, or one needs a scope that is not declared */
export function describeResources(
  options: ResourcesOptions,
  { config, observe, runtime: { log } }: Foundation,
): { described: ProtectedResources<DescribedResource>; catalogue: ScopeCatalogue } {
  if (config.policyFile !== undefined && options.policy === undefined)
    throw new Error(
      "POLICY_FILE is set and no policy was given: pass the one that watchPolicy() makes of it.",
    );
  const { policy = allowEverything, furtherResources = [] } = options;
  const describe = (declared: ResourceDeclaration) =>
    describeResource(declared, { config, policy, observe, log });
  const offered = [options, ...furtherResources.map(({ features }) => features)];
  return {
    described: [describe(declarationOf(config.resources[0], options)), ...furtherResources.map(describe)],
    catalogue: scopeCatalogue(declaredScopes(offered), scopeUses(config)),
  };
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
