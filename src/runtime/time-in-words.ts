/** Times as people say them, in the largest unit of which there are two. Pure. */

import { counted } from "./counted.ts";

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
] as const;

/** `3 hours ago`, `in 90 days`, `just now`; both in seconds since the epoch. Rounded down. */
export function relativeTime(seconds: number, now: number): string {
  const difference = seconds - now;
  if (difference === 0) return "just now";
  const [unit, size] = unitOf(Math.abs(difference));
  const time = counted(Math.trunc(Math.abs(difference) / size), unit);
  return difference < 0 ? `${time} ago` : `in ${time}`;
}

/** `90 seconds`, `2 minutes`. Rounded up: who waits so long does not come too early. */
export function waitingTime(seconds: number): string {
  const [unit, size] = unitOf(seconds);
  return counted(Math.ceil(seconds / size), unit);
}

function unitOf(seconds: number): readonly [string, number] {
  return UNITS.find(([, size]) => seconds >= 2 * size) ?? ["second", 1];
}
