/**
 * Limits how many sign-ins one address may begin, and how many may be under way altogether. Every login is counted, with consent
 * or without, because it is a record that strangers cause.
 */
import { countAddress, type Limit, type SharedBudget, spend } from "../http/rate-limit.ts";
import { costOf } from "../storage/budgets.ts";
import type { KeyValueStore } from "../storage/store.ts";
import type { AwaitingLogin } from "./transaction.ts";

export interface SignInLimits {
  /** How many sign-ins one address may start in an hour. */
  signInsPerAddressPerHour: number;
  lifetimes: { transactionSeconds: number };
}

/** A fifth of what may be under way altogether is what an address may begin in an hour: see budgets.ts. */
const ADDRESSES = 5;

/** By the address that asks. @throws TooManyRequestsError */
export type LoginAdmission = (login: AwaitingLogin, from: string) => Promise<void>;

export function signInLimit({
  signInsPerAddressPerHour,
}: Pick<SignInLimits, "signInsPerAddressPerHour">): Limit {
  return { name: "sign_ins", points: signInsPerAddressPerHour, seconds: 3_600 };
}

export function loginAdmission(
  limits: SignInLimits,
  { rateLimits, budgets }: Pick<KeyValueStore, "rateLimits" | "budgets">,
): LoginAdmission {
  const perAddress = limits.signInsPerAddressPerHour;
  const budget: SharedBudget = {
    name: "sign_ins_under_way",
    points: perAddress * ADDRESSES,
    seconds: limits.lifetimes.transactionSeconds,
  };
  return async (login, address) => {
    await countAddress(rateLimits, signInLimit(limits), address);
    await spend(budgets, budget, { address, perAddress, cost: Math.min(costOf(login), perAddress) });
  };
}
