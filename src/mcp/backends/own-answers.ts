/** What we answer in a backend's place, in the terms of Streamable HTTP. */
import { placeOf } from "../../runtime/json-text.ts";
import type { Message } from "../authoring/features.ts";
import { wholeBody } from "./answer-body.ts";
import type { BackendAnswer, BackendRequest } from "./backend.ts";

/** A request as its client wrote it. */
export interface WrittenRequest {
  readonly text: string;
  readonly message: Message;
}

/** Revisions of MCP in which a client introduces itself, the newest last. */
export const VERSIONS: readonly string[] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

// JSON-RPC 2.0 §5.1, MCP 2026-07-28
export const METHOD_NOT_FOUND = -32_601;
export const INVALID_PARAMS = -32_602;
export const REFUSED = -32_000;
const UNSUPPORTED_VERSION = -32_022;

/** One that does not introduce itself: its client tries the other way when it hears so. */
export function isOfOtherGeneration({ headers }: BackendRequest, { method }: Message): boolean {
  const version = headers["mcp-protocol-version"];
  return method === "server/discover" || (version !== undefined && !VERSIONS.includes(version));
}

export function unsupportedVersion(request: WrittenRequest, { headers }: BackendRequest): BackendAnswer {
  const data = { supported: VERSIONS, requested: headers["mcp-protocol-version"] };
  const error = { code: UNSUPPORTED_VERSION, message: "This server has not that version of MCP.", data };
  return json(400, request, `"error":${JSON.stringify(error)}`);
}

/** @param answer a member: `"result":…` or `"error":…` */
export function json(status: number, request: WrittenRequest, answer: string): BackendAnswer {
  const body = wholeBody(answerTo(request, answer));
  return { status, headers: { "content-type": "application/json" }, body };
}

/** The message, with the id as it was written. */
export function answerTo({ text }: WrittenRequest, answer: string): string {
  return `{"jsonrpc":"2.0","id":${text.slice(...placeOf(text, 0, ["id"]))},${answer}}`;
}

export function refusal(code: number, message: string): string {
  return `"error":${JSON.stringify({ code, message })}`;
}

/** For a body of which nobody knows what it asks. */
export function withoutId(status: number, code: number, message: string): BackendAnswer {
  const body = wholeBody(`{"jsonrpc":"2.0","id":null,${refusal(code, message)}}`);
  return { status, headers: { "content-type": "application/json" }, body };
}

export function empty(status: number, headers: BackendAnswer["headers"] = {}): BackendAnswer {
  return { status, headers, body: wholeBody("") };
}
