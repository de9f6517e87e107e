/** Who asks too often is told to come back later. Counted over all replicas. */
import type { Request, RequestHandler } from "express";
import ipaddr from "ipaddr.js";
import { TooManyRequestsError } from "../oauth/errors.ts";
import type { RateLimit, RateLimits } from "../storage/rate-limits.ts";

/** At most so many requests from one address. `applies` leaves out what costs nothing. */
export function limitPerAddress(
  rateLimits: RateLimits,
  limit: RateLimit,
  applies: (req: Request) => boolean = () => true,
): RequestHandler {
  return async (req, _res, next) => {
    if (applies(req)) await count(rateLimits, limit, networkOf(req.ip ?? ""));
    next();
  };
}

/** At most so many requests altogether. */
export function limitOverall(rateLimits: RateLimits, limit: RateLimit): RequestHandler {
  return async (_req, _res, next) => {
    await count(rateLimits, limit, "all");
    next();
  };
}

/** @throws TooManyRequestsError */
export async function count(rateLimits: RateLimits, limit: RateLimit, key: string): Promise<void> {
  const seconds = await rateLimits.count(limit, key);
  if (seconds > 0) throw new TooManyRequestsError(seconds, `too_many_${limit.name}`);
}

/** One household or machine has a whole /64 of IPv6 addresses. */
function networkOf(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  return parsed.kind() === "ipv6" ? parsed.toByteArray().slice(0, 8).join(".") : parsed.toString();
}
