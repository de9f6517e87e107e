/** mcp-remote, which gives programs that only speak stdio a way to remote servers, with nobody at the keyboard. */
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { installedPackage } from "../support/installed-package.ts";
import type { Desktop } from "./desktop.ts";
import { node22 } from "./node-22.ts";

export const mcpRemote = await installedPackage("mcp-remote", "test/interop");

export interface Remote {
  client: Client;
  /** @throws Error with what it said */
  connect(): Promise<void>;
  /** What it printed for people so far. */
  said(): string;
}

/** One process, as a desktop application starts it and keeps it; closing the client ends it. */
export function openRemote(desktop: Desktop, url: string, protocol: string): Remote {
  const transport = new StdioClientTransport({
    command: node22,
    args: [mcpRemote.program("mcp-remote"), url, "--protocol", protocol],
    env: desktop.environment,
    stderr: "pipe",
  });
  let said = "";
  transport.stderr?.on("data", (chunk) => {
    said += chunk;
  });
  const client = new Client({ name: "desktop application", version: "1" });
  return {
    client,
    said: () => said,
    connect: () =>
      client.connect(transport).catch((cause) => {
        throw new Error(`mcp-remote did not connect, and said:\n${said}`, { cause });
      }),
  };
}
