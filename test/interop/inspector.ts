/** The MCP Inspector's command line, with nobody at the keyboard: every call is a process of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { freePort } from "../support/free-port.ts";
import { installedPackage } from "../support/installed-package.ts";
import { type Desktop, openDesktop } from "./desktop.ts";
import { node22 } from "./node-22.ts";

export const inspector = await installedPackage("@modelcontextprotocol/inspector", "test/interop");

export interface Inspector {
  /** Where it keeps what the next process finds, and where its browser opens. */
  desktop: Desktop;
  /** Runs it to its end. `typed` is all that it reads from its keyboard. */
  run(
    args: readonly string[],
    typed?: string,
  ): Promise<{ code: number | null; stdout: string; stderr: string }>;
  /** The result that it prints. @throws Error with what it says if it fails */
  // biome-ignore lint/suspicious/noExplicitAny: whoever asked knows the shape
  inspect(args: readonly string[], typed?: string): Promise<any>;
  close(): Promise<void>;
}

/** @param era which of MCP's generations it speaks, as `--protocol-era` takes it */
export async function openInspector(era: string): Promise<Inspector> {
  const desktop = await openDesktop();
  const callbackUrl = `http://127.0.0.1:${await freePort()}/oauth/callback`;
  const running = new Set<ReturnType<typeof spawn>>();

  const run: Inspector["run"] = async (args, typed = "") => {
    const options = ["--callback-url", callbackUrl, "--protocol-era", era, "--format", "json"];
    const child = spawn(node22, [inspector.program("mcp-inspector"), "--cli", ...options, ...args], {
      env: {
        ...desktop.environment,
        MCP_AUTO_OPEN_ENABLED: "true", // also without a terminal
        MCP_INSPECTOR_SECRET_STORE: "file", // in its home, instead of the keychain
      },
    });
    running.add(child);
    child.stdin.end(typed);
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "exit"),
    ]);
    running.delete(child);
    return { code, stdout, stderr };
  };

  return {
    desktop,
    run,
    async inspect(...args) {
      const { code, stdout, stderr } = await run(...args);
      if (code !== 0) throw new Error(`The Inspector ended with ${code}: ${stderr}`);
      return JSON.parse(stdout).result;
    },
    async close() {
      for (const child of running) child.kill("SIGKILL");
      await desktop.close();
    },
  };
}
