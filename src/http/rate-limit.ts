/** Rate limits by address: HTTP 429 with `Retry-After`. Counted over all replicas. */
import type { Request, RequestHandler } from "express";
import { TooManyRequestsError } from "../oauth/errors.ts";
import type { BudgetName, LimitName } from "../oauth/reason-codes.ts";
import type { Budget, Budgets } from "../storage/budgets.ts";
import type { RateLimit, RateLimits } from "../storage/rate-limits.ts";
import { networksOf } from "./networks.ts";

/** A limit whose reason code is known. */
export interface Limit extends RateLimit {
  name: LimitName;
}

export interface SharedBudget extends Budget {
  name: BudgetName;
}

/** At most so many requests from one address. `applies` leaves out what costs nothing. */
export function limitPerAddress(
  rateLimits: RateLimits,
  limit: Limit,
  applies: (req: Request) => boolean = () => true,
): RequestHandler {
  return async (req, _res, next) => {
    if (applies(req)) await countAddress(rateLimits, limit, req.ip);
    next();
  };
}

/**
 * Counts one for an address and the networks it belongs to, which are given more. What one of them is refused does not
 * count for the larger one.
 * @throws TooManyRequestsError
 */
export async function countAddress(
  rateLimits: RateLimits,
  limit: Limit,
  address: string | undefined,
): Promise<void> {
  for (const { key, times } of networksOf(address ?? ""))
    await count(rateLimits, { ...limit, points: limit.points * times }, key);
}

/** @throws TooManyRequestsError */
export async function count(rateLimits: RateLimits, limit: Limit, key: string): Promise<void> {
  const seconds = await rateLimits.count(limit, key);
  if (seconds > 0) throw new TooManyRequestsError(seconds, `too_many_${limit.name}`);
}

/**
 * Spends of what everybody shares, in the name of an address and the networks it belongs to.
 * @param perAddress how many points one address may have
 * @throws TooManyRequestsError, and then nothing was spent
 */
export async function spend(
  budgets: Budgets,
  budget: SharedBudget,
  { address, perAddress, cost }: { address: string; perAddress: number; cost: number },
): Promise<void> {
  const spenders = networksOf(address).map(({ key, times }) => ({ key, points: perAddress * times }));
  const refused = await budgets.spend(budget, spenders, cost);
  if (refused === undefined) return;
  const of = refused.usedUp === "share" ? (`${budget.name}_of_address` as const) : budget.name;
  throw new TooManyRequestsError(refused.seconds, `too_many_${of}`);
}
