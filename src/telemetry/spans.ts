/**
 * Spans of requests and of what they wait for. Without a tracer provider (`tracing.ts`) OpenTelemetry's API does nothing.
 * A span has names that are written in the code or declared by the operator: no path, query, argument, token or message.
 */

import type { ServerResponse } from "node:http";
import {
  type Attributes,
  context,
  isSpanContextValid,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import type { ClientAddresses } from "../http/client-address.ts";
import { requestFacts } from "../http/request-facts.ts";
import { isProbe } from "../http/request-log.ts";
import { pathOfRequest } from "../http/request-target.ts";
import type { Middleware } from "../http/together.ts";
import { methodLabel, routeLabel } from "./labels.ts";
import { errorType, type Observe, type Operation } from "./operation.ts";

const tracer = (): Tracer => trace.getTracer("mcp-oidc-proxy");

/** Continues the caller's trace (W3C Trace Context), or begins one. */
export function traceRequests({ schemeOf }: Pick<ClientAddresses, "schemeOf">): Middleware {
  return (req, res, next) => {
    const path = pathOfRequest(req);
    if (isProbe(path)) return next();
    const method = methodLabel(req.method);
    const parent = propagation.extract(context.active(), req.headers);
    const attributes = { "http.request.method": method, "url.scheme": schemeOf(req) };
    const span = tracer().startSpan(method, { kind: SpanKind.SERVER, attributes }, parent);
    const spanContext = span.spanContext();
    if (!isSpanContextValid(spanContext)) return next(); // nobody traces
    requestFacts(res).trace_id = spanContext.traceId;
    res.once("close", () => endOfRequest(span, method, routeLabel(req, path), res));
    context.with(trace.setSpan(parent, span), next);
  };
}

function endOfRequest(span: Span, method: string, route: string, res: ServerResponse): void {
  const { reason, requestId } = requestFacts(res);
  span.updateName(`${method} ${route}`);
  span.setAttributes({
    "http.route": route,
    "http.response.status_code": res.statusCode,
    "http.response.header.x-request-id": [requestId],
  });
  if (reason !== undefined) span.setAttribute("error.type", reason);
  if (res.statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
}

/** A child of the request's span. Outside of a request nothing is recorded. */
export const traceOperations: Observe = (operation, work) => {
  if (trace.getActiveSpan() === undefined) return work();
  return tracer().startActiveSpan(nameOf(operation), optionsOf(operation), async (span) => {
    try {
      return await work();
    } catch (error) {
      span.setAttribute("error.type", errorType(error)).setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
};

const METHODS = { tool: "tools/call", resource: "resources/read", prompt: "prompts/get" } as const;

function nameOf({ of, name }: Operation): string {
  return of === "store" || of === "upstream" || of === "backend" ? `${of} ${name}` : `${METHODS[of]} ${name}`;
}

/** The trace that is under way, for whoever goes on with it (W3C Trace Context). Empty if nobody traces. */
export function traceHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  propagation.inject(context.active(), headers);
  return headers;
}

/** OpenTelemetry's names: those of databases, and those of MCP. */
function optionsOf({ of, name, identityProvider = "", method = "" }: Operation): {
  kind: SpanKind;
  attributes: Attributes;
} {
  switch (of) {
    case "store":
      return { kind: SpanKind.CLIENT, attributes: { "db.operation.name": name } };
    case "upstream":
      return { kind: SpanKind.CLIENT, attributes: { "mcp_oidc_proxy.identity_provider": identityProvider } };
    case "backend":
      return {
        kind: SpanKind.CLIENT,
        attributes: { "http.request.method": method, "mcp_oidc_proxy.backend": name },
      };
    case "tool":
      return {
        kind: SpanKind.INTERNAL,
        attributes: { "mcp.method.name": METHODS[of], "gen_ai.tool.name": name },
      };
    case "prompt":
      return {
        kind: SpanKind.INTERNAL,
        attributes: { "mcp.method.name": METHODS[of], "gen_ai.prompt.name": name },
      };
    case "resource":
      return { kind: SpanKind.INTERNAL, attributes: { "mcp.method.name": METHODS[of] } };
  }
}
