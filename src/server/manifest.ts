/** What this server offers at each of its protected resources, as a document that can be committed, published and compared. */
import type { Config } from "../config/config.ts";
import { type Manifest, manifestOf } from "../mcp/authoring/manifest.ts";
import { describeRequirement, type RequiredScopes } from "../oauth/scope-requirement.ts";
import { declarationsOf, needsElsewhere, type Offered } from "./offered.ts";
import type { ResourceDeclaration } from "./resources.ts";

/** That of the first resource, and in it those of the others by their paths: one resource has a manifest of its own alone. */
export function manifestOfAll(config: Pick<Config, "resources">, offered: Offered): Manifest {
  const [first, ...others] = declarationsOf(config, offered);
  const further = [...others].sort((one, other) => (one.path < other.path ? -1 : 1));
  return {
    ...manifestAt(first),
    ...(further.length > 0 && {
      furtherResources: Object.fromEntries(
        further.map((each) => [each.path, { name: each.name, ...manifestAt(each) }]),
      ),
    }),
  };
}

/** What a backend offers only it knows: of that, what its configuration names. */
function manifestAt(declared: ResourceDeclaration): Manifest {
  const { features, forwardAuth, backend } = declared;
  const manifest = manifestOf(features);
  if (forwardAuth === undefined && backend === undefined) return manifest;
  const { scopes = {} } = manifest;
  const { tool, resource, prompt } = needsElsewhere(declared);
  return {
    scopes,
    needs: {
      ...(forwardAuth && { everything: describeRequirement(forwardAuth.scopes) }),
      tools: described(tool),
      resources: described(resource),
      prompts: described(prompt),
    },
  };
}

function described(needed: ReadonlyMap<string, RequiredScopes> = new Map()): Manifest {
  const entries = [...needed].sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(entries.map(([name, scopes]) => [name, describeRequirement(scopes)]));
}
