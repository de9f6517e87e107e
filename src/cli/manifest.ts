/** `npm run manifest`: mcp-manifest.json is written, or compared with what the server offers. Reads the server's environment. */
import { readEnvironment } from "../config/environment.ts";
import { runManifest } from "./manifest-command.ts";

process.exitCode = await runManifest(process.argv.slice(2), readEnvironment, process.cwd(), process);
