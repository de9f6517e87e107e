/**
 * featuresOf: an existing MCP server (SDK v1) behind the same checks as our own tools. It is called in memory, so
 * its tools run as they are, and no call reaches it that did not pass the bearer check, scopes and policy.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Client } from "@modelcontextprotocol/sdk/client/index.js";
import type { AuthInfo } from "@modelcontextprotocol/sdk/server/auth/types.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { ClientRequest } from "@modelcontextprotocol/sdk/types.js";
import type {
  CallToolResult,
  Resource as ListedResource,
  ResourceTemplateType as ListedTemplate,
  ReadResourceResult,
} from "@modelcontextprotocol/server";
import { z } from "zod";
import { requiredScopes, type ScopeRequirement } from "../../oauth/scope-requirement.ts";
import { resourceMetadataUrl } from "../../oauth/server-metadata.ts";
import type { AccessToken } from "../../resource/access-token-context.ts";
import { currentCaller, getAccessToken, notingRefusal } from "../../resource/access-token-context.ts";
import type { Prompt } from "../authoring/define-prompt.ts";
import { defineResource, type Resource } from "../authoring/define-resource.ts";
import type { Tool } from "../authoring/define-tool.ts";
import type { Features } from "../authoring/features.ts";
import { type RequestContext, ToolError } from "../authoring/request-context.ts";
import { listEverything } from "./listing.ts";

/** An `McpServer` or `Server` of `@modelcontextprotocol/sdk` 1.x that is not connected to anything. */
export interface ExistingServer {
  connect(transport: Transport): Promise<void>;
}

/** Which scopes everything that a server offers needs: `[]` for what everybody who is signed in may use. */
export interface NeededScopes {
  /** By name. */
  tools?: Readonly<Record<string, ScopeRequirement>>;
  /** By URI, or by template. */
  resources?: Readonly<Record<string, ScopeRequirement>>;
  /** By name. */
  prompts?: Readonly<Record<string, ScopeRequirement>>;
}

/**
 * The tools, resources and prompts of an existing server, to be served like our own: for {@link serve}, beside others or
 * alone. They can use `getAccessToken()`, `getUpstreamAccessToken()` and `requireScopes()`, and find the caller in
 * `extra.authInfo`. What the server offers is asked once, here. It is called without a session: messages that it sends by itself
 * (logs, changes of its lists) reach nobody, and what it asks of a client (sampling, elicitation) is refused.
 * @param needs names everything that the server offers, so that nothing is open to everybody by being forgotten
 * @throws Error listing what the server offers and `needs` does not name, and the other way round
 */
export async function featuresOf(
  server: ExistingServer,
  needs: NeededScopes,
): Promise<Required<Omit<Features, "scopes">>> {
  const client = await connect(server);
  const { tools, resources, templates, prompts } = await listEverything(client);
  refuseDifferences("tool", needs.tools, names(tools));
  refuseDifferences("resource", needs.resources, [
    ...resources.map(({ uri }) => uri),
    ...templates.map(({ uriTemplate }) => uriTemplate),
  ]);
  refuseDifferences("prompt", needs.prompts, names(prompts));

  const read = (uri: string, call: RequestContext) =>
    ask<ReadResourceResult>(client, { method: "resources/read", params: { uri } }, call);
  return {
    tools: tools.map((listing): Tool => {
      const { name } = listing;
      return {
        kind: "tool",
        name,
        scopes: requiredScopes(needs.tools?.[name] ?? [], `Tool "${name}"`),
        listing: listing as Tool["listing"],
        call: (args, call) => callTool(client, name, args, call),
      };
    }),
    resources: [
      ...resources.map((listing): Resource => {
        const { name, uri, description = name } = listing;
        const scopes = needs.resources?.[uri] ?? [];
        const declared = { name, uri, description, scopes, read: (call: RequestContext) => read(uri, call) };
        return { ...defineResource(declared), listing: { fixed: listing as ListedResource } };
      }),
      ...templates.map((listing): Resource => {
        const { name, uriTemplate, description = name } = listing;
        const scopes = needs.resources?.[uriTemplate] ?? [];
        const declared = { name, uriTemplate, description, scopes };
        return {
          ...defineResource({ ...declared, read: (_, call) => read(call.uri, call) }),
          listing: { template: listing as ListedTemplate },
        };
      }),
    ],
    prompts: prompts.map((listing): Prompt => {
      const { name } = listing;
      return {
        kind: "prompt",
        name,
        scopes: requiredScopes(needs.prompts?.[name] ?? [], `Prompt "${name}"`),
        listing: listing as Prompt["listing"],
        get: (args, call) =>
          ask(
            client,
            { method: "prompts/get", params: { name, arguments: args as Record<string, string> } },
            call,
          ),
      };
    }),
  };
}

