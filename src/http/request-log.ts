/** One log line a request: method, path, status, duration, and why it was refused. Never a query, header or body. */

import { randomUUID } from "node:crypto";
import { causes } from "../oauth/errors.ts";
import { withRequest } from "../runtime/current-request.ts";
import type { Log } from "../runtime/log.ts";
import { requestFacts } from "./request-facts.ts";
import { pathOfRequest } from "./request-target.ts";
import type { Middleware } from "./together.ts";

// A URL may have 16 KB, and a stranger could fill the log with them.
const MAX_PATH = 256;

const PROBES = new Set(["/healthz", "/readyz", "/metrics"]);

/** Requested by probes every few seconds. */
export function isProbe(path: string): boolean {
  return PROBES.has(path);
}

/** Does not wrap the response, so streaming is left as it is. */
export function requestLog(log: Log): Middleware {
  return (req, res, next) => {
    const startedAt = performance.now();
    const requestId = randomUUID();
    const { method } = req;
    const path = pathOfRequest(req);
    requestFacts(res).requestId = requestId;
    res.setHeader("X-Request-Id", requestId);
    res.once("close", () => {
      const facts = requestFacts(res);
      const line = {
        requestId,
        method,
        path: path.slice(0, MAX_PATH),
        status: res.statusCode,
        durationMs: Math.round(performance.now() - startedAt),
        subject: facts.subject,
        principalKind: facts.principalKind,
        issuer: facts.issuer,
        clientId: facts.clientId,
        grantId: facts.grantId,
        grantType: facts.grantType,
        purpose: facts.purpose,
        protectedResource: facts.protectedResource,
        mcpMethod: facts.mcpMethod,
        tool: facts.tool,
        resource: facts.resource,
        prompt: facts.prompt,
        reason: facts.reason,
        ...(facts.trace_id !== undefined && { trace_id: facts.trace_id }),
        ...(facts.cause instanceof Error && { cause: causes(facts.cause) }),
        ...(!res.writableFinished && { aborted: true }),
      };
      const level = isProbe(path) ? "debug" : res.statusCode >= 500 ? "error" : "info";
      log[level](line, "request");
    });
    withRequest({ id: requestId, startedAt }, next);
  };
}
