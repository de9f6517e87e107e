/** /healthz and /readyz, for orchestrators: is the process alive, and is it ready for requests? */

import { Router } from "express";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import type { Shutdown } from "../runtime/shutdown.ts";
import { StoreRefusesError } from "../storage/redis/refusal.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { refuseOtherMethods } from "./methods.ts";
import { requestFacts } from "./request-facts.ts";
import type { Middleware } from "./together.ts";

/** What calls go on to, and the operator wants to be asked as well. */
export interface AskedBackend {
  readonly name: string;
  answers(): Promise<boolean>;
}

/**
 * `/readyz` asks whether the store does what the server needs, without which nothing can be decided; existing sessions outlast
 * the identity provider. Of backends it asks those that are given. It says no before the process stops, while everything is still
 * answered.
 */
export function healthRoutes(
  records: KeyValueStore,
  shutdown: Shutdown,
  asked: readonly AskedBackend[],
): Router {
  const router = Router();
  router.get("/healthz", (_req, res) => void res.json({ status: "ok" }));
  router.get("/readyz", async (_req, res) => {
    if (shutdown.isStopping) return void res.status(503).json({ status: "stopping" });
    const [store, backends] = await Promise.all([
      records.checkReady().then(
        () => ({ store: "ok" }),
        (error: unknown) => troubleOf(error),
      ),
      backendsOf(asked),
    ]);
    const reason = "reason" in store ? store.reason : backends.reason;
    if (reason !== undefined) requestFacts(res).reason = reason;
    const isReady =
      reason === undefined || (STOPS_WRITING_ALONE.has(reason) && backends.reason === undefined);
    const status = isReady ? "ok" : "unavailable";
    res.status(isReady ? 200 : 503).json({ status, ...backends, ...store });
  });
  router.all(["/healthz", "/readyz"], refuseOtherMethods("GET"));
  return router;
}

async function backendsOf(
  asked: readonly AskedBackend[],
): Promise<{ backends?: Record<string, "ok" | "unreachable">; reason?: ReasonCode }> {
  if (asked.length === 0) return {};
  const found = await Promise.all(
    asked.map(async (each) => [each.name, (await each.answers()) ? "ok" : "unreachable"] as const),
  );
  const isLost = found.some(([, state]) => state === "unreachable");
  return { backends: Object.fromEntries(found), ...(isLost && { reason: "backend_not_ready" }) };
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
export function closingWhenStopping(shutdown: Pick<Shutdown, "isStopping">): Middleware {
  return (_req, res, next) => {
    if (shutdown.isStopping) res.setHeader("Connection", "close");
    next();
  };
}
