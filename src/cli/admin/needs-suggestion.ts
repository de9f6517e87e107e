/** An entry of `resources` for a backend: which scopes what it offers could need. For people to read and change. Pure. */
import type { OfferedEntry } from "../../mcp/backends/offered.ts";
import type { YamlComment } from "../../yaml/write-yaml.ts";

/** What a backend offers, as it says itself: anything may be in there. */
export type Offered = Readonly<
  Record<"tools" | "resources" | "resourceTemplates" | "prompts", readonly OfferedEntry[]>
>;

export interface Suggestion {
  readonly entry: { readonly scopes: object; readonly needs: object };
  /** Below the entry. */
  readonly comments: readonly YamlComment[];
  /** Names that cannot be written there, because they would mean something else. */
  readonly leftOut: readonly string[];
}

/** What a tool's annotations say of it, in the order in which the tools are written (MCP, ToolAnnotations). */
const GROUPS = [
  { is: "reads", says: "Say that they only read (readOnlyHint)" },
  { is: "adds", says: "Say that they change something, and destroy nothing (destructiveHint: false)" },
  { is: "destroys", says: "Say that they may destroy something (destructiveHint)" },
  { is: "silent", says: "Say nothing of what they do: by MCP's defaults they may destroy something" },
] as const;
type Group = (typeof GROUPS)[number]["is"];

/**
 * Whatever does not say that it only reads counts as changing something: by default a tool is destructive.
 * @param name of the backend, with which its scopes begin
 */
export function suggestedEntry(name: string, offered: Offered): Suggestion {
  const [read, write] = [`${name}:read`, `${name}:write`];
  const templates = named(offered.resourceTemplates, "uriTemplate").map((each) => each.name);
  const names = {
    tools: named(offered.tools, "name"),
    resources: named(offered.resources, "uri"),
    prompts: named(offered.prompts, "name"),
  };
  const listed = [...names.resources.map((each) => each.name), ...templates.filter(hasBeginning)];
  const whatIsRead = new Set(writable(templates.filter(hasBeginning)).map(patternOf));
  const groups = GROUPS.map((group) => ({
    ...group,
    tools: names.tools.filter(({ value }) => groupOf(value) === group.is).map((tool) => tool.name),
  })).filter(({ tools }) => tools.length > 0);
  const all = {
    tools: groups.flatMap(({ is, tools }) =>
      writable(tools).map((tool): Needed => [tool, [is === "reads" ? read : write]]),
    ),
    resources: [...writable(listed), ...whatIsRead].map((uri): Needed => [uri, [read]]),
    prompts: writable(names.prompts.map((each) => each.name)).map((prompt): Needed => [prompt, [read]]),
  };
  const kinds = Object.entries(all).filter(([, needed]) => needed.length > 0);
  return {
    entry: {
      scopes: {
        [read]: `Read in ${name}`,
        [write]: { description: `Change things in ${name}`, whenNeeded: true },
      },
      needs: Object.fromEntries(kinds.map(([kind, needed]) => [kind, Object.fromEntries(needed)])),
    },
    comments: groups.flatMap(({ says, tools }): YamlComment[] => {
      const [first] = writable(tools);
      return first === undefined ? [] : [{ above: ["needs", "tools", first], text: `${says}:` }];
    }),
    leftOut: [
      ...Object.values(names)
        .flat()
        .map((each) => each.name)
        .filter((each) => !isWritable(each)),
      ...templates.filter((each) => !isWritable(each) || !hasBeginning(each)),
    ],
  };
}

type Needed = [name: string, scopes: string[]];

interface Named {
  name: string;
  value: Record<string, unknown>;
}

/** Of two of one name the first counts, as where lists are filtered. */
function named(entries: readonly OfferedEntry[], by: string): Named[] {
  const found = new Map<string, Named>();
  for (const { value } of entries) {
    const name = member(value, by);
    if (typeof name === "string" && !found.has(name))
      found.set(name, { name, value: value as Record<string, unknown> });
  }
  return [...found.values()];
}

function groupOf({ annotations }: Record<string, unknown>): Group {
  if (member(annotations, "readOnlyHint") === true) return "reads";
  const destructive = member(annotations, "destructiveHint");
  if (destructive === undefined) return "silent";
  return destructive === false ? "adds" : "destroys";
}

/** `*` would stand for others, too. */
function isWritable(name: string): boolean {
  return name !== "" && name !== "__proto__" && !name.includes("*");
}

/** A template that may become any URI would be a pattern for all. */
function hasBeginning(template: string): boolean {
  return !template.startsWith("{");
}

/** What is read by a template (RFC 6570) has other names than that. */
function patternOf(template: string): string {
  return template.replace(/(\{[^{}]*\})+/g, "*");
}

function writable(names: readonly string[]): string[] {
  return names.filter(isWritable).toSorted();
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
