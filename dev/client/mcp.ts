/**
 * The messages of MCP over Streamable HTTP, by hand and in both generations: 2025-11-25 with its handshake, and 2026-07-28,
 * where every request stands alone. Requests are values; whoever makes one sends it.
 */
import type { HttpRequest } from "./http.ts";

export const HANDSHAKE_VERSION = "2025-11-25";
export const STATELESS_VERSION = "2026-07-28";

export interface McpCall {
  method: string;
  params?: Readonly<Record<string, unknown>>;
}

/** Who calls, and what they can be asked. */
export interface McpClientInfo {
  /** As `clientInfo` has it. */
  client: Readonly<{ name: string; version: string }>;
  /** Default: none. */
  capabilities?: object;
}

interface Bearer {
  accessToken?: string | undefined;
}

/** A request to the MCP endpoint, with its headers and its JSON-RPC message. */
export type McpRequest = HttpRequest & Required<Pick<HttpRequest, "headers" | "json">>;

/** What Streamable HTTP asks every client to accept. */
const ACCEPT = "application/json, text/event-stream";

/** The first request of the 2025 generation; it can be sent with or without a token. */
export function initializeRequest(
  url: string,
  { client, capabilities = {}, accessToken }: McpClientInfo & Bearer,
): McpRequest {
  const params = { protocolVersion: HANDSHAKE_VERSION, capabilities, clientInfo: client };
  return mcpRequest(url, { accessToken, message: { id: 0, method: "initialize", params } });
}

/** What the handshake settled. */
export interface McpSession extends Bearer {
  /** Default: {@link HANDSHAKE_VERSION}. */
  version?: string;
  /** Where the server gave one. */
  sessionId?: string | undefined;
}

/** Any later message of the 2025 generation: a request, a notification, or the answer to what the server asked. */
export function sessionMessage(
  url: string,
  message: object,
  { version = HANDSHAKE_VERSION, sessionId, accessToken }: McpSession,
): McpRequest {
  const headers = {
    "MCP-Protocol-Version": version,
    ...(sessionId !== undefined && { "Mcp-Session-Id": sessionId }),
  };
  return mcpRequest(url, { accessToken, headers, message });
}

/** A request of the 2026-07-28 generation: it says in its headers and its `_meta` all that the handshake said. */
export function statelessRequest(
  url: string,
  { method, params = {} }: McpCall,
  { client, capabilities = {}, accessToken, meta, id = 1 }: McpClientInfo & Bearer & StatelessOptions,
): McpRequest {
  const headers = {
    "MCP-Protocol-Version": STATELESS_VERSION,
    "Mcp-Method": method,
    ...(typeof params.name === "string" && { "Mcp-Name": params.name }),
  };
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": STATELESS_VERSION,
    "io.modelcontextprotocol/clientInfo": client,
    "io.modelcontextprotocol/clientCapabilities": capabilities,
    ...meta,
  };
  return mcpRequest(url, { accessToken, headers, message: { id, method, params: { ...params, _meta } } });
}

interface StatelessOptions {
  /** More of `_meta`. */
  meta?: object;
  id?: number;
}

function mcpRequest(
  url: string,
  {
    accessToken,
    headers = {},
    message,
  }: Bearer & { headers?: Readonly<Record<string, string>>; message: object },
): McpRequest {
  return {
    method: "POST",
    url,
    ...(accessToken !== undefined && { accessToken }),
    headers: { accept: ACCEPT, ...headers },
    json: { jsonrpc: "2.0", ...message },
  };
}
