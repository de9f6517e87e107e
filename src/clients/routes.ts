/** POST /register (RFC 7591 §3) and GET, PUT, DELETE /register/:client_id (RFC 7592 §2). */

import { type Request, type RequestHandler, Router } from "express";
import { bearerToken } from "../http/bearer-token.ts";
import { type Bodies, jsonBody } from "../http/body.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { limitPerAddress } from "../http/rate-limit.ts";
import { requestFacts } from "../http/request-facts.ts";
import { OAuthError } from "../oauth/errors.ts";
import { sha256 } from "../oauth/sha256.ts";
import { jsonErrors } from "../pages/error-handler.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { RateLimits } from "../storage/rate-limits.ts";
import { matchesHash, type Registrations } from "./register.ts";
import type { RegistrationPolicy } from "./registration-policy.ts";

const HOUR = 3_600;
const REQUESTS_PER_REGISTRATION = 10;

interface Dependencies {
  registrations: Registrations;
  registration: RegistrationPolicy;
  rateLimits: RateLimits;
  bodies: Bodies;
}

export function registrationRoutes({
  registrations,
  registration,
  rateLimits,
  bodies,
  log,
}: Runtime & Dependencies): Router {
  const router = Router();
  // Counts every request, whatever its result; what is stored has a budget of its own.
  const limitRequests = limitPerAddress(rateLimits, {
    name: "registration_requests_of_address",
    points: registration.perAddressPerHour * REQUESTS_PER_REGISTRATION,
    seconds: HOUR,
  });
  const body = [jsonBody(bodies.ofStrangers), requireJson];
  const noStore: RequestHandler = (_req, res, next) => {
    res.set({ "Cache-Control": "no-store", Pragma: "no-cache" });
    next();
  };
  router.use("/register", noStore);

  router.post("/register", limitRequests, requirePermission(registration), ...body, async (req, res) => {
    const information = await registrations.register(req.body, req.ip ?? "");
    requestFacts(res).clientId = information.client_id;
    res.status(201).json(information);
  });
  router.all("/register", refuseOtherMethods("POST"));

  router.use("/register/:clientId", limitRequests);
  router.get("/register/:clientId", async (req, res) => {
    res.json(await registrations.read(req.params.clientId, bearerToken(req) ?? ""));
  });
  router.put("/register/:clientId", ...body, async (req: Request<{ clientId: string }>, res) => {
    const { clientId } = req.params;
    res.json(await registrations.update(clientId, bearerToken(req) ?? "", req.body, req.ip ?? ""));
  });
  router.delete("/register/:clientId", async (req, res) => {
    await registrations.remove(req.params.clientId, bearerToken(req) ?? "");
    res.status(204).end();
  });
  router.all("/register/:clientId", refuseOtherMethods("GET", "PUT", "DELETE"));
  router.use("/register", jsonErrors(log));
  return router;
}

/** Open to all, to holders of an initial access token (RFC 7591 §3), or to nobody. */
function requirePermission({ mode, tokens }: RegistrationPolicy): RequestHandler {
  const hashes = tokens.map(sha256);
  return (req, _res, next) => {
    if (mode === "off")
      throw new OAuthError(
        "access_denied",
        "Registration is switched off here: ask the operator for a client id.",
        {
          reason: "registration_off",
        },
      );
    if (mode === "token" && !hashes.some((hash) => matchesHash(bearerToken(req) ?? "", hash)))
      throw new OAuthError(
        "invalid_token",
        "Registration needs an initial access token: ask the operator for one.",
        {
          reason: "no_initial_access_token",
        },
      );
    next();
  };
}

const requireJson: RequestHandler = (req, _res, next) => {
  if (req.body === undefined)
    throw new OAuthError("invalid_client_metadata", "Send the client metadata as application/json.", {
      reason: "wrong_content_type",
    });
  next();
};
