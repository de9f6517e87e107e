/** Spans of time as people say them. Pure. */

const UNITS: ReadonlyArray<[seconds: number, name: string]> = [
  [86_400, "day"],
  [3_600, "hour"],
  [60, "minute"],
];

/** `3 minutes ago`. */
export const ago = (seconds: number): string => `${span(seconds)} ago`;

/** `in 3 minutes`, or `3 minutes ago` if that is past. */
export function fromNow(seconds: number): string {
  return seconds < 0 ? ago(-seconds) : `in ${span(seconds)}`;
}

function span(seconds: number): string {
  const [size, name] = UNITS.find(([unit]) => seconds >= 2 * unit) ?? [1, "second"];
  const count = Math.floor(seconds / size);
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}
