/** The production entry: environment in, server out; with `--tools FILE` the tools of that module (`TOOLS_MODULE`). */
import { parseArgs } from "node:util";
import { loadConfig } from "../config/config.ts";
import { readEnvironment, withTools } from "../config/environment.ts";
import { serve } from "../server/serve.ts";
import { loadFeatures } from "../server/tools-module.ts";

try {
  await start();
} catch (error) {
  process.stderr.write(`mcp-oidc-proxy cannot start: ${startUpProblem(error)}\n`);
  process.exit(1); // an open connection to the store would keep the process alive
}

async function start(): Promise<void> {
  const { values } = parseArgs({ options: { tools: { type: "string" } } });
  const config = loadConfig(withTools(readEnvironment(), values.tools));
  const features = await loadFeatures(config);
  const server = await serve(config, features);
  await server.stopped;
  process.exit(0); // whatever a tool has left open
}

/** A person reads this in a terminal: what to do, no stack trace. */
function startUpProblem(error: unknown): string {
  const { code, message, port } = error as NodeJS.ErrnoException & { port?: number };
  switch (code) {
    case "EADDRINUSE":
      return `port ${port} is in use by another program: set another PORT (and BASE_URL, if it names the port).`;
    case "EACCES":
      return "PORT needs more rights than this user has. Use one above 1023.";
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return "HOST is not an address of this machine. Use 0.0.0.0 or 127.0.0.1.";
    default:
      return message;
  }
}
