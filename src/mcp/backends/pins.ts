/**
 * The tools of a backend as its operator approved them: a file beside CONFIG_FILE, like a lock file. It has each definition whole, so
 * that a change of it is read in a review, and its fingerprint, by which what the backend lists is held against it.
 */
import { z } from "zod";
import { parseJson } from "../../oauth/json.ts";
import { sha256 } from "../../oauth/sha256.ts";
import { readText } from "../../runtime/read-text.ts";
import { InvalidValue } from "../../runtime/setting-problem.ts";
import { repeatsName } from "../transport/unambiguous.ts";
import type { OfferedEntry } from "./offered.ts";

export interface PinnedTool {
  readonly fingerprint: string;
  readonly definition: Readonly<Record<string, unknown>>;
}

/** By name. */
export type Pins = ReadonlyMap<string, PinnedTool>;

/** How a tool is another than the one that was approved. */
export type Drift = "changed" | "added" | "gone";

const PinsFile = z.object({
  version: z.literal(1),
  tools: z.array(z.object({ sha256: z.string(), definition: z.looseObject({ name: z.string().min(1) }) })),
});

/** Deeper than any schema that people write; what is compared must not overflow the stack. */
const MAX_DEPTH = 64;

/**
 * Of a definition as a list has it: of all of it, because a client may show all of it to its model. Undefined if not everybody would
 * read it alike, or it is nested too deeply: that is no definition which anybody approved.
 */
export function fingerprintOf(text: string): string | undefined {
  if (repeatsName(text)) return undefined;
  const canonical = canonicalJson(parseJson(text), 0);
  return canonical === undefined ? undefined : sha256(canonical);
}

/** The names in order; lists stay as they are, because in a list the order may mean something. */
function canonicalJson(value: unknown, depth: number): string | undefined {
  if (depth > MAX_DEPTH) return undefined;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const parts = Array.isArray(value)
    ? value.map((each) => canonicalJson(each, depth + 1))
    : Object.keys(value)
        .toSorted()
        .map((name) => {
          const each = canonicalJson((value as Record<string, unknown>)[name], depth + 1);
          return each === undefined ? undefined : `${JSON.stringify(name)}:${each}`;
        });
  if (parts.includes(undefined)) return undefined;
  return Array.isArray(value) ? `[${parts.join(",")}]` : `{${parts.join(",")}}`;
}

/**
 * What a backend offers now. Of two of one name the first counts.
 * @returns also the names of those that cannot be pinned: not everybody would read them alike
 */
export function pinsOf(tools: readonly OfferedEntry[]): { pins: Pins; unreadable: string[] } {
  const pins = new Map<string, PinnedTool>();
  const unreadable: string[] = [];
  for (const { value, text } of tools) {
    const definition = value as Record<string, unknown> | null;
    const name = definition?.name;
    if (typeof name !== "string" || name === "" || pins.has(name)) continue;
    const fingerprint = fingerprintOf(text);
    if (fingerprint === undefined) unreadable.push(name);
    else pins.set(name, { fingerprint, definition: definition as Record<string, unknown> });
  }
  return { pins, unreadable };
}

/** The text of the file. */
export function writtenPins(pins: Pins): string {
  const tools = [...pins]
    .toSorted(([one], [another]) => (one < another ? -1 : 1))
    .map(([, { fingerprint, definition }]) => ({ sha256: fingerprint, definition }));
  return `${JSON.stringify({ version: 1, tools }, undefined, 2)}\n`;
}

const MAX_FILE_BYTES = 8_388_608;

/** @throws InvalidValue, of the path */
export function readPins(path: string): Pins {
  const text = readText(path, MAX_FILE_BYTES);
  try {
    return parsePins(text);
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    throw new InvalidValue(`names ${path}, which ${error.problem}`, error.remedy);
  }
}

/**
 * @param text of the file
 * @throws InvalidValue
 */
export function parsePins(text: string): Pins {
  const remedy = "write it with: npm run admin -- backend pin";
  const { data, error } = PinsFile.safeParse(parseJson(text));
  if (error !== undefined) throw new InvalidValue("is no file of pinned tools", remedy);
  const pins = new Map<string, PinnedTool>();
  for (const { sha256: fingerprint, definition } of data.tools) {
    const { name } = definition;
    if (pins.has(name)) throw new InvalidValue(`has the tool "${name}" twice`, remedy);
    // What was changed by hand was said by no backend.
    if (fingerprintOf(JSON.stringify(definition)) !== fingerprint)
      throw new InvalidValue(`has another definition of the tool "${name}" than its sha256 is of`, remedy);
    pins.set(name, { fingerprint, definition });
  }
  return pins;
}

export interface DriftedTool {
  readonly name: string;
  readonly drift: Drift;
  readonly pinned?: PinnedTool | undefined;
  readonly found?: unknown;
}

/** How what a backend offers differs from what was approved, by name. */
export function driftedTools(pins: Pins, tools: readonly OfferedEntry[]): DriftedTool[] {
  const drifted: DriftedTool[] = [];
  const seen = new Set<unknown>();
  for (const { value, text } of tools) {
    const name = (value as Record<string, unknown> | null)?.name;
    if (typeof name !== "string") continue;
    const pinned = pins.get(name);
    if (seen.size === seen.add(name).size) continue;
    if (pinned === undefined) drifted.push({ name, drift: "added", found: value });
    else if (fingerprintOf(text) !== pinned.fingerprint)
      drifted.push({ name, drift: "changed", pinned, found: value });
  }
  const gone = [...pins].filter(([name]) => !seen.has(name));
  return [
    ...drifted,
    ...gone.map(([name, pinned]): DriftedTool => ({ name, drift: "gone", pinned })),
  ].toSorted((one, another) => (one.name < another.name ? -1 : 1));
}
