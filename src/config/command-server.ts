/**
 * `command` of a resource in CONFIG_FILE, in place of `tools`: an MCP server over stdio, which this one starts.
 */
import { z } from "zod";
import type { BackendSettings, StdioReach } from "../mcp/backends/backend-settings.ts";
import { type Mistake, mistakesIn } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import { backendBounds, backendNeedsMistakes } from "./backend-values.ts";
import { isMap } from "./file-keys.ts";
import { textThat, wholeNumber } from "./file-values.ts";
import { below, neededScopes } from "./needs.ts";

const part = z.string().refine((value) => !value.includes("\0"), {
  error: "remove it",
  params: { problem: "has a character in it that no program can be given" },
});
const program = textThat((value) => {
  if (value.includes("\0")) return ["has a character in it that no program can be given", "remove it"];
  if (/\s/.test(value) && !value.includes("/"))
    return [
      "is a program with a space in its name",
      'write each argument by itself, such as [npx, "-y", some-server]: there is no shell',
    ];
  return undefined;
});
const VariableName = z.string().refine((name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name), {
  error: "write letters, digits and _, such as API_KEY",
  params: { problem: "is no name for a variable" },
});

const CommandServer = z.object({
  command: z.tuple([program], part),
  env: z.record(VariableName, part).default({}),
  processPer: z.enum(["server", "principal"]).default("server"),
  maxProcesses: wholeNumber(1, 1_000, "20").default(20),
  ...backendBounds,
});

export const COMMAND_SERVER_KEYS = Object.keys(CommandServer.shape);

/** Whether an entry of `resources` is a program that this server starts. */
export function isCommandServer(entry: unknown): boolean {
  return isMap(entry) && Object.hasOwn(entry, "command");
}

/** Everything that is wrong with one. */
export function commandServerMistakes(entry: Record<string, unknown>, at: Path): Mistake[] {
  const { processPer, maxProcesses } = entry;
  return [
    ...below(at, mistakesIn(entry, CommandServer)),
    ...(maxProcesses !== undefined && processPer !== "principal"
      ? [
          {
            at: [...at, "maxProcesses"],
            problem: "limits nothing: there is one process",
            remedy: "remove it, or write processPer: principal",
          },
        ]
      : []),
    ...backendNeedsMistakes(entry, at),
  ];
}

/** One in which nothing is wrong. */
export function commandServerOf(entry: Record<string, unknown>): BackendSettings & { reach: StdioReach } {
  const { env: environment, ...reach } = CommandServer.parse(entry);
  return { reach: { kind: "stdio", environment, ...reach }, needs: neededScopes(entry.needs) };
}
