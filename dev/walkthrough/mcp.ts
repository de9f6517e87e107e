/** MCP by hand, in both generations: 2025-11-25 with its handshake, and 2026-07-28, where every request stands alone. */
import { z } from "zod";
import type { Answer } from "../client/http.ts";
import { describe, expectStatus, type RequestToSend, type Send } from "./http.ts";
import { expect, StepFailure } from "./trace.ts";

export const HANDSHAKE_VERSION = "2025-11-25";
export const STATELESS_VERSION = "2026-07-28";

const CLIENT = { name: "mcp-oidc-proxy-walkthrough", version: "1.0.0" };

/** What Streamable HTTP asks every client to accept. */
const ACCEPT = { accept: "application/json, text/event-stream" };

const Response = z.object({
  jsonrpc: z.literal("2.0"),
  result: z.record(z.string(), z.unknown()).optional(),
  error: z.object({ code: z.number(), message: z.string() }).optional(),
});
type RpcResponse = z.infer<typeof Response>;

/** The first request of a 2025 client; it can be sent with or without a token. */
export function initializeRequest(url: string): RequestToSend {
  const params = { protocolVersion: HANDSHAKE_VERSION, capabilities: {}, clientInfo: CLIENT };
  return {
    method: "POST",
    url,
    headers: ACCEPT,
    json: { jsonrpc: "2.0", id: 0, method: "initialize", params },
    show: { method: "initialize", protocolVersion: HANDSHAKE_VERSION },
  };
}

export interface McpCall {
  method: string;
  params?: Readonly<Record<string, unknown>>;
}

export interface McpClient {
  /** The 2025 handshake; what the server answered to `initialize`. */
  initialize(): Promise<Record<string, unknown>>;
  /** A request of the 2025 generation. */
  legacy(call: McpCall): Promise<Answer>;
  /** A request of the 2026-07-28 generation: it says in its headers and its `_meta` all that the handshake said. */
  stateless(call: McpCall): Promise<Answer>;
}

export function createMcpClient(send: Send, url: string, accessToken: string): McpClient {
  let id = 0;
  let negotiated: Readonly<Record<string, string>> = {};

  const message = ({ method, params }: McpCall) => {
    id += 1;
    return { jsonrpc: "2.0", id, method, ...(params && { params }) };
  };

  return {
    async initialize() {
      const answer = await send({ ...initializeRequest(url), accessToken });
      const result = readResult(answer);
      const version = String(result.protocolVersion);
      const session = answer.headers.get("mcp-session-id");
      negotiated = {
        "MCP-Protocol-Version": version,
        ...(session !== null && { "Mcp-Session-Id": session }),
      };
      const method = "notifications/initialized";
      const noted = await send({
        method: "POST",
        url,
        accessToken,
        headers: { ...ACCEPT, ...negotiated },
        json: { jsonrpc: "2.0", method },
        show: { ...negotiated, method },
      });
      expectStatus(noted, 202, "A notification is accepted with 202 and no body (MCP, Streamable HTTP).");
      return result;
    },
    legacy: (call) =>
      send({
        method: "POST",
        url,
        accessToken,
        headers: { ...ACCEPT, ...negotiated },
        json: message(call),
        show: { ...negotiated, ...shown(call) },
      }),
    stateless(call) {
      const headers = {
        "MCP-Protocol-Version": STATELESS_VERSION,
        "Mcp-Method": call.method,
        ...(typeof call.params?.name === "string" && { "Mcp-Name": call.params.name }),
      };
      const _meta = {
        "io.modelcontextprotocol/protocolVersion": STATELESS_VERSION,
        "io.modelcontextprotocol/clientInfo": CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
      };
      return send({
        method: "POST",
        url,
        accessToken,
        headers: { ...ACCEPT, ...headers },
        json: message({ ...call, params: { ...call.params, _meta } }),
        show: { ...headers, ...shown(call) },
      });
    },
  };
}

function shown({ method, params }: McpCall): Record<string, string> {
  return { method, ...(params && { params: JSON.stringify(params) }) };
}

/** @throws StepFailure unless the answer is a JSON-RPC result */
export function readResult(answer: Answer): Record<string, unknown> {
  expectStatus(answer, 200);
  const { result, error } = readResponse(answer);
  if (result !== undefined) return result;
  throw new StepFailure({
    expected: "a JSON-RPC result",
    came: error === undefined ? describe(answer) : `error ${error.code}: ${error.message}`,
    hint: "The server refused the request as MCP: its log, with LOG_LEVEL=debug, says why.",
  });
}

/** The JSON-RPC response, which may come as JSON or as the last event of a stream. */
export function readResponse(answer: Answer): RpcResponse {
  const parsed = Response.safeParse(answer.body);
  expect(parsed.success, {
    expected: "a JSON-RPC response, as JSON or as an event stream",
    came: describe(answer),
    hint: "Something else than an MCP server answers here.",
  });
  return parsed.data;
}
