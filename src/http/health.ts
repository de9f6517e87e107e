/** For orchestrators: is the process alive, and should it be sent requests? */
import { Router } from "express";
import type { Records } from "../storage/store.ts";
import { refuseOtherMethods } from "./methods.ts";

/** `/readyz` asks the store, without which nothing can be decided; existing sessions outlast the identity provider. */
export function healthRoutes(records: Records): Router {
  const router = Router();
  router.get("/healthz", (_req, res) => void res.json({ status: "ok" }));
  router.get("/readyz", async (_req, res) => {
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
