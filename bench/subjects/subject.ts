/** What every measured process does: it listens, says where, and answers what it is asked about itself. */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

export interface Settings {
  tools: number;
}

/** Microseconds and bytes, as the operating system and V8 count them. */
export interface Usage extends NodeJS.MemoryUsage {
  cpuMicroseconds: number;
}

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
    process.send?.(question === "usage" ? usage() : await answer?.(question as Question));
  });
  process.send?.({ port });
}

function usage(): Usage {
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  globalThis.gc?.();
  return {
    cpuMicroseconds: userCPUTime + systemCPUTime,
    ...process.memoryUsage(),
  };
}
