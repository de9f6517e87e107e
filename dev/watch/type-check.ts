/** Checks types beside `npm run dev`: code with wrong types runs, so it is only said. One check at a time. */
import { type ChildProcess, spawn } from "node:child_process";
import { constants, setPriority } from "node:os";

const MOST_SHOWN = 10;

export interface TypeCheck {
  /** Begins anew; a check that is under way is dropped. */
  restart(): void;
  stop(): void;
}

/** @param told called with the mistakes, and once with none when they are gone */
export function typeCheck(root: string, told: (mistakes: string[]) => void): TypeCheck {
  let running: ChildProcess | undefined;
  let hadMistakes = false;

  function stop(): void {
    if (running !== undefined) end(running);
    running = undefined;
  }

  return {
    stop,
    restart() {
      stop();
      const args = ["-p", "tsconfig.build.json", "--noEmit", "--pretty", "false"];
      const check = spawn("node_modules/.bin/tsc", args, {
        cwd: root,
        detached: true, // a group of its own: see end()
        stdio: ["ignore", "pipe", "ignore"],
      });
      running = check;
      // Whoever calls a tool meanwhile comes first.
      if (check.pid !== undefined) setPriority(check.pid, constants.priority.PRIORITY_BELOW_NORMAL);
      let output = "";
      check.stdout.on("data", (chunk: Buffer) => {
        output += chunk.toString();
      });
      check.on("error", () => {}); // not installed: nothing is checked
      check.once("close", () => {
        if (running !== check) return;
        running = undefined;
        const mistakes = output.split("\n").filter((line) => /^\S+\(\d+,\d+\): error/.test(line));
        if (mistakes.length > 0 || hadMistakes) told(mistakes.slice(0, MOST_SHOWN));
        hadMistakes = mistakes.length > 0;
      });
    },
  };
}

/** Before Node 22.15 the compiler is a process that tsc has started: it would go on without it, and takes much memory. */
function end(check: ChildProcess): void {
  try {
    if (check.pid !== undefined) process.kill(-check.pid, "SIGKILL");
  } catch {
    check.kill("SIGKILL"); // where there are no groups; or it has ended
  }
}
