/** What a million members cost, as a document. */
import type { Growth } from "./measure-growth.ts";
import type { Spread } from "./statistics.ts";

export function growthReport({ members, steps, longestCommand, removal }: Growth): string {
  return `
${members.toLocaleString("en")} members in the indexes of a user, a client and a session, beside empty ones, in turns; median (least to most).

| | empty, ms | full, ms | full / empty |
| --- | --- | --- | --- |
${steps.map(({ step, emptyMs, fullMs, ratio }) => `| ${step} | ${shown(emptyMs, 1)} | ${shown(fullMs, 1)} | ${shown(ratio, 2)} |`).join("\n")}

The longest that one command held Redis: ${inMs(longestCommand.microseconds)} ms (${longestCommand.command}).
Removing a registration with ${removal.grants.toLocaleString("en")} live grants: ${removal.seconds.toFixed(1)} s in ${removal.requests} requests, the longest command ${inMs(removal.longestMicroseconds)} ms.
`;
}

function shown({ median, least, most }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)})`;
}

/** Commands below a millisecond are not recorded. */
function inMs(microseconds: number): string {
  return microseconds === 0 ? "< 1" : (microseconds / 1000).toFixed(1);
}
