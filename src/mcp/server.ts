/** The MCP server behind the gate: one per request over tables of features (MCP TypeScript SDK v2, low level). */
import {
  type CallToolResult,
  ProtocolError,
  ProtocolErrorCode,
  ResourceNotFoundError,
  Server,
  type ServerContext,
} from "@modelcontextprotocol/server";
import type { Logger } from "pino";
import type { Audit } from "../audit.ts";
import { OAuthError } from "../oauth/errors.ts";
import type { Denial } from "../policy/permissions.ts";
import { type Caller, currentCaller, InsufficientScopeError } from "./access-token-context.ts";
import { type Call, ToolError } from "./define-tool.ts";
import type { Feature, FeatureTable } from "./features.ts";

export interface McpServerOptions {
  features: FeatureTable;
  name: string;
  version: string;
  /** Lists everything that the policy allows, also what lacks a scope. */
  listAll: boolean;
  /** Puts the arguments of calls into the audit log. */
  auditArguments: boolean;
  log: Logger;
  audit: Audit;
}

const LIST_TTL_MS = 60_000;

/** Makes the server for one request: cheap, because schemas were converted when the features were declared. */
export function createServerFactory(options: McpServerOptions): () => Server {
  const { features, name, version, listAll } = options;
  const { tools, resources, prompts } = features;
  // What a list shows depends on the caller's scopes.
  const hint = { ttlMs: LIST_TTL_MS, cacheScope: "private" } as const;
  const fixed = resources.filter(({ listing }) => "fixed" in listing);
  const templates = resources.filter(({ listing }) => "template" in listing);

  function shown<Each extends Feature>(all: readonly Each[]): Each[] {
    const caller = currentCaller("list");
    return all.filter((feature) => {
      const decision = caller.may(feature);
      return decision.allowed || (listAll && decision.because === "scopes");
    });
  }

  return () => {
    const server = new Server(
      { name, version },
      {
        capabilities: {
          tools: {},
          ...(resources.length > 0 && { resources: {} }),
          ...(prompts.length > 0 && { prompts: {} }),
        },
        cacheHints: {
          "tools/list": hint,
          "prompts/list": hint,
          "resources/list": hint,
          "resources/templates/list": hint,
        },
      },
    );
    server.setRequestHandler("tools/list", () => ({ tools: shown(tools).map(({ listing }) => listing) }));
    server.setRequestHandler("tools/call", async ({ params }, { mcpReq }) => {
      const tool = features.tool(params.name);
      if (tool === undefined) throw unknownFeature(`There is no tool named ${params.name}.`);
      const used = await use(tool, params.arguments, options, () =>
        tool.call(params.arguments, callOf(mcpReq)),
      );
      return "failed" in used ? toolError(used.failed) : used.result;
    });
    if (resources.length > 0) {
      server.setRequestHandler("resources/list", () => ({
        resources: shown(fixed).flatMap(({ listing }) => ("fixed" in listing ? [listing.fixed] : [])),
      }));
      server.setRequestHandler("resources/templates/list", () => ({
        resourceTemplates: shown(templates).flatMap(({ listing }) =>
          "template" in listing ? [listing.template] : [],
        ),
      }));
      server.setRequestHandler("resources/read", async ({ params: { uri } }, { mcpReq }) => {
        const found = features.resource(uri);
        if (found === undefined) throw new ResourceNotFoundError(uri);
        return orThrow(await use(found.resource, { uri }, options, () => found.read(callOf(mcpReq))));
      });
    }
    if (prompts.length > 0) {
      server.setRequestHandler("prompts/list", () => ({
        prompts: shown(prompts).map(({ listing }) => listing),
      }));
      server.setRequestHandler("prompts/get", async ({ params }, { mcpReq }) => {
        const prompt = features.prompt(params.name);
        if (prompt === undefined) throw unknownFeature(`There is no prompt named ${params.name}.`);
        return orThrow(
          await use(prompt, params.arguments, options, () => prompt.get(params.arguments, callOf(mcpReq))),
        );
      });
    }
    return server;
  };
}

function callOf({ signal, notify, _meta }: ServerContext["mcpReq"]): Call {
  const progressToken = _meta?.progressToken;
  return {
    signal,
    async progress(progress, total, message) {
      if (progressToken === undefined) return; // nobody asked for it
      const params = {
        progressToken,
        progress,
        ...(total !== undefined && { total }),
        ...(message !== undefined && { message }),
      };
      await notify({ method: "notifications/progress", params });
    },
  };
}

type Used<Result> = { result: Result } | { failed: string };

/**
 * Runs a feature for the caller, and writes down that it did. What it throws becomes words that the model can read;
 * what was not meant for it goes to the log only.
 */
async function use<Result extends object>(
  feature: Feature,
  args: unknown,
  { log, audit, auditArguments }: McpServerOptions,
  run: () => Promise<Result>,
): Promise<Used<Result>> {
  const caller = currentCaller("use");
  const about = {
    ...auditOf(feature, caller),
    ...(auditArguments && { arguments: args }),
  };
  const refuse = (decision: Denial, words: string): Used<Result> => {
    audit({ ...about, ...denial(decision) });
    return { failed: words };
  };
  // The gate answers what lacks a scope before this; whatever slipped past it stops here.
  const decision = caller.may(feature);
  if (!decision.allowed) return refuse(decision, inWords(decision, feature));
  try {
    const result = await run();
    const outcome = (result as CallToolResult).isError === true ? "error" : "ok";
    audit({ ...about, decision: "allow", outcome });
    return { result };
  } catch (error) {
    if (error instanceof InsufficientScopeError) {
      if (error.decision.because === "scopes") caller.lacking = error.decision.missing;
      return refuse(error.decision, error.message);
    }
    audit({ ...about, decision: "allow", outcome: "error" });
    // Ours are written for people as well: an outage, a sign-in that has ended.
    if (error instanceof ToolError || error instanceof OAuthError) return { failed: error.message };
    log.error(
      { reason: `${feature.kind}_failed`, [feature.kind]: feature.name, err: error },
      `A ${feature.kind} threw an unexpected error`,
    );
    return { failed: `${feature.name} failed unexpectedly. The server's log says why.` };
  }
}

const EVENTS = { tool: "tool_call", resource: "resource_read", prompt: "prompt_get" } as const;

/** What the audit log says of a feature and whoever wants to use it. */
export function auditOf(feature: Feature, { token }: Caller) {
  const { subject, clientId, grantId, scopes } = token;
  return { event: EVENTS[feature.kind], subject, clientId, grantId, scopes, [feature.kind]: feature.name };
}

export function denial(decision: Denial) {
  return decision.because === "policy"
    ? { decision: "deny" as const, reason: "denied_by_policy", rule: decision.rule.name }
    : { decision: "deny" as const, reason: "insufficient_scope", scopes: decision.missing };
}

function inWords(decision: Denial, { kind, name }: Feature): string {
  return decision.because === "policy"
    ? `This server's policy does not let you use the ${kind} ${name} with this application (rule "${decision.rule.name}"). Its operator can change that.`
    : `The ${kind} ${name} needs the scope ${decision.missing.join(" ")}, which was not granted.`;
}

function orThrow<Result>(used: Used<Result>): Result {
  if ("failed" in used) throw new ProtocolError(ProtocolErrorCode.InvalidRequest, used.failed);
  return used.result;
}

function unknownFeature(words: string): ProtocolError {
  return new ProtocolError(ProtocolErrorCode.InvalidParams, words);
}

function toolError(text: string): CallToolResult {
  return { content: [{ type: "text", text }], isError: true };
}
