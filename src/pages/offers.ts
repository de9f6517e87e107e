/** What the server offers, in words for people: every tool, resource and prompt, and what each needs the user to allow. */
import type { Feature, FeatureTable } from "../mcp/authoring/features.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";

export interface Offer {
  title: string;
  /** What clients call it: a tool's or prompt's name, a resource's URI or template. */
  name: string;
  description: string;
  /** All of these, of each any one. */
  needs: ReadonlyArray<readonly Need[]>;
}

export interface Need {
  scope: string;
  /** In words for people. */
  description: string;
}

export interface Offers {
  tools: readonly Offer[];
  resources: readonly Offer[];
  prompts: readonly Offer[];
}

export function offersOf({ tools, resources, prompts }: FeatureTable, catalogue: ScopeCatalogue): Offers {
  const offers = (features: readonly Feature[]) => features.map((feature) => offerOf(feature, catalogue));
  return { tools: offers(tools), resources: offers(resources), prompts: offers(prompts) };
}

function offerOf(feature: Feature, catalogue: ScopeCatalogue): Offer {
  const { title, name, description = "" } = shown(feature);
  return {
    title: title ?? name,
    name: feature.name,
    description,
    needs: feature.scopes.map((alternatives) =>
      alternatives.flatMap((scope) =>
        catalogue.pick([scope]).map(({ description }) => ({ scope, description })),
      ),
    ),
  };
}

function shown({ kind, listing }: Feature) {
  if (kind !== "resource") return listing;
  return "fixed" in listing ? listing.fixed : listing.template;
}
