/** What every backend has in CONFIG_FILE, however it is reached. */
import { resolve } from "node:path";
import { z } from "zod";
import type { PinSettings } from "../mcp/backends/backend-settings.ts";
import { type Mistake, mistakesIn } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import { wholeNumber } from "./file-values.ts";
import { below, needsMistakes } from "./needs.ts";

export const backendBounds = {
  timeoutSeconds: wholeNumber(1, 3_600, "300").default(300),
  maxAnswerBytes: wholeNumber(65_536, 268_435_456, "16777216").default(16_777_216),
};

/** `scopes` describes what `needs` names. */
export function backendNeedsMistakes(entry: Record<string, unknown>, at: Path): Mistake[] {
  if (entry.needs !== undefined) return needsMistakes(entry, at);
  return [
    ...needsMistakes(entry, at),
    {
      at,
      problem: "does not say in needs who may use what its server offers, so that nobody could use anything",
      remedy: "add needs; npm run admin -- backend inspect writes a first one",
    },
  ];
}

const Pinned = z.object({
  pins: z.string().min(1).exactOptional(),
  onDrift: z.enum(["refuse", "log"]).default("refuse"),
});
export const PIN_KEYS = Object.keys(Pinned.shape);

/** What is wrong with the file of approved tools, as far as it is named. */
export function pinMistakes(entry: Record<string, unknown>, at: Path): Mistake[] {
  const { pins, onDrift } = entry;
  return [
    ...below(at, mistakesIn(entry, Pinned)),
    ...(onDrift !== undefined && pins === undefined
      ? [
          {
            at: [...at, "onDrift"],
            problem: "is there without pins, from which nothing could drift",
            remedy: "add pins, such as pins: crm.pins.json, or remove it",
          },
        ]
      : []),
  ];
}

/**
 * Of an entry in which nothing is wrong; undefined if it names no file.
 * @param folder of the file in which it is written
 */
export function pinSettings(entry: Record<string, unknown>, folder: string): PinSettings | undefined {
  const { pins, onDrift } = Pinned.parse(entry);
  return pins === undefined ? undefined : { file: resolve(folder, pins), onDrift };
}
