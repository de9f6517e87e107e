/** MCP servers that nobody here wrote, each a process of its own over Streamable HTTP, to stand behind this server. */
import { type ChildProcess, spawn } from "node:child_process";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { installedPackage } from "../support/installed-package.ts";
import { node22 } from "./node-22.ts";

export interface BackendProcess {
  /** Its MCP endpoint. */
  url: string;
  stop(): void;
}

interface Command {
  program: string;
  args: readonly string[];
  environment?: Readonly<Record<string, string>>;
}

/** @param command of a server that then listens at this port, with its MCP endpoint at /mcp */
export async function startBackendProcess(command: (port: number) => Command): Promise<BackendProcess> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/mcp`;
  const { program, args, environment } = command(port);
  const child: ChildProcess = spawn(program, args, {
    env: { PATH: process.env.PATH, ...environment },
    stdio: "ignore",
  });
  const stop = () => void child.kill("SIGKILL");
  const answers = () =>
    fetch(url).then(
      () => true,
      () => false,
    );
  await eventually("the backend listens", answers).catch((error: unknown) => {
    stop();
    throw error;
  });
  return { url, stop };
}

/** The official reference server. */
export const everythingServer = await installedPackage(
  "@modelcontextprotocol/server-everything",
  "test/interop",
);

export function startEverythingServer(): Promise<BackendProcess> {
  return startBackendProcess((port) => ({
    program: node22,
    args: [everythingServer.program("mcp-server-everything"), "streamableHttp"],
    environment: { PORT: String(port) },
  }));
}
