/** A backend that a command asks, in nobody's name, and leaves again. */
import { pino } from "pino";
import type { Backend } from "../mcp/backends/backend.ts";
import type { BackendSettings } from "../mcp/backends/backend-settings.ts";
import { monotonicClock, systemClock } from "../runtime/runtime.ts";
import { backendOf } from "../server/resources.ts";

const PATIENCE_MS = 60_000;

export async function askingBackend<Answer>(
  reach: BackendSettings["reach"],
  ask: (backend: Backend, signal: AbortSignal) => Promise<Answer>,
): Promise<Answer> {
  const backend = backendOf({ path: "backend", name: "backend" }, reach, {
    signIdentity: () => Promise.reject(new Error("Nobody calls.")),
    log: pino({ level: "silent" }),
    now: systemClock,
    monotonicNow: monotonicClock,
    observe: (_, work) => work(),
  });
  try {
    return await ask(backend, AbortSignal.timeout(PATIENCE_MS));
  } finally {
    await backend.close();
  }
}
