/** `npm run demo` as a process of its own, as it is built: started on a free port, ended by `endDemos`. */
import { type ChildProcess, spawn } from "node:child_process";
import { builtProgram } from "./built-program.ts";
import { eventually } from "./eventually.ts";
import { freePort } from "./free-port.ts";

export interface DemoProcess {
  child: ChildProcess;
  baseUrl: string;
  /** Everything that it printed so far. */
  output(): string;
}

const children: ChildProcess[] = [];
/** For the `after` of each file: files share a process, in which a hook of this module would be the first one's alone. */
export function endDemos(): void {
  for (const child of children.splice(0)) child.kill("SIGKILL");
}

export async function runDemo(
  environment: Record<string, string>,
  ...args: readonly string[]
): Promise<DemoProcess> {
  const port = await freePort();
  // Modules of tools are TypeScript.
  const loader = args.includes("--tools") ? ["--import", "tsx"] : [];
  const child = spawn(process.execPath, [...loader, builtProgram("dev/demo/demo"), ...args], {
    env: { PATH: process.env.PATH, PORT: String(port), ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
  return { child, output: () => text, baseUrl: `http://localhost:${port}` };
}

/** Resolves when it has printed its instructions. */
export async function startDemo(
  environment: Record<string, string> = {},
  ...args: readonly string[]
): Promise<DemoProcess> {
  let demo = await runDemo(environment, ...args);
  await eventually(
    "the demo's instructions",
    async () => {
      // It takes two or three ports in a row, of which only the first was looked for.
      if (demo.output().includes("is in use by another program")) demo = await runDemo(environment, ...args);
      if (demo.child.exitCode !== null) throw new Error(`It did not start:\n${demo.output()}`);
      return demo.output().includes("Stop with Ctrl+C");
    },
    120,
  );
  return demo;
}
