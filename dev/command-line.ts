/** How somebody starts this again: from the sources, or from the package that they installed. */
import { fileURLToPath } from "node:url";

/** From the sources everything runs through tsx. */
export const isFromSources = import.meta.url.endsWith(".ts");

export function commandLine(name: string): string {
  return isFromSources ? `npm run ${name}` : `npx mcp-oidc-proxy ${name}`;
}

/** Of this project; where it is installed, of the package. */
export const ROOT = fileURLToPath(new URL("..", import.meta.url));
