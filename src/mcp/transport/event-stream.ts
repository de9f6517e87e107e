/** Writing an event stream into a response: no faster than its client reads. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { cutStalled } from "../../http/stalled-response.ts";

/** An event of a stream that carries a message (MCP, Streamable HTTP). */
export function event(data: string): string {
  return `event: message\ndata: ${data}\n\n`;
}

/** A client that does not read holds what waits for it in memory. */
export const STALL_MS = 60_000;

const draining = new WeakMap<ServerResponse, Promise<void>>();

/** Resolves when what was written has been taken, or nobody takes it any more. */
export function drained(res: ServerResponse, stallMs = STALL_MS): Promise<void> {
  const found = draining.get(res) ?? untilDrained(res, stallMs).finally(() => draining.delete(res));
  draining.set(res, found);
  return found;
}

async function untilDrained(res: ServerResponse, stallMs: number): Promise<void> {
  const stalled = setTimeout(() => cutStalled(res), stallMs);
  const over = new AbortController();
  const abort = () => over.abort();
  res.once("close", abort);
  try {
    await once(res, "drain", { signal: over.signal });
  } catch {
    // The client went away.
  } finally {
    clearTimeout(stalled);
    res.off("close", abort);
  }
}
