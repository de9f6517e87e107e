/** What every tool, resource and prompt is handed, and how it tells its caller that something went wrong. */

/** What a tool, resource or prompt is given beside its input. Who is calling comes from `getAccessToken()`. */
export interface Call {
  /** Aborted when the client goes away or cancels. */
  signal: AbortSignal;
  /** Tells a client that wants to know how far the call is: `done` of `total`, growing. */
  progress(done: number, total?: number, message?: string): Promise<void>;
}

/** Throw this in `run` to tell the caller what went wrong; any other error is logged and its text is withheld. */
export class ToolError extends Error {
  override readonly name = "ToolError";
}
