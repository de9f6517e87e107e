/** GET /metrics, for Prometheus. The number of sign-ins is not public information. */

import { type RequestHandler, Router } from "express";
import { bearerToken } from "../http/bearer-token.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { isEqualInConstantTime } from "../oauth/constant-time.ts";
import { OAuthError } from "../oauth/errors.ts";
import { isLoopbackHost } from "../oauth/redirect-uri.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Metrics } from "./metrics.ts";

/**
 * Open without a token only where BASE_URL is on this computer; a public server without one has no such page. Where a
 * request comes from decides nothing: behind a reverse proxy the whole world comes from a private address.
 */
export function metricsRoutes(
  { registry, exposition }: Metrics,
  baseUrl: string,
  token: string | undefined,
): Router {
  const router = Router();
  if (token === undefined && !isLoopbackHost(new URL(baseUrl).hostname)) return router;
  router.get("/metrics", requireToken(token), async (_req, res) => {
    res
      .set("Cache-Control", "no-store")
      .type(registry.contentType)
      .send(await exposition());
  });
  router.all("/metrics", refuseOtherMethods("GET"));
  return router;
}

function requireToken(token: string | undefined): RequestHandler {
  return (req, _res, next) => {
    // Hashes are of one length: nothing is revealed of that either.
    const isRight =
      token === undefined || isEqualInConstantTime(sha256(bearerToken(req) ?? ""), sha256(token));
    if (!isRight)
      throw new OAuthError("invalid_token", "Send the METRICS_TOKEN of this server as a bearer token.", {
        reason: "no_metrics_token",
      });
    next();
  };
}
