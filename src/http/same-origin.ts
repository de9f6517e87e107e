/** Only our own pages may post forms here. */
import type { Request, RequestHandler } from "express";
import { OAuthError } from "../oauth/errors.ts";

/** Refuses what another site sends before the form itself is checked (Fetch Metadata, RFC 6454). */
export function ownFormsOnly(baseUrl: string): RequestHandler {
  const { origin } = new URL(baseUrl);
  return (req, _res, next) => {
    if (isOwnForm(req, origin)) return next();
    throw new OAuthError(
      "access_denied",
      `This was not sent from a page at ${origin}. Open that page in this browser, and press the button there.`,
      { reason: "cross_site_form" },
    );
  };
}

/** Browsers say at least one of the two with every POST; a sandboxed page says "null". */
function isOwnForm(req: Request, origin: string): boolean {
  const [from, site] = [req.get("origin"), req.get("sec-fetch-site")];
  if (from === undefined && site === undefined) return false;
  return (from === undefined || from === origin) && (site === undefined || site === "same-origin");
}
