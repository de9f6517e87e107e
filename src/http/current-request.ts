/** The HTTP request being handled, for what is written down about it: log lines, audit lines. */
import { AsyncLocalStorage } from "node:async_hooks";

export interface CurrentRequest {
  readonly id: string;
  /** `performance.now()`, milliseconds. */
  readonly startedAt: number;
}

const requests = new AsyncLocalStorage<CurrentRequest>();

export function currentRequest(): CurrentRequest | undefined {
  return requests.getStore();
}

export function withRequest<T>(request: CurrentRequest, work: () => T): T {
  return requests.run(request, work);
}
