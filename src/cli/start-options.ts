/** What may stand behind the command that starts the server: each option is a setting, and comes before the environment's. */
import { parseArgs } from "node:util";
import type { SettingOptions } from "../config/environment.ts";
import { nearestName } from "../runtime/nearest-name.ts";

/** The command line is wrong: its message says what to write. */
export class CommandLineError extends Error {}

const OPTIONS = ["server", "tools", "config"] as const;
const EXAMPLES = {
  server: "the URL of an MCP server, such as http://localhost:8000/mcp",
  tools: "a module of tools, such as ./tools.js",
  config: "a file of settings, such as ./server.yaml",
};

/**
 * @param args what comes after the program's name
 * @throws CommandLineError
 */
export function startOptions(args: readonly string[]): SettingOptions {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(OPTIONS.map((name) => [name, { type: "string" as const }])),
    strict: false, // otherwise it says itself what is wrong, and not what to do
    allowPositionals: true,
    tokens: true,
  });
  const options: SettingOptions = {};
  for (const token of tokens) {
    if (token.kind !== "option")
      throw new CommandLineError(
        `"${token.kind === "positional" ? token.value : "--"}" belongs to no option: write ${OPTIONS.map((name) => `--${name} …`).join(", ")} or nothing.`,
      );
    const name = OPTIONS.find((each) => each === token.name);
    if (name === undefined) throw new CommandLineError(unknown(token.rawName, token.name));
    const value = token.value?.trim() ?? "";
    // Of `--server --config x` the second is no URL.
    if (value === "" || (!token.inlineValue && value.startsWith("-")))
      throw new CommandLineError(`--${name} needs ${EXAMPLES[name]}.`);
    if (options[name] !== undefined) throw new CommandLineError(`--${name} is there twice: keep one.`);
    options[name] = value;
  }
  if (options.server !== undefined && options.tools !== undefined)
    throw new CommandLineError(
      "--server and --tools are both there: keep one of them, or give each a resource of its own in --config FILE.",
    );
  return options;
}

function unknown(written: string, name: string): string {
  const meant = nearestName(name, OPTIONS);
  const known = OPTIONS.map((each) => `--${each}`).join(", ");
  return `There is no option ${written}: ${meant === undefined ? `there are ${known}` : `write --${meant} if you mean that`}. Everything else is a setting of the environment (.env.example).`;
}
