/** What every measured process does: it listens on a free port, says which, and says how much processor time it used. */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

export interface Settings {
  tools: number;
}

/** Comes as JSON in the one argument. */
export function settings<Extra = unknown>(): Settings & Extra {
  return JSON.parse(process.argv[2] ?? "{}");
}

export function listen(listener: RequestListener): void {
  const server = createServer(listener).listen(0, "127.0.0.1", () => {
    report({ port: (server.address() as AddressInfo).port });
  });
}

/** `what` is told to the parent once; afterwards it may ask for processor time and memory. */
export function report(what: object): void {
  process.send?.(what);
  // Never outlives the benchmark.
  process.once("disconnect", () => process.exit());
  process.on("message", (question) => {
    if (question !== "usage") return;
    globalThis.gc?.();
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    process.send?.({ cpuMicroseconds: userCPUTime + systemCPUTime, ...process.memoryUsage() });
  });
}
