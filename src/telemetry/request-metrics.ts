/** Times every HTTP request, and counts those that are steps of a sign-in or ask for tokens. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { requestFacts } from "../http/request-facts.ts";
import { pathOfRequest } from "../http/request-target.ts";
import type { Middleware } from "../http/together.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import { methodLabel, routeLabel } from "./labels.ts";
import type { Metrics } from "./metrics.ts";

/** @param grantTypes the names of those that are offered: what else is asked for has no series of its own */
export function measureRequests(metrics: Metrics, grantTypes: readonly string[]): Middleware {
  // Prometheus sees no increase in a series that begins with 1.
  for (const grant_type of grantTypes)
    metrics.tokenRequests.inc({ grant_type, outcome: "ok", reason: "" }, 0);
  return (req, res, next) => {
    const startedAt = performance.now();
    const path = pathOfRequest(req);
    res.once("close", () => {
      const seconds = (performance.now() - startedAt) / 1000;
      const answer = answerOf(res);
      const [method, route] = [methodLabel(req.method), routeLabel(req, path)];
      metrics.requests.observe({ method, route, status: answer.status }, seconds);
      countStep(`${method} ${route}`, req, res, answer, metrics, grantTypes);
    });
    next();
  };
}

interface Answer {
  status: string;
  outcome: "ok" | "refused" | "unavailable" | "failed" | "aborted";
  reason: ReasonCode | "";
}

/** An error that is sent to the client through the browser is a redirect: only its reason shows that it is one. */
function answerOf(res: ServerResponse): Answer {
  const { statusCode, headersSent } = res;
  const { reason = "" } = requestFacts(res);
  if (!headersSent) return { status: "aborted", outcome: "aborted", reason };
  const status = String(statusCode);
  if (statusCode >= 500) return { status, outcome: statusCode === 503 ? "unavailable" : "failed", reason };
  return { status, outcome: statusCode >= 400 || reason !== "" ? "refused" : "ok", reason };
}

function countStep(
  request: string,
  { body }: IncomingMessage & { body?: { grant_type?: unknown } },
  res: ServerResponse,
  { outcome, reason }: Answer,
  { signInSteps, tokenRequests }: Metrics,
  grantTypes: readonly string[],
): void {
  switch (request) {
    case "GET /authorize":
      signInSteps.inc({ step: "authorize", outcome, reason });
      break;
    case "POST /consent":
      // What the user decided is counted as a decision, also where nobody had to be asked.
      if (outcome !== "ok" && reason !== "user_denied") signInSteps.inc({ step: "consent", outcome, reason });
      break;
    case "GET /auth/callback":
      // A sign-in at /connections leads to no client.
      if (requestFacts(res).purpose !== "connections") signInSteps.inc({ step: "login", outcome, reason });
      break;
    case "POST /token": {
      const asked: unknown = body?.grant_type;
      const grant_type = typeof asked === "string" && grantTypes.includes(asked) ? asked : "other";
      tokenRequests.inc({ grant_type, outcome, reason });
      if (grant_type === "authorization_code") signInSteps.inc({ step: "token", outcome, reason });
    }
  }
}
