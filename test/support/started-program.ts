/** A program of its own, started as a person types it, and told to end. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

export interface StartedPrograms {
  /**
   * Resolves when it has said `ready` (so many `times`).
   * @param env all that it sees
   */
  start(
    command: readonly [program: string, ...args: string[]],
    options: { cwd: string; env: NodeJS.ProcessEnv; ready?: string; times?: number },
  ): Promise<{ stop(): Promise<{ code: number | null; output: string }> }>;
  /** Those that were not stopped. */
  endAll(): void;
}

const LOOK_MS = 50;
const LOOKS = 1_200;

export function startedPrograms(): StartedPrograms {
  const children: ChildProcess[] = [];
  return {
    async start([program, ...args], { cwd, env, ready = "Listening", times = 1 }) {
      const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
      children.push(child);
      const exited = once(child, "exit");
      let output = "";
      for (const stream of [child.stdout, child.stderr])
        stream.on("data", (chunk: Buffer) => {
          output += chunk.toString();
        });
      for (let look = 0; output.split(ready).length <= times; look++) {
        if (child.exitCode !== null || look > LOOKS) throw new Error(`It did not start:\n${output}`);
        await delay(LOOK_MS);
      }
      return {
        async stop() {
          child.kill("SIGTERM");
          const [code] = await exited;
          return { code, output };
        },
      };
    },
    endAll() {
      for (const child of children) child.kill("SIGKILL");
    },
  };
}