/** The SDK's client is loaded for those who have such a server; the others start faster without. */
async function connect(server: ExistingServer): Promise<Client> {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { InMemoryTransport } = await import("@modelcontextprotocol/sdk/inMemory.js");
  const [ours, theirs] = InMemoryTransport.createLinkedPair();
  const send = ours.send.bind(ours);
  ours.send = (message, options) => {
    const asking = authInfos.getStore();
    return send(message, { ...options, ...(asking && { authInfo: asking }) });
  };
  await server.connect(theirs);
  const client = new Client({ name: "mcp-oidc-proxy", version: "1" });
  await client.connect(ours);
  return client;
}

function refuseDifferences(
  kind: string,
  needed: Readonly<Record<string, ScopeRequirement>> = {},
  offered: readonly string[],
): void {
  const forgotten = offered.filter((name) => !Object.hasOwn(needed, name));
  const unknown = Object.keys(needed).filter((name) => !offered.includes(name));
  const problems = [
    ...forgotten.map((name) => `say which scopes the ${kind} "${name}" needs ([] for none)`),
    ...unknown.map((name) => `it offers no ${kind} "${name}"`),
  ];
  if (problems.length > 0) throw new Error(`The existing server: ${problems.join("; ")}.`);
}

/** What HTTP transports take from `req.auth`, for the request that is being passed on. */
const authInfos = new AsyncLocalStorage<AuthInfo>();
// setTimeout's limit. The caller decides how long a call may take.
const NEVER_MS = 2 ** 31 - 1;
const INTERNAL_ERROR = -32603; // JSON-RPC 2.0 §5.1
const ANY_RESULT = z.looseObject({});

/**
 * Passes a request on for the caller.
 * @throws ToolError for what the server refuses in so many words; Error for what went wrong in it
 */
async function ask<Result>(
  client: Client,
  request: ClientRequest,
  { signal, progress }: RequestContext,
): Promise<Result> {
  const token = getAccessToken();
  const { sessionKey } = currentCaller("existing server");
  try {
    const answer = await authInfos.run(authInfo(token, sessionKey), () =>
      client.request(request, ANY_RESULT, {
        signal,
        timeout: NEVER_MS,
        // A client that went away needs no message.
        onprogress: (now) => void progress(now.progress, now.total, now.message).catch(() => {}),
      }),
    );
    return answer as Result;
  } catch (error) {
    const { name, code, message } = error as { name?: string; code?: number; message: string };
    if (name === "McpError" && code !== INTERNAL_ERROR) throw new ToolError(message, { cause: error });
    throw error;
  }
}

/** An SDK v1 tool that throws answers with the error's text: what `requireScopes()` threw is found again. */
async function callTool(
  client: Client,
  name: string,
  args: unknown,
  call: RequestContext,
): Promise<CallToolResult> {
  const request = {
    method: "tools/call" as const,
    params: { name, arguments: args as Record<string, unknown> },
  };
  const { result, refusal } = await notingRefusal(() => ask<CallToolResult>(client, request, call));
  if (result.isError === true && refusal !== undefined) throw refusal;
  return result;
}

function names(listings: ReadonlyArray<{ name: string }>): string[] {
  return listings.map(({ name }) => name);
}

/** The form in which both generations of the MCP SDK pass a caller to their handlers. */
function authInfo(token: AccessToken, sessionKey: string): AuthInfo & { resourceMetadataUrl: string } {
  return {
    // Handlers never see the bearer token itself, so that none can send it anywhere; this names its session, and is no credential.
    token: sessionKey,
    clientId: token.clientId,
    scopes: [...token.scopes],
    expiresAt: token.expiresAt,
    resource: new URL(token.resource),
    resourceMetadataUrl: resourceMetadataUrl(token.resource),
    extra: { subject: token.subject, claims: token.claims },
  };
}
