/** What an endpoint answers to a method that is not its own (RFC 9110 §15.5.6). */
import type { RequestHandler } from "express";
import { OAuthError } from "../oauth/errors.ts";

export function refuseOtherMethods(...allowed: readonly string[]): RequestHandler {
  return (req, res) => {
    res.set("Allow", allowed.join(", "));
    throw new OAuthError(
      "invalid_request",
      `${req.method} is not offered here: use ${allowed.join(" or ")}.`,
      {
        reason: "wrong_method",
        status: 405,
      },
    );
  };
}
