/** The guides in docs/providers: their settings, as somebody would copy them. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseEnv } from "node:util";

const FOLDER = fileURLToPath(new URL("../../docs/providers/", import.meta.url));

export const guides = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".md") && file !== "README.md")
  .map((file) => file.slice(0, -".md".length));

export function guideText(guide: string): string {
  return readFileSync(`${FOLDER}${guide}.md`, "utf8");
}

// What a guide leaves open as `…`: long enough for each setting.
const FILLED_IN = "filled-in-by-the-reader-0123456789-abcdef";

/** Each block of settings in a guide; the first is the one that it recommends. */
export function settingsOf(guide: string): Array<Record<string, string>> {
  const blocks = [...guideText(guide).matchAll(/^```env\n(.*?)^```/gms)].map(([, block = ""]) => block);
  return blocks.map((block) => parseEnv(block.replaceAll("=…", `=${FILLED_IN}`)) as Record<string, string>);
}
