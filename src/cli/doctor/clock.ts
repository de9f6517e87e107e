/** Whether clocks agree. Pure. Tokens begin and end by them: the provider's, Redis', and this computer's. */
import { MAX_AGE_SECONDS } from "../../identity/oidc/logout-token.ts";
import { CLOCK_TOLERANCE_SECONDS } from "../../oauth/jwt.ts";
import { checkOf, type Finding } from "./finding.ts";

const UNNOTICED_SECONDS = 5;

/** @param aheadSeconds by how much this computer's clock is ahead of theirs; it is known to about a second */
export function clockFinding(check: string, whose: string, aheadSeconds: number): Finding {
  const found = checkOf(check);
  const difference = Math.abs(Math.round(aheadSeconds));
  const says = `This computer's clock is ${difference} s ${aheadSeconds > 0 ? "ahead of" : "behind"} ${whose}`;
  const fix =
    "Synchronize this computer's clock with NTP (timedatectl set-ntp true; on a virtual machine also the host's).";
  if (difference <= UNNOTICED_SECONDS) return found`✓ This computer's clock agrees with ${whose}`;
  if (difference > MAX_AGE_SECONDS)
    return found`✗ ${says}: sign-ins and sign-outs will be refused
      → ${fix}`;
  const isTolerated = difference <= CLOCK_TOLERANCE_SECONDS;
  return found`! ${says}${isTolerated ? "" : ": tokens may be refused as expired or not valid yet"}
    → ${fix}`;
}

/** The header `Date` has whole seconds, as `now` has, and was written some time between request and response. */
export function aheadOfDateHeader(date: string | null, now: number, tookSeconds: number): number | undefined {
  const theirs = Date.parse(date ?? "") / 1000;
  return Number.isNaN(theirs) ? undefined : now - tookSeconds / 2 - theirs;
}
