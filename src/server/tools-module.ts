/** What the server offers: the tools in `tools/`, or those of somebody's own modules (`TOOLS_MODULE`, `resources` in CONFIG_FILE). */
import { existsSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Config } from "../config/config.ts";
import type { ResourceSource } from "../config/resources.ts";
import type { Features } from "../mcp/authoring/features.ts";
import { causes } from "../oauth/errors.ts";
import { packageRoot } from "../runtime/package.ts";
import { declarationOf, type ResourceDeclaration } from "./resources.ts";

/**
 * What the first resource offers. Imported when asked for, so that a mistake in the declaration of a tool is reported like every
 * other start-up problem.
 * @throws Error that says what to do about the module
 */
export async function loadFeatures({
  resources: [{ source }],
}: Pick<Config, "resources">): Promise<Features> {
  if (source.kind === "tools" && source.module === undefined) return import("../tools/index.ts");
  return featuresAt(source, "TOOLS_MODULE");
}

/**
 * The resources beside the first, with what they offer.
 * @throws Error that says what to do about a module
 */
export function loadFurtherResources({
  resources: [, ...others],
}: Pick<Config, "resources">): Promise<ResourceDeclaration[]> {
  return Promise.all(
    others.map(async (each) =>
      declarationOf(each, await featuresAt(each.source, `resources.${each.path}.tools`)),
    ),
  );
}

/** @param setting that names the module */
async function featuresAt(source: ResourceSource, setting: string): Promise<Features> {
  if (source.kind === "tools") return importFeatures(source.module ?? "", setting);
  return { tools: [], scopes: source.scopes };
}

async function importFeatures(path: string, setting: string): Promise<Features> {
  const file = resolve(path);
  if (!existsSync(file)) throw new Error(`${setting}: ${file} does not exist.`);
  refuseAnotherCopy(file, setting);
  let exported: Record<string, unknown>;
  try {
    exported = await import(pathToFileURL(file).href);
  } catch (cause) {
    throw new Error(`${setting}: ${file} cannot be loaded: ${causes(cause)}`, { cause });
  }
  const { tools, resources = [], prompts = [], scopes } = exported;
  const problems = [
    ...(areAll("tool", tools) ? [] : ["`tools`, a list of what defineTool() returned"]),
    ...(areAll("resource", resources) ? [] : ["`resources`, a list of what defineResource() returned"]),
    ...(areAll("prompt", prompts) ? [] : ["`prompts`, a list of what definePrompt() returned"]),
    ...(typeof scopes === "object" && scopes !== null
      ? []
      : ["`scopes`, which describes each scope that they need"]),
  ];
  if (problems.length > 0) throw new Error(`${setting}: ${file} must export ${problems.join(", and ")}.`);
  return { tools, resources, prompts, scopes } as Features;
}

/** Its getAccessToken() would not know of this one's callers. */
function refuseAnotherCopy(file: string, setting: string): void {
  let theirs: string;
  try {
    theirs = createRequire(file).resolve("mcp-oidc-proxy/package.json");
  } catch {
    return; // it may be bundled; if it is missing, that is said when it is imported
  }
  const ours = join(packageRoot(), "package.json");
  if (realpathSync(theirs) !== realpathSync(ours))
    throw new Error(
      `${setting}: ${file} would use another copy of mcp-oidc-proxy (${theirs}) than the one that runs (${ours}): run that one.`,
    );
}

function areAll(kind: string, features: unknown): boolean {
  return Array.isArray(features) && features.every((feature) => feature?.kind === kind);
}
