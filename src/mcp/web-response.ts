/** Sends what the SDK answers (a web `Response`) through express, no sooner than its first bytes are known. */

import { once } from "node:events";
import type { Response as ExpressResponse } from "express";

/**
 * The SDK decides for "200, a stream follows" before a tool has run. Nothing goes out until there is something to send,
 * so that a call which turns out to lack a scope can still be answered as HTTP 403.
 * @param answeredOtherwise asked once, before anything is sent: true if it has answered instead
 */
export async function sendWebResponse(
  response: Response,
  res: ExpressResponse,
  gone: AbortSignal,
  answeredOtherwise: () => boolean,
): Promise<void> {
  const reader = response.body?.getReader();
  try {
    let chunk = await reader?.read();
    if (gone.aborted) return;
    if (answeredOtherwise()) return;
    res.writeHead(response.status, Object.fromEntries(response.headers));
    for (; chunk !== undefined && !chunk.done; chunk = await reader?.read()) {
      if (gone.aborted) return;
      if (!res.write(chunk.value)) await drained(res);
    }
    res.end();
  } catch (error) {
    // The client went away while it was being sent to, or takes nothing any more.
    if (!gone.aborted && !res.destroyed) throw error;
  } finally {
    await reader?.cancel().catch(() => {});
  }
}

// A client that does not read holds what waits for it in memory.
const STALL_MS = 60_000;

/** Resolves when what was written has been taken, or nobody takes it any more. */
export async function drained(res: ExpressResponse): Promise<void> {
  const stalled = setTimeout(() => res.destroy(), STALL_MS);
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
