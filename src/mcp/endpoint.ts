/** /mcp: both protocol generations, stateless, from one table of tools (MCP TypeScript SDK v2). */
import { toNodeHandler } from "@modelcontextprotocol/node";
import {
  type CallToolResult,
  createMcpHandler,
  isJsonContentType,
  ProtocolError,
  ProtocolErrorCode,
  Server,
} from "@modelcontextprotocol/server";
import { json, type RequestHandler, type Response } from "express";
import type { Logger } from "pino";
import { OAuthError } from "../oauth/errors.ts";
import { missingScopes, union } from "../oauth/scope.ts";
import type { AccessToken } from "../tokens/access-token.ts";
import { getAccessToken } from "./access-token-context.ts";
import { insufficientScope } from "./bearer-auth.ts";
import { type Tool, ToolError, toolsByName } from "./define-tool.ts";

export interface McpEndpointOptions {
  tools: readonly Tool[];
  name: string;
  version: string;
  resource: string;
  log: Logger;
}

const MAX_BODY = "4mb";
const LIST_TTL_MS = 60_000;
const MAX_DEPTH = 100;

/** The handlers behind the bearer check, in order. */
export function mcpEndpoint({ tools, name, version, resource, log }: McpEndpointOptions): RequestHandler[] {
  const byName = toolsByName(tools);
  const handler = createMcpHandler(() => newServer(tools, byName, { name, version }, log), {
    legacy: "stateless",
    onerror: (error) =>
      log.debug({ reason: "mcp_request_rejected", cause: error.message }, "MCP request rejected"),
  });
  const serve = toNodeHandler(handler, {
    onerror: (error) => log.error({ reason: "mcp_handler_failed", err: error }, "MCP handler failed"),
  });
  return [
    json({ limit: MAX_BODY, type: (req) => isJsonContentType(req.headers["content-type"]) }),
    requireParsedBody,
    describeForLog,
    scopeGate(byName, resource),
    async (req, res) => {
      await serve(req, res, req.body);
      if (res.statusCode >= 400) res.locals.reason ??= "mcp_protocol_error";
    },
  ];
}

/**
 * Without a body of ours the SDK would read the request itself, behind the scope gate: what this server did not parse,
 * by whichever disagreement over content types or ends of requests, goes no further.
 */
const requireParsedBody: RequestHandler = (req, _res, next) => {
  if (req.method === "POST" && req.body === undefined)
    throw new OAuthError("invalid_request", "Send one JSON-RPC message as application/json.", {
      reason: "no_json_body",
      status: 415,
    });
  if (isDeeperThan(req.body, MAX_DEPTH))
    throw new OAuthError("invalid_request", `The message is nested deeper than ${MAX_DEPTH} levels.`, {
      reason: "nested_too_deeply",
    });
  next();
};

/** The SDK serializes what it was given, and overflows the stack on what JSON.parse still reads. */
function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((each) => isDeeperThan(each, levels - 1));
}

/**
 * Answers a call that lacks a scope before any protocol handling, as HTTP 403: the same in both generations, and for
 * a tool that the list does not show as well.
 */
function scopeGate(byName: ReadonlyMap<string, Tool>, resource: string): RequestHandler {
  return (req, res, next) => {
    const token = getAccessToken();
    const required = union(...calledTools(req.body, byName).map(({ scopes }) => scopes));
    const missing = missingScopes(required, token.scopes);
    if (missing.length === 0) next();
    else insufficientScope(res, resource, union(token.scopes, required), missing);
  };
}

/** Every tool that a body calls. The SDK is handed this same parsed body, so it cannot see another one. */
function calledTools(body: unknown, byName: ReadonlyMap<string, Tool>): Tool[] {
  return messages(body).flatMap(({ method, params }) => {
    const tool =
      method === "tools/call" && typeof params?.name === "string" ? byName.get(params.name) : undefined;
    return tool === undefined ? [] : [tool];
  });
}

interface Message {
  method?: unknown;
  params?: { name?: unknown };
}

function messages(body: unknown): Message[] {
  return [body].flat().filter((message) => typeof message === "object" && message !== null) as Message[];
}

const describeForLog: RequestHandler = (req, res, next) => {
  const [message] = messages(req.body);
  if (typeof message?.method === "string") res.locals.mcpMethod = message.method.slice(0, 64);
  if (typeof message?.params?.name === "string") res.locals.tool = message.params.name.slice(0, 128);
  next();
};

/** A server for one request: cheap, because schemas were converted when the tools were declared. */
function newServer(
  tools: readonly Tool[],
  byName: ReadonlyMap<string, Tool>,
  identity: { name: string; version: string },
  log: Logger,
): Server {
  const server = new Server(identity, {
    capabilities: { tools: {} },
    // What a list shows depends on the caller's scopes.
    cacheHints: { "tools/list": { ttlMs: LIST_TTL_MS, cacheScope: "private" } },
  });
  server.setRequestHandler("tools/list", () => ({
    tools: tools.filter((tool) => isAllowed(tool, getAccessToken())).map(({ listing }) => listing),
  }));
  server.setRequestHandler("tools/call", async ({ params }, { mcpReq }) => {
    const tool = byName.get(params.name);
    // The gate in front answers what lacks a scope; nothing that slipped past it finds a tool here.
    if (tool === undefined || !isAllowed(tool, getAccessToken()))
      throw new ProtocolError(ProtocolErrorCode.InvalidParams, `There is no tool named ${params.name}.`);
    return callTool(tool, params.arguments, mcpReq.signal, log);
  });
  return server;
}

function isAllowed(tool: Tool, token: AccessToken): boolean {
  return missingScopes(tool.scopes, token.scopes).length === 0;
}

/** What a tool throws becomes a result that the model can read; what was not meant for it goes to the log only. */
async function callTool(
  tool: Tool,
  args: unknown,
  signal: AbortSignal,
  log: Logger,
): Promise<CallToolResult> {
  try {
    return await tool.call(args, { signal });
  } catch (error) {
    // Ours are written for people as well: an outage, a sign-in that has ended.
    if (error instanceof ToolError || error instanceof OAuthError) return toolError(error.message);
    log.error({ reason: "tool_failed", tool: tool.name, err: error }, "A tool threw an unexpected error");
    return toolError(`${tool.name} failed unexpectedly. The server's log says why.`);
  }
}

function toolError(text: string): CallToolResult {
  return { content: [{ type: "text", text }], isError: true };
}

/** The body of /mcp could not be parsed: JSON-RPC's own error (JSON-RPC 2.0 §5.1). */
export function answerParseError(res: Response, status: number): void {
  const message = status === 413 ? `The body is larger than ${MAX_BODY}.` : "The body is not valid JSON.";
  res.status(status).json({ jsonrpc: "2.0", error: { code: -32700, message }, id: null });
}
