/** Tools, resources and prompts that a document shows, which are written as if they were in src/tools. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Prompt } from "../../src/mcp/authoring/define-prompt.ts";
import type { Resource } from "../../src/mcp/authoring/define-resource.ts";
import type { Tool } from "../../src/mcp/authoring/define-tool.ts";
import type { ScopeDeclarations } from "../../src/oauth/scope-catalogue.ts";

interface DocumentedFeatures {
  tools: Tool[];
  resources: Resource[];
  prompts: Prompt[];
  /** If it exports them. */
  scopes?: ScopeDeclarations;
}

/** Those of the first program below this heading, whether it gives them a name or not. */
export async function documentedFeatures(file: string, heading: string): Promise<DocumentedFeatures> {
  const [, section = ""] = readFileSync(file, "utf8").split(`\n${heading}\n`);
  const [, snippet = ""] = /```ts\n(.*?)```/s.exec(section) ?? [];
  let count = 0;
  const program = snippet
    .replaceAll('"../', `"${new URL("../../src/", import.meta.url)}`)
    .replace('"zod"', `"${import.meta.resolve("zod")}"`)
    .replaceAll(/^(?=define[A-Z]\w+\()/gm, () => `export const declared${count++} = `);
  const folder = mkdtempSync(join(tmpdir(), "documented-"));
  try {
    const module = join(folder, "documented.mts");
    writeFileSync(module, program);
    const { scopes, ...features } = await import(pathToFileURL(module).href);
    const declared: Array<Tool | Resource | Prompt> = Object.values(features);
    return {
      tools: declared.filter((each) => each.kind === "tool"),
      resources: declared.filter((each) => each.kind === "resource"),
      prompts: declared.filter((each) => each.kind === "prompt"),
      ...(scopes !== undefined && { scopes }),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
