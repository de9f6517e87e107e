/** Limits the time of a check: one that is late, or throws, becomes a finding. */
import { setTimeout as delay } from "node:timers/promises";
import { causes } from "../../oauth/errors.ts";
import { checkOf, type Finding, type Found, findingsIn } from "./finding.ts";

/** @param name of the check, for the finding that takes its place */
export async function within(ms: number, name: string, check: () => Promise<Found>): Promise<Finding[]> {
  const found = checkOf(name);
  const late = found`? This check did not end within ${ms / 1000} s and was given up
    → Run the doctor again; if it stays so, something between here and there swallows packets, or is overloaded.`;
  const inTime = new AbortController();
  const lapse = delay(ms, late, { signal: inTime.signal }).catch(() => undefined);
  try {
    return findingsIn(await Promise.race([check(), lapse]));
  } catch (error) {
    const broken = found`? This could not be checked: ${causes(error)}
      → Run the doctor again; if it stays so, please report it as a mistake of the doctor.`;
    return [broken];
  } finally {
    inTime.abort();
  }
}
