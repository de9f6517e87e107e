/** The keys in CONFIG_FILE: which are known where, and what a misspelt one is likely to mean. */
import { nearestName } from "../runtime/nearest-name.ts";
import type { Mistake } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";

export interface KnownKeys {
  readonly known: readonly string[];
  /** Of later versions. */
  readonly notYet?: readonly string[];
}

export function unknownKeys(entry: unknown, at: Path, { known, notYet = [] }: KnownKeys): Mistake[] {
  if (!isMap(entry)) return [];
  return Object.keys(entry)
    .filter((key) => !known.includes(key))
    .map((key) => {
      const found = { at: [...at, key], in: at };
      if (notYet.includes(key))
        return {
          ...found,
          problem: `has the key "${key}", which this version does not have`,
          remedy: "remove it",
        };
      const meant = nearestName(key, known);
      return {
        ...found,
        problem: `has an unknown key "${key}"`,
        remedy:
          meant === undefined
            ? `use what is known here: ${known.join(", ")}`
            : `write ${meant} if you mean that, or remove it`,
      };
    });
}

export function entriesOf(value: unknown): Array<[string, unknown]> {
  return isMap(value) ? Object.entries(value) : [];
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function listed(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
