/** Limits on what strangers can make us fetch and store of clients' documents, by the address of the request. */
import type { Request, RequestHandler, Response } from "express";
import { limitPerAddress } from "../../http/rate-limit.ts";
import type { RateLimits } from "../../storage/rate-limits.ts";
import type { DocumentRequester } from "./document-cache.ts";

// A web site that never answers holds a place for five seconds: so one address holds three or four of them.
const FETCHES_PER_MINUTE = 40;
// Only people who signed in get this far; each is 6 KB for as long as a client is remembered.
const STORED_PER_DAY = 50;

/** For a request: how its costs are counted. */
export function documentCosts(
  rateLimits: RateLimits,
): (req: Request, res: Response) => Pick<DocumentRequester, "countFetch" | "countStored"> {
  const fetches = limitPerAddress(rateLimits, {
    name: "document_fetches_of_address",
    points: FETCHES_PER_MINUTE,
    seconds: 60,
  });
  const stored = limitPerAddress(rateLimits, {
    name: "stored_documents_of_address",
    points: STORED_PER_DAY,
    seconds: 86_400,
  });
  const counted = async (limit: RequestHandler, req: Request, res: Response) =>
    void (await limit(req, res, () => {}));
  return (req, res) => ({
    countFetch: () => counted(fetches, req, res),
    countStored: () => counted(stored, req, res),
  });
}
