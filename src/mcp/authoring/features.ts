/** Everything that this server offers, and which of it a message is about. MCP calls them server features. */

import type { ReadResourceResult } from "@modelcontextprotocol/server";
import type { Feature as JudgedFeature } from "../../access/policy.ts";
import type { KnownNames } from "../../access/policy-file.ts";
import type { RequiredAuthentication } from "../../oauth/required-authentication.ts";
import type { ScopeDeclarations } from "../../oauth/scope-catalogue.ts";
import type { Prompt } from "./define-prompt.ts";
import type { Resource } from "./define-resource.ts";
import type { Tool } from "./define-tool.ts";
import type { InputRequired } from "./input-required.ts";
import type { RequestContext } from "./request-context.ts";

/** What a server offers. */
export interface Features {
  readonly tools: readonly Tool[];
  readonly resources?: readonly Resource[];
  readonly prompts?: readonly Prompt[];
  /** Every scope that they need, in words for the consent page. */
  readonly scopes: ScopeDeclarations;
}

export type Feature = Tool | Resource | Prompt;

/** A feature that somebody wants to use, wherever it runs: what is asked of them, and what the audit log calls it. */
export interface UsedFeature extends JudgedFeature {
  readonly authentication?: RequiredAuthentication;
  /** Of a backend's: the name or pattern of the operator's by which it was found. */
  readonly entry?: string;
}

export interface FeatureTable extends Required<Omit<Features, "scopes">> {
  tool(name: string): Tool | undefined;
  prompt(name: string): Prompt | undefined;
  /** The resource that `uri` belongs to, and how to read it there. */
  resource(
    uri: string,
  ):
    | { resource: Resource; read(call: RequestContext): Promise<ReadResourceResult | InputRequired> }
    | undefined;
  /** The prompt or template that a completion is asked for. */
  referred(ref: unknown): Prompt | Resource | undefined;
  /** What a JSON-RPC message wants to use, if anything. */
  addressedBy(message: Message): Feature | undefined;
}

/** A JSON-RPC message as it came, not validated. */
export interface Message {
  jsonrpc?: unknown;
  id?: unknown;
  method?: unknown;
  params?: Readonly<Record<string, unknown>> | null;
}

/** @throws Error naming two of one kind that have the same name */
export function featureTable({
  tools,
  resources = [],
  prompts = [],
}: Omit<Features, "scopes">): FeatureTable {
  const toolsByName = byName(tools);
  const promptsByName = byName(prompts);
  const resourcesByName = byName(resources);

  const table: FeatureTable = {
    tools,
    resources,
    prompts,
    tool: (name) => toolsByName.get(name),
    prompt: (name) => promptsByName.get(name),
    resource(uri) {
      // A fixed URI before any template that would match it too.
      for (const fixedFirst of [true, false])
        for (const resource of resources) {
          const read = "fixed" in resource.listing === fixedFirst ? resource.reader(uri) : undefined;
          if (read !== undefined) return { resource, read };
        }
      return undefined;
    },
    referred(ref) {
      const { type, name, uri } = (ref ?? {}) as { type?: unknown; name?: unknown; uri?: unknown };
      if (type === "ref/prompt" && typeof name === "string") return promptsByName.get(name);
      return type === "ref/resource" && typeof uri === "string" ? resourcesByName.get(uri) : undefined;
    },
    addressedBy({ method, params }) {
      const named = typeof params?.name === "string" ? params.name : "";
      if (method === "tools/call") return table.tool(named);
      if (method === "prompts/get") return table.prompt(named);
      if (method === "completion/complete") return table.referred(params?.ref);
      if (method !== "resources/read" || typeof params?.uri !== "string") return undefined;
      return table.resource(params.uri)?.resource;
    },
  };
  return table;
}

/**
 * What a policy can speak of: whatever is offered at any of the protected resources.
 * @param elsewhere what is called at those that answer elsewhere
 */
export function knownNames(
  offered: readonly Features[],
  elsewhere: ReadonlyArray<readonly [Feature["kind"], string]> = [],
): KnownNames {
  const names = (kind: Feature["kind"], features: ReadonlyArray<readonly Feature[] | undefined>) => {
    const here = features.flatMap((each = []) => each.map(({ name }) => name));
    const others = elsewhere.filter(([each]) => each === kind).map(([, name]) => name);
    return [...new Set([...here, ...others])];
  };
  return {
    scopes: Object.keys(declaredScopes(offered)),
    tools: names(
      "tool",
      offered.map(({ tools }) => tools),
    ),
    resources: names(
      "resource",
      offered.map(({ resources }) => resources),
    ),
    prompts: names(
      "prompt",
      offered.map(({ prompts }) => prompts),
    ),
  };
}

/** The scopes of all protected resources. What the first of two says of one with the same name is what counts. */
export function declaredScopes(offered: readonly Features[]): ScopeDeclarations {
  return Object.assign({}, ...offered.map(({ scopes }) => scopes).reverse());
}

function byName<Each extends Feature>(features: readonly Each[]): ReadonlyMap<string, Each> {
  const found = new Map<string, Each>();
  for (const feature of features) {
    if (found.has(feature.name))
      throw new Error(`Two ${feature.kind}s are named "${feature.name}": give one of them another name.`);
    found.set(feature.name, feature);
  }
  return found;
}
