/** The MCP server, behind the scope check: one per request, over tables of features (low-level `Server` of the SDK v2). */
import {
  type CallToolResult,
  type Prompt as ListedPrompt,
  type Resource as ListedResource,
  type ResourceTemplateType as ListedTemplate,
  type Tool as ListedTool,
  ProtocolError,
  ProtocolErrorCode,
  ResourceNotFoundError,
  Server,
} from "@modelcontextprotocol/server";
import type { PermissionSet } from "../../access/permissions.ts";
import { OAuthError } from "../../oauth/errors.ts";
import type { RequiredAuthentication } from "../../oauth/required-authentication.ts";
import {
  currentCaller,
  InsufficientAuthenticationError,
  InsufficientScopeError,
} from "../../resource/access-token-context.ts";
import type { Caller } from "../../resource/caller.ts";
import { complete } from "../authoring/completion.ts";
import type { Feature, FeatureTable } from "../authoring/features.ts";
import { ToolError } from "../authoring/request-context.ts";
import { lacks } from "./ending.ts";
import { type Failed, type Invoked, type InvokeOptions, invoke } from "./invoke.ts";
import { type MultiRoundTripOptions, multiRoundTrip } from "./multi-round-trip.ts";
import type { ServedRequest } from "./served-request.ts";

export interface McpServerOptions extends InvokeOptions, MultiRoundTripOptions, ChallengeOptions {
  features: FeatureTable;
  name: string;
  version: string;
  /** Lists everything that the policy allows, also what lacks a scope. */
  listAll: boolean;
}

export interface ChallengeOptions {
  /** Whether to challenge a caller for another sign-in: false for a client that answered that with a refresh. */
  mayChallenge(caller: Caller, required: RequiredAuthentication): Promise<boolean>;
}

// What a list shows depends on the caller's scopes.
const HINT = { ttlMs: 60_000, cacheScope: "private" } as const;
const CACHE_HINTS = {
  "tools/list": HINT,
  "prompts/list": HINT,
  "resources/list": HINT,
  "resources/templates/list": HINT,
};
const FOR_PEOPLE = [ToolError, OAuthError, InsufficientScopeError, InsufficientAuthenticationError];

