/** How somebody starts this again: from the sources, or from the package that they installed. */
import { packageRoot } from "../src/runtime/package.ts";

/** From the sources everything runs through tsx. */
export const isFromSources = import.meta.url.endsWith(".ts");

export function commandLine(name: string): string {
  return isFromSources ? `npm run ${name}` : `npx mcp-oidc-proxy ${name}`;
}

/** The folder of this project's package.json. */
export const ROOT = packageRoot();
