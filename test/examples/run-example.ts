/** Runs one of examples/ as `npm run example` does, beside its own identity provider. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "../support/free-port.ts";

export interface RunningExample {
  baseUrl: string;
  /** The MCP endpoint. */
  url: string;
  /** The environment that runs it, for what else a reader would start beside it. */
  port: number;
  /** Everything that it printed so far. */
  output(): string;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
}

/** Resolves when it listens. */
export async function runExample(name: string): Promise<RunningExample> {
  const port = await freePort();
  const child = spawn(process.execPath, ["--import", "tsx", "src/dev/example.ts", name], {
    env: { PATH: process.env.PATH, PORT: String(port) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  const exited = once(child, "exit");
  for (let attempt = 0; !output.includes("Listening"); attempt++) {
    if (child.exitCode !== null || attempt > 1_200)
      throw new Error(`The example ${name} did not start:\n${output}`);
    await delay(50);
  }
  const baseUrl = `http://localhost:${port}`;
  return {
    baseUrl,
    url: `${baseUrl}/mcp`,
    port,
    output: () => output,
    async stop() {
      child.kill("SIGTERM");
      const [code] = await exited;
      return code;
    },
  };
}
