/** The HTTP request being handled, for what is written down about it: log lines, audit lines. */
import { AsyncLocalStorage } from "node:async_hooks";
import { trace } from "@opentelemetry/api";

export interface CurrentRequest {
  readonly id: string;
  /** `performance.now()`, milliseconds. */
  readonly startedAt: number;
}

const requests = new AsyncLocalStorage<CurrentRequest>();

export function currentRequest(): CurrentRequest | undefined {
  return requests.getStore();
}

/** For pino's `mixin`: every line that is written while a request is handled says which one, and in which trace. */
export function requestFields(): { requestId?: string; trace_id?: string } {
  const [request, span] = [currentRequest(), trace.getActiveSpan()];
  return {
    ...(request && { requestId: request.id }),
    ...(span && { trace_id: span.spanContext().traceId }),
  };
}

export function withRequest<T>(request: CurrentRequest, work: () => T): T {
  return requests.run(request, work);
}
