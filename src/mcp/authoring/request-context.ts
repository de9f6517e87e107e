/** What every tool, resource and prompt is handed, and how it tells its caller that something went wrong. */
import type { ClientCapabilities, LoggingLevel } from "@modelcontextprotocol/server";

/** What a tool, resource or prompt is given beside its input. Who is calling comes from `getAccessToken()`. */
export interface RequestContext {
  /** Aborted when the client goes away or cancels. */
  signal: AbortSignal;
  /** Tells a client that wants to know how far the call is: `done` of `total`, growing. */
  progress(done: number, total?: number, message?: string): Promise<void>;
  /** Tells the client what happens, if it wants to know at this level: `data` is text, or anything that JSON can say. */
  log(level: LoggingLevel, data: unknown): Promise<void>;
  /** What can be asked of the client by returning {@link inputRequired}, by what it says of itself. */
  clientCapabilities: ClientCapabilities;
  /**
   * The answers to what an earlier round of this call asked for, by their keys: absent in the first round. They come from
   * the client, so read them with {@link acceptedContent} and a schema.
   */
  inputResponses?: Readonly<Record<string, unknown>>;
  /** What an earlier round gave to {@link inputRequired} as `state`. No client can read or change it. */
  state?: unknown;
}

/** @deprecated The earlier name of {@link RequestContext}. */
export type Call = RequestContext;

/** Throw this in `run` to tell the caller what went wrong; any other error is logged and its text is withheld. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}
