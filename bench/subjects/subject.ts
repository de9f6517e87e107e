/** What every measured process does: it listens, says where, and answers what it is asked about itself. */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

export interface Settings {
  tools: number;
}

/** Questions that every subject answers. */
export const [CPU, MEMORY] = ["cpu", "memory"] as const;

/** Comes as JSON in the one argument. */
export function settings<Extra = unknown>(): Settings & Extra {
  return JSON.parse(process.argv[2] ?? "{}");
}

/** @param answer what else it may be asked */
export function listen<Question>(
  listener: RequestListener,
  port = 0,
  answer?: (question: Question) => Promise<unknown>,
): void {
  const server = createServer(listener).listen(port, "127.0.0.1", () =>
    report((server.address() as AddressInfo).port, answer),
  );
}

export function report<Question>(port: number, answer?: (question: Question) => Promise<unknown>): void {
  process.once("disconnect", () => process.exit()); // never outlives the benchmark
  process.on("message", async (question) => {
    if (question === CPU) process.send?.(cpuMicroseconds());
    else if (question === MEMORY) process.send?.(aliveBytes());
    else process.send?.(await answer?.(question as Question));
  });
  process.send?.({ port });
}

/** User and system, as the operating system counts it. */
function cpuMicroseconds(): number {
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  return userCPUTime + systemCPUTime;
}

/** The heap after a garbage collection, and what is outside of it. The collection would be no part of what requests cost. */
function aliveBytes(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
