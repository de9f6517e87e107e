/**
 * Leaves out of a list what its reader may not use, and of what a server can do what does not pass here. What stays, stays byte for byte: a schema may have numbers that JSON.parse
 * rounds.
 */

import { type Change, changed, placesIn, skipSpace } from "../../runtime/json-text.ts";
import type { UsedFeature } from "../authoring/features.ts";
import { CACHE_SCOPE, CAPABILITIES, LISTS, type ListName } from "../backends/json-scan.ts";

export const LIST_METHODS: ReadonlySet<unknown> = new Set([
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
]);

/** Of which kind the entries of a list are, and which of their members names them. */
const ENTRIES = {
  tools: { kind: "tool", by: "name" },
  prompts: { kind: "prompt", by: "name" },
  resources: { kind: "resource", by: "uri" },
  resourceTemplates: { kind: "resource", by: "uriTemplate" },
} as const satisfies Record<ListName, { kind: UsedFeature["kind"]; by: string }>;

const TASKS_EXTENSION = "io.modelcontextprotocol/tasks"; // MCP 2026-07-28

/** @param text the entry, as it is written */
export type IsShown = (kind: UsedFeature["kind"], name: unknown, text: () => string) => boolean;

/**
 * The second entry of one name is left out, too: nobody could tell which of the two a call means. Where a name comes twice in an
 * object, some readers take the first value and some the last: every list that is there is filtered, and an entry with two names is
 * shown to whom both are.
 * @param text one JSON-RPC message, or a batch; undefined if it is no JSON
 */
export function withShownOnly(text: string, isShown: IsShown): string | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  const start = skipSpace(text, 0);
  const messages = text[start] === "[" ? placesIn(text, start) : [[start]];
  const results = messages.flatMap(([at = start]) => membersAt(text, at).filter(isNamed("result")));
  return changed(
    text,
    results.flatMap(({ from }) => changesIn(text, from, isShown)),
  );
}

/** @param at where a result begins in the text */
function changesIn(text: string, at: number, isShown: IsShown): Change[] {
  const members = membersAt(text, at);
  const lists = members.flatMap(({ name, ...place }) => {
    const list = LISTS.find((each) => each === name);
    return list !== undefined && text[place.from] === "[" ? [{ list, ...place }] : [];
  });
  // A cache that several people share must not give one what is another's, or what they may not read.
  const scopes = members.filter(isNamed(CACHE_SCOPE));
  return [
    ...lists.flatMap(({ list, from, to }): Change[] => {
      const entries = placesIn(text, from);
      const stays = stayingIn(list, isShown);
      const kept = entries.filter(([start, end]) =>
        stays(namesAt(text, start, ENTRIES[list].by), () => text.slice(start, end)),
      );
      if (kept.length === entries.length) return [];
      return [{ from, to, by: `[${kept.map(([start, end]) => text.slice(start, end)).join(",")}]` }];
    }),
    ...scopes.map(({ from, to }) => ({ from, to, by: '"private"' })),
    ...(isIntroduction(members) ? members.filter(isNamed(CAPABILITIES)) : []).flatMap(({ from, to }) => {
      const by = withoutTasks(text.slice(from, to));
      return by === undefined ? [] : [{ from, to, by }];
    }),
  ];
}

/** Other results may have a member of that name, which is no business of ours. */
function isIntroduction(members: readonly Member[]): boolean {
  return members.some(({ name }) => name === "protocolVersion" || name === "supportedVersions");
}

/** A client that sees them announced would ask for tasks, and be refused. Undefined if they are not. */
function withoutTasks(capabilities: string): string | undefined {
  const { tasks, ...others } = (JSON.parse(capabilities) ?? {}) as Record<string, unknown>;
  const { [TASKS_EXTENSION]: extension, ...extensions } = (others.extensions ?? {}) as Record<
    string,
    unknown
  >;
  if (tasks === undefined && extension === undefined) return undefined;
  return JSON.stringify({ ...others, ...(extension !== undefined && { extensions }) });
}

/** Whether an entry stays, by its names: it is asked of each, in their order. */
function stayingIn(
  list: ListName,
  isShown: IsShown,
): (names: readonly unknown[], text: () => string) => boolean {
  const seen = new Set<unknown>();
  return (names, text) => {
    const stays =
      names.length > 0 && names.every((name) => isShown(ENTRIES[list].kind, name, text) && !seen.has(name));
    for (const name of names) seen.add(name);
    return stays;
  };
}

/** One, in an entry that is written as it should be. */
function namesAt(text: string, entry: number, by: string): unknown[] {
  return membersAt(text, entry)
    .filter(isNamed(by))
    .map(({ from, to }) => JSON.parse(text.slice(from, to)));
}

interface Member {
  name: string;
  from: number;
  to: number;
}

/** Every one of an object, also those of one name. */
function membersAt(text: string, at: number): Member[] {
  if (text[at] !== "{") return [];
  return placesIn(text, at).map(([from, to, written = '""']) => ({ name: JSON.parse(written), from, to }));
}

function isNamed(name: string): (member: Member) => boolean {
  return (member) => member.name === name;
}
