/** Limits the time of a check: one that is late, or throws, becomes a finding. */
import { setTimeout as delay } from "node:timers/promises";
import { causes } from "../../oauth/errors.ts";
import { type Finding, unknown } from "./finding.ts";

/** @param name of the check, for the finding that takes its place */
export async function within(
  milliseconds: number,
  name: string,
  check: () => Promise<Finding | Finding[]>,
): Promise<Finding[]> {
  const inTime = new AbortController();
  const late = delay(milliseconds, undefined, { signal: inTime.signal }).then(
    () => tooLate(name, milliseconds),
    () => [],
  );
  try {
    return [await Promise.race([check(), late])].flat();
  } catch (error) {
    return [
      unknown(
        name,
        `This could not be checked: ${causes(error)}`,
        "Run the doctor again; if it stays so, please report it as a mistake of the doctor.",
      ),
    ];
  } finally {
    inTime.abort();
  }
}

function tooLate(name: string, milliseconds: number): Finding[] {
  return [
    unknown(
      name,
      `This check did not end within ${milliseconds / 1000} s and was given up`,
      "Run the doctor again; if it stays so, something between here and there swallows packets, or is overloaded.",
    ),
  ];
}
