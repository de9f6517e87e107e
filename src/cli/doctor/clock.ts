/** Whether clocks agree. Pure. Tokens begin and end by them: the provider's, Redis', and this computer's. */
import { MAX_AGE_SECONDS } from "../../identity/oidc/logout-token.ts";
import { CLOCK_TOLERANCE_SECONDS } from "../../oauth/jwt.ts";
import { checkOf, type Finding } from "./finding.ts";

const UNNOTICED_SECONDS = 5;

/** @param aheadSeconds by how much this computer's clock is ahead of theirs; it is known to about a second */
export function clockFinding(check: string, whose: string, aheadSeconds: number): Finding {
  const found = checkOf(check);
  const difference = Math.abs(Math.round(aheadSeconds));
  if (difference <= UNNOTICED_SECONDS) return found`✓ This computer's clock agrees with ${whose}`;
  const mark = difference <= MAX_AGE_SECONDS ? "!" : "✗";
  const effect =
    difference <= CLOCK_TOLERANCE_SECONDS
      ? ""
      : mark === "!"
        ? ": tokens may be refused as expired or not valid yet"
        : ": sign-ins and sign-outs will be refused";
  return found`${mark} This computer's clock is ${difference} s ${aheadSeconds > 0 ? "ahead of" : "behind"} ${whose}${effect}
    → Synchronize this computer's clock with NTP (timedatectl set-ntp true; on a virtual machine also the host's).`;
}

/** The header `Date` has whole seconds and was written some time between request and response. */
export function aheadOfDateHeader(date: string | null, nowMs: number, tookMs: number): number | undefined {
  const theirs = Date.parse(date ?? "");
  return Number.isNaN(theirs) ? undefined : (nowMs - tookMs / 2 - (theirs + 500)) / 1000;
}
