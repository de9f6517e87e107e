/** What the image has in /app, made by the commands of the Dockerfile. What needs other users or a container engine is left out. */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildOnce } from "./built-program.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

export interface ImageTree {
  folder: string;
  /** The command that a container runs if it is told no other. */
  command: [program: string, ...args: string[]];
  remove(): void;
}

export function makeImageTree(): ImageTree {
  buildOnce();
  const folder = mkdtempSync(join(tmpdir(), "image-"));
  for (const name of ["dist", "scripts"])
    cpSync(join(root, name), join(folder, name), {
      recursive: true,
      filter: (path) => !path.includes(".compile-cache"),
    });
  cpSync(join(root, "package.json"), join(folder, "package.json"));
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const { commands, start } = ofDockerfile();
  execFileSync("sh", ["-ec", commands], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  rmSync(join(folder, "scripts"), { recursive: true });
  return { folder, command: start, remove: () => rmSync(folder, { recursive: true }) };
}

/** What follows the build, which has been made. */
function ofDockerfile(): { commands: string; start: ImageTree["command"] } {
  const dockerfile = readFileSync(join(root, "Dockerfile"), "utf8");
  const [, commands] = /^RUN npm run build && (.+)$/m.exec(dockerfile) ?? [];
  const [, start] = /^CMD (\[.+)$/m.exec(dockerfile.split("AS production\n")[1] ?? "") ?? [];
  if (commands === undefined || start === undefined)
    throw new Error("The Dockerfile does not say what was expected");
  return { commands, start: JSON.parse(start) };
}
