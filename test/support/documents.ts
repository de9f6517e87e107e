/** Every text for people in the repository. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

export interface Document {
  /** From the root of the repository. */
  path: string;
  text: string;
  /** Without blocks of code. */
  prose: string;
}

const NOT_OURS = ["node_modules", ".git", "dist", "screenshots"];

export const documents: readonly Document[] = markdownFiles("").map((path) => {
  const text = readFileSync(join(root, path), "utf8");
  return { path, text, prose: text.replaceAll(/^ *```.*?^ *```$/gms, "") };
});

function markdownFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (NOT_OURS.includes(entry.name)) return [];
    if (entry.isDirectory()) return markdownFiles(path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}
