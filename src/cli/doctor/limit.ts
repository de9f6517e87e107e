/** Limits the time of a check: one that is late, or throws, becomes a finding. */
import { setTimeout as delay } from "node:timers/promises";
import { causes } from "../../oauth/errors.ts";
import { checkOf, type Finding } from "./finding.ts";

/** @param name of the check, for the finding that takes its place */
export async function within(
  milliseconds: number,
  name: string,
  check: () => Promise<Finding | Finding[]>,
): Promise<Finding[]> {
  const { unknown } = checkOf(name);
  const tooLate = unknown(
    `This check did not end within ${milliseconds / 1000} s and was given up`,
    "Run the doctor again; if it stays so, something between here and there swallows packets, or is overloaded.",
  );
  const inTime = new AbortController();
  const late = delay(milliseconds, tooLate, { signal: inTime.signal }).catch(() => []);
  try {
    return [await Promise.race([check(), late])].flat();
  } catch (error) {
    return [
      unknown(
        `This could not be checked: ${causes(error)}`,
        "Run the doctor again; if it stays so, please report it as a mistake of the doctor.",
      ),
    ];
  } finally {
    inTime.abort();
  }
}
