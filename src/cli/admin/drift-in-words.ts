/** How a backend's tools differ from those that were approved, as people read it. Pure. */
import type { DriftedTool } from "../../mcp/backends/pins.ts";
import { counted } from "../../runtime/counted.ts";

const TITLES = {
  changed: "changed",
  added: "new, and not approved",
  gone: "gone",
} as const;

/** One tool after the other, each with what was (-) and what is (+). */
export function driftInWords(drifted: readonly DriftedTool[]): string {
  return drifted
    .flatMap(({ name, drift, pinned, found }) => [
      `${JSON.stringify(name)} is ${TITLES[drift]}`,
      ...differences(pinned?.definition, found).flatMap(({ at, was, is }) => [
        `  ${at}`,
        ...lines("-", was),
        ...lines("+", is),
      ]),
    ])
    .join("\n");
}

/** `1 tool changed, 2 new, 1 gone` */
export function driftCounted(drifted: readonly DriftedTool[]): string {
  const count = (drift: DriftedTool["drift"]) => drifted.filter((each) => each.drift === drift).length;
  return `${counted(count("changed"), "tool")} changed, ${count("added")} new, ${count("gone")} gone`;
}

interface Difference {
  at: string;
  was: string | undefined;
  is: string | undefined;
}

function differences(pinned: unknown, found: unknown): Difference[] {
  const [before, after] = [leavesOf(pinned), leavesOf(found)];
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((at) => {
    const [was, is] = [before.get(at), after.get(at)];
    return was === is ? [] : [{ at, was, is }];
  });
}

/** Every value that is no object, by its path; without recursion, because the definition is a stranger's. */
function leavesOf(definition: unknown): Map<string, string> {
  const leaves = new Map<string, string>();
  const open: Array<[at: string, value: unknown]> = definition === undefined ? [] : [["", definition]];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [at, value] = next;
    const inside = typeof value === "object" && value !== null ? Object.entries(value) : [];
    if (inside.length === 0) leaves.set(at, typeof value === "string" ? value : JSON.stringify(value));
    const step = (name: string) => (at === "" ? name : `${at}.${name}`);
    for (const [name, each] of inside.toReversed()) open.push([step(name), each]);
  }
  return leaves;
}

function lines(mark: "-" | "+", text: string | undefined): string[] {
  return text === undefined ? [] : text.split("\n").map((line) => `    ${mark} ${line}`);
}
