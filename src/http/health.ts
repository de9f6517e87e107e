/** For orchestrators: is the process alive, and should it be sent requests? */
import { type RequestHandler, Router } from "express";
import type { Lifecycle } from "../lifecycle.ts";
import type { Records } from "../storage/store.ts";
import { refuseOtherMethods } from "./methods.ts";

/**
 * `/readyz` asks the store, without which nothing can be decided; existing sessions outlast the identity provider. It
 * says no before the process stops, while everything is still answered.
 */
export function healthRoutes(records: Records, lifecycle: Lifecycle): Router {
  const router = Router();
  router.get("/healthz", (_req, res) => void res.json({ status: "ok" }));
  router.get("/readyz", async (_req, res) => {
    if (lifecycle.isStopping) return void res.status(503).json({ status: "stopping" });
    const store = await records.ping().then(
      () => "ok",
      () => "unreachable",
    );
    if (store !== "ok") res.locals.reason = "store_unreachable";
    res.status(store === "ok" ? 200 : 503).json({ status: store === "ok" ? "ok" : "unavailable", store });
  });
  router.all(["/healthz", "/readyz"], refuseOtherMethods("GET"));
  return router;
}

/** A connection that is kept open would bring further requests to a process that is about to end. */
export function closingWhenStopping(lifecycle: Lifecycle): RequestHandler {
  return (_req, res, next) => {
    if (lifecycle.isStopping) res.set("Connection", "close");
    next();
  };
}
