/** POST /register (RFC 7591 §3) and GET, PUT, DELETE /register/:client_id (RFC 7592 §2). */

import { type Request, type RequestHandler, Router } from "express";
import type { Registration } from "../config-clients.ts";
import { type Bodies, jsonBody } from "../http/body.ts";
import { jsonErrors } from "../http/error-handler.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { limitOverall, limitPerAddress } from "../http/rate-limit.ts";
import { OAuthError } from "../oauth/errors.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { RateLimits } from "../storage/rate-limits.ts";
import type { Surroundings } from "../surroundings.ts";
import { matchesHash, type Registrations } from "./register.ts";

const HOUR = 3_600;

interface Rooms {
  registrations: Registrations;
  registration: Registration;
  rateLimits: RateLimits;
  bodies: Bodies;
}

export function registrationRoutes({
  registrations,
  registration,
  rateLimits,
  bodies,
  log,
}: Surroundings & Rooms): Router {
  const { perAddressPerHour, perHour } = registration;
  const router = Router();
  const body = [jsonBody(bodies.ofStrangers), requireJson];
  const noStore: RequestHandler = (_req, res, next) => {
    res.set({ "Cache-Control": "no-store", Pragma: "no-cache" });
    next();
  };
  router.use("/register", noStore);

  router.post(
    "/register",
    requirePermission(registration),
    // Hosted clients register everybody from a few shared addresses, so that limit is generous. It comes first: one
    // flooder must not use up what is meant for all.
    limitPerAddress(rateLimits, {
      name: "registrations_of_address",
      points: perAddressPerHour,
      seconds: HOUR,
    }),
    limitOverall(rateLimits, { name: "registrations", points: perHour, seconds: HOUR }),
    ...body,
    async (req, res) => {
      const information = await registrations.register(req.body);
      res.locals.clientId = information.client_id;
      res.status(201).json(information);
    },
  );
  router.all("/register", refuseOtherMethods("POST"));

  router.get("/register/:clientId", async (req, res) => {
    res.json(await registrations.read(req.params.clientId, bearerToken(req)));
  });
  router.put("/register/:clientId", ...body, async (req: Request<{ clientId: string }>, res) => {
    res.json(await registrations.update(req.params.clientId, bearerToken(req), req.body));
  });
  router.delete("/register/:clientId", async (req, res) => {
    await registrations.remove(req.params.clientId, bearerToken(req));
    res.status(204).end();
  });
  router.all("/register/:clientId", refuseOtherMethods("GET", "PUT", "DELETE"));
  router.use("/register", jsonErrors(log));
  return router;
}

/** Open to all, to holders of an initial access token (RFC 7591 §3), or to nobody. */
function requirePermission({ mode, tokens }: Registration): RequestHandler {
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
    if (mode === "token" && !hashes.some((hash) => matchesHash(bearerToken(req), hash)))
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

function bearerToken(req: Request<object>): string {
  return /^Bearer +(\S+)$/i.exec(req.get("authorization") ?? "")?.[1] ?? "";
}

const requireJson: RequestHandler = (req, _res, next) => {
  if (req.body === undefined)
    throw new OAuthError("invalid_client_metadata", "Send the client metadata as application/json.", {
      reason: "wrong_content_type",
    });
  next();
};
