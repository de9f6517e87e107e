/** Whether clocks agree. Pure. Tokens begin and end by them: the provider's, Redis', and this computer's. */

import { MAX_AGE_SECONDS } from "../../identity/oidc/logout-token.ts";
import { CLOCK_TOLERANCE_SECONDS } from "../../oauth/jwt.ts";
import { checkOf, type Finding } from "./finding.ts";

const UNNOTICED_SECONDS = 5;

const FIX =
  "Synchronize this computer's clock with NTP (timedatectl set-ntp true; on a virtual machine also the host's).";

/** @param aheadSeconds by how much this computer's clock is ahead of theirs; it is known to about a second */
export function clockFinding(check: string, whose: string, aheadSeconds: number): Finding {
  const { ok, warning, failure } = checkOf(check);
  const difference = Math.abs(Math.round(aheadSeconds));
  const says = `This computer's clock is ${difference} s ${aheadSeconds > 0 ? "ahead of" : "behind"} ${whose}`;
  if (difference <= UNNOTICED_SECONDS) return ok(`This computer's clock agrees with ${whose}`);
  if (difference <= CLOCK_TOLERANCE_SECONDS) return warning(says, FIX);
  if (difference <= MAX_AGE_SECONDS)
    return warning(`${says}: tokens may be refused as expired or not valid yet`, FIX);
  return failure(`${says}: sign-ins and sign-outs will be refused`, FIX);
}

/** The header `Date` has whole seconds and was written some time between request and response. */
export function aheadOfDateHeader(date: string | null, nowMs: number, tookMs: number): number | undefined {
  const theirs = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(theirs)) return undefined;
  return (nowMs - tookMs / 2 - (theirs + 500)) / 1000;
}