/** Makes the server for one request: cheap, because schemas were converted when the features were declared. */
export function createServerFactory(options: McpServerOptions): (request: ServedRequest) => Server {
  const { features, name, version, listAll, logLevels, log } = options;
  const { resources, prompts } = features;
  const completes = [...resources, ...prompts].some(({ completers }) => completers !== undefined);
  const capabilities = {
    tools: {},
    logging: {},
    ...(completes && { completions: {} }),
    ...(resources.length > 0 && { resources: {} }),
    ...(prompts.length > 0 && { prompts: {} }),
  };

  const lists = new WeakMap<PermissionSet, Lists>();

  /** Made once for everybody who may do the same. */
  function shown(): Lists {
    const { permissions } = currentCaller("list");
    const isShown = (feature: Feature) => {
      const decision = permissions.checkFeature(feature);
      return decision.allowed || (listAll && decision.because === "scopes");
    };
    const found = lists.get(permissions) ?? listsOf(features, isShown);
    lists.set(permissions, found);
    return found;
  }

  /** What asks for something, by the part of its name before the slash. */
  const parts: ReadonlyMap<string, (server: Server, request: ServedRequest) => void> = new Map([
    ["tools", serveTools],
    ...(resources.length > 0 ? [["resources", serveResources] as const] : []),
    ...(prompts.length > 0 ? [["prompts", servePrompts] as const] : []),
    ...(completes ? [["completion", serveCompletion] as const] : []),
    ["logging", serveLogLevels],
  ]);

  return (request) => {
    const { method, revision } = request;
    const server = new Server(
      { name, version },
      {
        ...(revision !== undefined && { supportedProtocolVersions: [revision] }),
        capabilities,
        cacheHints: CACHE_HINTS,
      },
    );
    if (method !== undefined) parts.get(method.slice(0, method.indexOf("/")))?.(server, request);
    else for (const serve of parts.values()) serve(server, request);
    return server;
  };

  function serveTools(server: Server, request: ServedRequest): void {
    server.setRequestHandler("tools/list", () => ({ tools: shown().tools }));
    server.setRequestHandler("tools/call", async ({ params }, { mcpReq }) => {
      const { running } = request;
      const tool = features.tool(params.name);
      if (tool === undefined) throw unknownFeature(`There is no tool named ${params.name}.`);
      const args = params.arguments;
      const used = await multiRoundTrip(tool, args, mcpReq, request, options, (call) =>
        invoke(tool, args, call.signal, running, options, () => tool.call(args, call)),
      );
      if (!("failed" in used)) return used.result;
      await challenge(used, running, options);
      return toolError(used.failed);
    });
  }

  function serveResources(server: Server, request: ServedRequest): void {
    server.setRequestHandler("resources/list", () => ({ resources: shown().resources }));
    server.setRequestHandler("resources/templates/list", () => ({
      resourceTemplates: shown().resourceTemplates,
    }));
    server.setRequestHandler("resources/read", async ({ params: { uri } }, { mcpReq }) => {
      const { running } = request;
      const found = features.resource(uri);
      if (found === undefined) throw new ResourceNotFoundError(uri);
      const { resource, read } = found;
      const used = await multiRoundTrip(resource, { uri }, mcpReq, request, options, (call) =>
        invoke(resource, { uri }, call.signal, running, options, () => read(call)),
      );
      return await orThrow(used, running, options);
    });
  }

  function servePrompts(server: Server, request: ServedRequest): void {
    server.setRequestHandler("prompts/list", () => ({ prompts: shown().prompts }));
    server.setRequestHandler("prompts/get", async ({ params }, { mcpReq }) => {
      const { running } = request;
      const prompt = features.prompt(params.name);
      if (prompt === undefined) throw unknownFeature(`There is no prompt named ${params.name}.`);
      const args = params.arguments;
      const used = await multiRoundTrip(prompt, args, mcpReq, request, options, (call) =>
        invoke(prompt, args, call.signal, running, options, () => prompt.get(args, call)),
      );
      return await orThrow(used, running, options);
    });
  }

  function serveCompletion(server: Server): void {
    server.setRequestHandler("completion/complete", async ({ params: { ref, argument, context } }) => {
      const feature = features.referred(ref);
      if (feature === undefined) throw unknownFeature("There is no such prompt or resource template.");
      const { allowed } = currentCaller("completion").permissions.checkFeature(feature);
      try {
        return await complete(allowed ? feature.completers : undefined, argument, context?.arguments);
      } catch (error) {
        // As for calls: these are written for people.
        if (FOR_PEOPLE.some((ours) => error instanceof ours))
          throw new ProtocolError(ProtocolErrorCode.InvalidRequest, (error as Error).message);
        log.error(
          { reason: "completion_failed", [feature.kind]: feature.name, err: error },
          "A completer threw an unexpected error",
        );
        throw new ProtocolError(ProtocolErrorCode.InternalError, "There are no suggestions now.");
      }
    });
  }

  /** The new generation says the level with each request. */
  function serveLogLevels(server: Server): void {
    server.setRequestHandler("logging/setLevel", async ({ params: { level } }) => {
      await logLevels.choose(currentCaller("logging/setLevel").sessionKey, level);
      return {};
    });
  }
}

/** What the four lists show. */
interface Lists {
  tools: ListedTool[];
  resources: ListedResource[];
  resourceTemplates: ListedTemplate[];
  prompts: ListedPrompt[];
}

function listsOf({ tools, resources, prompts }: FeatureTable, isShown: (feature: Feature) => boolean): Lists {
  const readable = resources.filter(isShown);
  return {
    tools: tools.filter(isShown).map(({ listing }) => listing),
    resources: readable.flatMap(({ listing }) => ("fixed" in listing ? [listing.fixed] : [])),
    resourceTemplates: readable.flatMap(({ listing }) => ("template" in listing ? [listing.template] : [])),
    prompts: prompts.filter(isShown).map(({ listing }) => listing),
  };
}

async function orThrow<Result>(
  used: Invoked<Result>,
  running: ServedRequest["running"],
  options: ChallengeOptions,
): Promise<Result> {
  if (!("failed" in used)) return used.result;
  await challenge(used, running, options);
  throw new ProtocolError(ProtocolErrorCode.InvalidRequest, used.failed);
}

/** What turned out to be lacking is asked for with HTTP 403 or 401, while that is possible; what the server returns is for later. */
async function challenge(
  { failed, lacking }: Failed,
  running: ServedRequest["running"],
  { mayChallenge }: ChallengeOptions,
): Promise<void> {
  if (lacking === undefined) return;
  const isUnderstood =
    "scopes" in lacking || (await mayChallenge(currentCaller("challenge"), lacking.authentication));
  if (isUnderstood) await running?.refuse(lacks(lacking, failed));
}

function unknownFeature(words: string): ProtocolError {
  return new ProtocolError(ProtocolErrorCode.InvalidParams, words);
}

function toolError(text: string): CallToolResult {
  return { content: [{ type: "text", text }], isError: true };
}
