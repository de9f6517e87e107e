/** What every tool, resource and prompt is given, and how it reports an error to its caller. */
import type { ClientCapabilities, LoggingLevel } from "@modelcontextprotocol/server";

/** What a tool, resource or prompt is given beside its input. Who is calling comes from `getAccessToken()`. */
export interface RequestContext {
  /** Aborted when the client goes away or cancels. */
  signal: AbortSignal;
  /** Reports progress to a client that asked for it: `done` of `total`, growing. */
  progress(done: number, total?: number, message?: string): Promise<void>;
  /** Sends a log message to the client, if it asked for this level: `data` is text, or anything that JSON can express. */
  log(level: LoggingLevel, data: unknown): Promise<void>;
  /** What can be asked of the client by returning {@link inputRequired}, by what it says of itself. */
  clientCapabilities: ClientCapabilities;
  /**
   * The answers to what an earlier round trip of this call asked for, by their keys; absent in the first one. They come from
   * the client, so read them with {@link acceptedContent} and a schema.
   */
  inputResponses?: Readonly<Record<string, unknown>>;
  /** What an earlier round trip gave to {@link inputRequired} as `state`. No client can read or change it. */
  state?: unknown;
}

/** @deprecated The earlier name of {@link RequestContext}. */
export type Call = RequestContext;

/** Throw this in `run` to tell the caller what went wrong; any other error is logged and its text is withheld. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}
