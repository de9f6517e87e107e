/** What this server offers, at all of its protected resources: for programs that do not serve it, and for the policy. */

import type { Feature as JudgedFeature } from "../access/policy.ts";
import type { KnownNames } from "../access/policy-file.ts";
import { type Config, issuersOfUsers } from "../config/config.ts";
import {
  declaredScopes,
  type Feature,
  type Features,
  featureTable,
  knownNames,
} from "../mcp/authoring/features.ts";
import { backendFeatures } from "../mcp/backends/backend-features.ts";
import { type ScopeCatalogue, scopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { RequiredScopes } from "../oauth/scope-requirement.ts";
import { declarationOf, type ResourceDeclaration } from "./resources.ts";
import { loadFeatures, loadFurtherResources } from "./tools-module.ts";

/** The features of the first resource, and the others. */
export interface Offered extends Features {
  readonly furtherResources?: readonly ResourceDeclaration[];
}

/** @throws Error that says what to do about a module */
export async function loadOffered(config: Pick<Config, "resources">): Promise<Offered> {
  return { ...(await loadFeatures(config)), furtherResources: await loadFurtherResources(config) };
}

/** Each protected resource, the first one first. */
export function declarationsOf(
  { resources }: Pick<Config, "resources">,
  { furtherResources = [], ...first }: Offered,
): readonly [ResourceDeclaration, ...ResourceDeclaration[]] {
  return [declarationOf(resources[0], first), ...furtherResources];
}

/** Those of each resource. */
export function featuresOfEach({ furtherResources = [], ...first }: Offered): readonly Features[] {
  return [first, ...furtherResources.map(({ features }) => features)];
}

/** What a policy can speak of. */
export function policyNames(
  config: Pick<Config, "resources" | "identityProviders" | "issuers">,
  offered: Offered,
): KnownNames {
  const declared = declarationsOf(config, offered);
  return {
    ...knownNames(featuresOfEach(offered), declared.flatMap(namesElsewhere)),
    protectedResources: declared.map(({ path }) => path),
    userIssuers: issuersOfUsers(config),
  };
}

/** Every scope, with what includes it. */
export function catalogueOfAll(offered: Offered): ScopeCatalogue {
  return scopeCatalogue(declaredScopes(featuresOfEach(offered)), []);
}

type Kind = Feature["kind"];

/** What is called at a backend, as far as its configuration names it. */
function namesElsewhere(declared: ResourceDeclaration): Array<[Kind, string]> {
  return Object.entries(needsElsewhere(declared)).flatMap(([kind, needed]) =>
    [...needed.keys()].map((name): [Kind, string] => [kind as Kind, name]),
  );
}

/** What is needed at a backend, by the names and patterns of its configuration. */
export function needsElsewhere({
  forwardAuth,
  backend,
}: ResourceDeclaration): Partial<Record<Kind, ReadonlyMap<string, RequiredScopes>>> {
  if (backend === undefined) return forwardAuth?.needs ?? {};
  const { tools, resources, prompts } = backend.needs;
  return { tool: tools, resource: resources, prompt: prompts };
}

/** What finds a feature of a protected resource by its name (a resource of MCP: its URI), as a call to it would. */
export function featureFinder(
  declared: ResourceDeclaration,
): (kind: Kind, name: string) => JudgedFeature | undefined {
  const { features, forwardAuth, backend } = declared;
  if (backend !== undefined) return backendFeatures(backend).feature;
  if (forwardAuth !== undefined)
    return (kind, name) => {
      const scopes = forwardAuth.needs?.[kind].get(name);
      return scopes && { kind, name, scopes: [...forwardAuth.scopes, ...scopes] };
    };
  const table = featureTable(features);
  return (kind, name) =>
    ({ tool: table.tool, prompt: table.prompt, resource: (uri: string) => table.resource(uri)?.resource })[
      kind
    ](name);
}
