/** Times as people say them, in the largest unit of which there are two. Pure. */

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
] as const;
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });

/** `3 hours ago`, `in 90 days`, `just now`; both in seconds since the epoch. Rounded down. */
export function relativeTime(seconds: number, now: number): string {
  const difference = seconds - now;
  if (difference === 0) return "just now";
  const [unit, size] = unitOf(Math.abs(difference));
  return relative.format(Math.trunc(difference / size), unit);
}

/** `90 seconds`, `2 minutes`. Rounded up: who waits so long does not come too early. */
export function waitingTime(seconds: number): string {
  const [unit, size] = unitOf(seconds);
  const count = Math.ceil(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

function unitOf(seconds: number): readonly [Intl.RelativeTimeFormatUnit, number] {
  return UNITS.find(([, size]) => seconds >= 2 * size) ?? ["second", 1];
}
