/** What an endpoint answers to a method that is not its own (RFC 9110 §15.5.6). */
import type { RequestHandler } from "express";
import { OAuthError } from "../oauth/errors.ts";

export function refuseOtherMethods(...allowed: readonly string[]): RequestHandler {
  return refuseAllBut(allowed);
}

/** @param meant a sentence: where else the request may have been meant to go */
export function refuseAllBut(allowed: readonly string[], meant?: string): RequestHandler {
  return (req, res) => {
    res.set("Allow", allowed.join(", "));
    const told = `${req.method} is not offered here: use ${allowed.join(" or ")}.`;
    throw new OAuthError("invalid_request", meant === undefined ? told : `${told} ${meant}`, {
      reason: "wrong_method",
      status: 405,
    });
  };
}
