/** /healthz and /readyz, for orchestrators: is the process alive, and is it ready for requests? */

import { type RequestHandler, Router } from "express";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import type { Shutdown } from "../runtime/shutdown.ts";
import { StoreRefusesError } from "../storage/redis/refusal.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { refuseOtherMethods } from "./methods.ts";
import { requestFacts } from "./request-facts.ts";

/**
 * `/readyz` asks whether the store does what the server needs, without which nothing can be decided; existing sessions outlast
 * the identity provider. It says no before the process stops, while everything is still answered.
 */
export function healthRoutes(records: KeyValueStore, shutdown: Shutdown): Router {
  const router = Router();
  router.get("/healthz", (_req, res) => void res.json({ status: "ok" }));
  router.get("/readyz", async (_req, res) => {
    if (shutdown.isStopping) return void res.status(503).json({ status: "stopping" });
    const trouble = await records.checkReady().then(
      () => undefined,
      (error: unknown) => troubleOf(error),
    );
    if (trouble === undefined) return void res.json({ status: "ok", store: "ok" });
    requestFacts(res).reason = trouble.reason;
    if (STOPS_WRITING_ALONE.has(trouble.reason)) return void res.json({ status: "ok", ...trouble });
    res.status(503).json({ status: "unavailable", ...trouble });
  });
  router.all(["/healthz", "/readyz"], refuseOtherMethods("GET"));
  return router;
}

/**
 * Calls of live sessions only read. The store is the same for every replica: to send none of them a request would end those
 * calls as well, and help nobody.
 */
const STOPS_WRITING_ALONE = new Set(["redis_full", "redis_not_writable"]);

/** The answer has the same reason and remedy as the log and the doctor. */
function troubleOf(error: unknown): { store: string; reason: ReasonCode; says?: string; fix?: string } {
  if (!(error instanceof StoreRefusesError)) return { store: "unreachable", reason: "store_unreachable" };
  const { reason, says, fix } = error.refusal;
  return { store: "refuses", reason, says: `Redis ${says}.`, fix };
}

/** A connection that is kept open would bring further requests to a process that is about to end. */
export function closingWhenStopping(shutdown: Shutdown): RequestHandler {
  return (_req, res, next) => {
    if (shutdown.isStopping) res.set("Connection", "close");
    next();
  };
}
