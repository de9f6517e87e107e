/**
 * GET /doctor/view: shows `npm run doctor` how its request arrived here, behind whatever proxies there are. Only a holder
 * of SECRET_KEY can ask, and sees their own request only; everybody else gets 404.
 */
import { type Request, type RequestHandler, Router } from "express";
import { z } from "zod";
import type { Sealer } from "../storage/sealer.ts";

export const DOCTOR_VIEW_PATH = "/doctor/view";
/** Carries the sealed request. */
export const DOCTOR_HEADER = "doctor-question";

const CONTEXT = "doctor question";
// Somebody who saw such a request could otherwise repeat it later.
const SECONDS = 120;

/** How a request looked when it arrived. */
export const DoctorView = z.object({
  /** The client's address, as the server takes it. */
  address: z.string(),
  /** Who connected: the client, or the proxy before this server. */
  peer: z.string(),
  forwardedFor: z.string().optional(),
});
export type DoctorView = z.infer<typeof DoctorView>;

export function askForView(sealer: Sealer, now: number): string {
  return sealer.seal(String(now), CONTEXT);
}

interface Dependencies {
  sealer: Sealer;
  now(): number;
}

export function doctorView({ sealer, now }: Dependencies): Router {
  const view: RequestHandler = (req, res, next) => {
    const askedAt = Number(sealer.open(req.get(DOCTOR_HEADER) ?? "", CONTEXT));
    // The doctor's clock may be the one that is wrong.
    if (!(Math.abs(now() - askedAt) <= SECONDS)) return next();
    res.set("Cache-Control", "no-store").json(viewOf(req));
  };
  return Router().get(DOCTOR_VIEW_PATH, view);
}

function viewOf(req: Request): DoctorView {
  const forwardedFor = req.get("x-forwarded-for");
  return {
    address: req.ip ?? "",
    peer: req.socket.remoteAddress ?? "",
    ...(forwardedFor !== undefined && { forwardedFor }),
  };
}
