/** MCP as the walkthrough speaks it: the shared messages, and what is printed of them. */
import { z } from "zod";
import type { Answer } from "../client/http.ts";
import {
  HANDSHAKE_VERSION,
  initializeRequest,
  type McpCall,
  type McpRequest,
  type McpSession,
  sessionMessage,
  statelessRequest,
} from "../client/mcp.ts";
import { describe, expectStatus, type RequestToSend, type Send } from "./http.ts";
import { expect, StepFailure } from "./trace.ts";

const CLIENT = { name: "mcp-oidc-proxy-walkthrough", version: "1.0.0" };

const Response = z.object({
  jsonrpc: z.literal("2.0"),
  result: z.record(z.string(), z.unknown()).optional(),
  error: z.object({ code: z.number(), message: z.string() }).optional(),
});
type RpcResponse = z.infer<typeof Response>;

/** The first request of a client: it can be sent with or without a token. */
export function firstRequest(url: string, accessToken?: string): RequestToSend {
  return {
    ...initializeRequest(url, { client: CLIENT, accessToken }),
    show: { method: "initialize", protocolVersion: HANDSHAKE_VERSION },
  };
}

export interface McpClient {
  /** The 2025 handshake; what the server answered to `initialize`. */
  initialize(): Promise<Record<string, unknown>>;
  /** A request of the 2025 generation. @param onMessage of a stream: gets each message when it comes */
  legacy(call: McpCall, onMessage?: (message: unknown) => void): Promise<Answer>;
  /** A request of the 2026-07-28 generation: it says in its headers and its `_meta` all that the handshake said. */
  stateless(call: McpCall): Promise<Answer>;
  /** In place of the one before; the session goes on. */
  useToken(accessToken: string): void;
}

export function createMcpClient(send: Send, url: string, firstToken: string): McpClient {
  let id = 0;
  let accessToken = firstToken;
  let session: Omit<McpSession, "accessToken"> = {};

  return {
    async initialize() {
      const answer = await send(firstRequest(url, accessToken));
      const result = readResult(answer);
      const sessionId = answer.headers.get("mcp-session-id") ?? undefined;
      session = { version: String(result.protocolVersion), sessionId };
      const call = { method: "notifications/initialized" };
      const noted = await send(shown(sessionMessage(url, call, { ...session, accessToken }), call));
      expectStatus(noted, 202, "A notification is accepted with 202 and no body (MCP, Streamable HTTP).");
      return result;
    },
    legacy(call, onMessage) {
      id += 1;
      const request = shown(sessionMessage(url, { id, ...call }, { ...session, accessToken }), call);
      return send({ ...request, ...(onMessage && { onMessage }) });
    },
    stateless(call) {
      id += 1;
      return send(shown(statelessRequest(url, call, { client: CLIENT, accessToken, id }), call));
    },
    useToken(other) {
      accessToken = other;
    },
  };
}

/** Of the headers those that are MCP's, and of the message what was asked. */
function shown(request: McpRequest, { method, params }: McpCall): RequestToSend {
  const { accept: _, ...headers } = request.headers;
  return {
    ...request,
    show: { ...headers, method, ...(params && { params: JSON.stringify(params) }) },
  };
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
