/** What a command of the program said, run in this process or in one of its own. */
import { spawn } from "node:child_process";
import { isAbsolute } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import type { Streams } from "../../src/cli/streams.ts";
import { builtProgram } from "./built-program.ts";

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** In this process: a command that takes its streams, with no terminal anywhere. */
export async function ran(command: (streams: Streams) => Promise<number>, input = ""): Promise<Ran> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const texts = Promise.all([text(stdout), text(stderr)]);
  stdin.end(input);
  const code = await command({ stdin, stdout, stderr } as unknown as Streams);
  stdout.end();
  stderr.end();
  const [out, err] = await texts;
  return { code, stdout: out, stderr: err };
}

/**
 * In a process of its own, as people run it; the environment is all that it sees.
 * @param program such as `src/cli/admin`, as it is built, or the whole path of another
 */
export async function ranAsProcess(
  program: string,
  args: readonly string[],
  options: { env: Record<string, string | undefined>; cwd?: string; input?: string },
): Promise<Ran> {
  const child = spawn(process.execPath, [isAbsolute(program) ? program : builtProgram(program), ...args], {
    cwd: options.cwd,
    env: { PATH: process.env.PATH, ...options.env },
  });
  child.stdin.end(options.input ?? "");
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((resolve) => child.once("close", resolve)),
  ]);
  return { code, stdout, stderr };
}
