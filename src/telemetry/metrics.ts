/**
 * Every metric of this server, with all its labels. A label's values are names that are written in the code or declared
 * by the operator, never what a client or a user sent: whoever asks cannot make the number of series grow.
 */

import { Counter, collectDefaultMetrics, Histogram, Registry } from "prom-client";
import type { ReasonCode } from "../oauth/reason-codes.ts";

// From a look-up in memory to a provider or a tool that takes its time.
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export type Metrics = ReturnType<typeof createMetrics>;

/** A registry of its own: two servers in one process count apart. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Counter({ name, help, labelNames, registers });
  const histogram = <Label extends string>(name: string, help: string, labelNames: readonly Label[]) =>
    new Histogram({ name, help, labelNames, registers, buckets: SECONDS });

  const metrics = {
    registry,
    /** In Prometheus's text format: of this process, if nobody puts another in its place. */
    exposition: () => registry.metrics(),
    requests: histogram("mcp_http_request_seconds", "HTTP requests until their last byte", [
      "method",
      "route",
      "status",
    ]),
    signInSteps: counter("mcp_sign_in_steps_total", "Steps of sign-ins, in order, and how they ended", [
      "step",
      "outcome",
      "reason",
    ]),
    tokenRequests: counter("mcp_token_requests_total", "Requests for tokens, and how they ended", [
      "grant_type",
      "outcome",
      "reason",
    ]),
    calls: counter("mcp_tool_calls_total", "Calls of tools, resources and prompts, and how they ended", [
      "kind",
      "tool",
      "outcome",
      "reason",
      "principal",
      "protected_resource",
    ]),
    callSeconds: histogram("mcp_tool_call_seconds", "What tools, resources and prompts took to run", [
      "kind",
      "tool",
      "protected_resource",
    ]),
    grantsEnded: counter("mcp_grants_ended_total", "Sessions that were ended before their time", [
      "reason",
      "protected_resource",
    ]),
    decisions: counter(
      "mcp_decisions_total",
      "Lines of the audit log, and refusals of tokens that are nobody's",
      ["event", "decision", "reason", "principal", "protected_resource"],
    ),
    store: histogram("mcp_store_seconds", "Operations of the store", ["operation", "outcome"]),
    upstream: histogram("mcp_upstream_seconds", "Operations at the identity provider", [
      "operation",
      "outcome",
      "provider",
    ]),
    backends: histogram("mcp_backend_seconds", "Requests to backends, until their answers have come", [
      "backend",
      "method",
      "outcome",
    ]),
    refusedConnections: counter(
      "mcp_refused_connections_total",
      "Connections that were closed unanswered, because there were too many",
      ["reason"],
    ),
    grantCache: counter("mcp_grant_cache_total", "Look-ups of sessions that are kept in memory", ["outcome"]),
  };
  startAtZero(metrics);
  return metrics;
}

/** Memory, processor time, event loop and garbage collection of this process. */
export function collectProcessMetrics({ registry }: Metrics): void {
  collectDefaultMetrics({ register: registry });
}

/** Prometheus sees no increase in a series that begins with 1, so the first theft would raise no alarm. */
function startAtZero({ signInSteps, refusedConnections, grantCache }: Metrics): void {
  for (const step of ["authorize", "consent", "login", "code", "token"])
    signInSteps.inc({ step, outcome: "ok", reason: "" }, 0);
  for (const reason of ["too_many_connections", "accept_failed"] satisfies ReasonCode[])
    refusedConnections.inc({ reason }, 0);
  for (const outcome of ["hit", "miss", "stale"]) grantCache.inc({ outcome }, 0);
}
