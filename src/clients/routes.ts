/** POST /register (RFC 7591 §3). */
import { json, type RequestHandler, Router } from "express";
import { jsonErrors } from "../http/error-handler.ts";
import { refuseOtherMethods } from "../http/methods.ts";
import { OAuthError } from "../oauth/errors.ts";
import type { Surroundings } from "../surroundings.ts";
import type { Clients } from "./find-client.ts";
import { registerClient } from "./register.ts";

export function registrationRoutes(rooms: Surroundings & { clients: Clients }): Router {
  const router = Router();
  router.post(
    "/register",
    json({ limit: "64kb", type: "application/json" }),
    requireJson,
    async (req, res) => {
      const information = await registerClient(req.body, rooms);
      res.locals.clientId = information.client_id;
      res.status(201).set({ "Cache-Control": "no-store", Pragma: "no-cache" }).json(information);
    },
  );
  router.all("/register", refuseOtherMethods("POST"));
  router.use("/register", jsonErrors(rooms.log));
  return router;
}

const requireJson: RequestHandler = (req, _res, next) => {
  if (req.body === undefined)
    throw new OAuthError("invalid_client_metadata", "Send the client metadata as application/json.", {
      reason: "wrong_content_type",
    });
  next();
};
