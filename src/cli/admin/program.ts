/** The operator's command line as a function: what was typed in, what is said and the exit code out. */
import { Command, CommanderError } from "commander";
import { loadConfig } from "../../config/config.ts";
import { withTools } from "../../config/environment.ts";
import type { Environment } from "../../config/settings.ts";
import { causes } from "../../oauth/errors.ts";
import type { Streams } from "../streams.ts";
import { backendCommand } from "./backend-command.ts";
import { clientsCommand } from "./clients-command.ts";
import { type Context, EXIT, type Exit, UsageError } from "./command.ts";
import { grantsCommand } from "./grants-command.ts";
import { policyCommand } from "./policy-command.ts";
import { terminalOf } from "./terminal.ts";

/** @param args what comes after the program's name */
export async function runAdmin(
  args: readonly string[],
  readEnvironment: () => Environment,
  streams: Streams,
): Promise<Exit> {
  let exit: Exit = EXIT.done;
  const terminal = terminalOf(streams);
  const context: Context = {
    terminal,
    stderr: streams.stderr,
    environment: readEnvironment,
    loadConfig: (tools) => loadConfig(withTools(readEnvironment(), tools)),
    finish(code) {
      exit = code;
    },
  };
  try {
    await programOf(context).parseAsync(args, { from: "user" });
    return exit;
  } catch (error) {
    // It has said why, or shown what was asked for: help.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.nothing;
    terminal.say(causes(error));
    return error instanceof UsageError ? EXIT.nothing : EXIT.problem;
  }
}

function programOf(context: Context): Command {
  const program = new Command("admin")
    .description("Look at, and change, what this deployment of mcp-oidc-proxy holds.")
    .exitOverride()
    .showHelpAfterError()
    .configureOutput({
      writeOut: (text) => context.terminal.print(text.trimEnd()),
      writeErr: (text) => context.terminal.say(text.trimEnd()),
    })
    .addHelpText("after", "\nExit codes: 0 done, 1 a problem, 2 nothing matched or a wrong command line.");
  const commands = [grantsCommand, clientsCommand, policyCommand, backendCommand];
  for (const command of commands.map((each) => each(context))) {
    for (const each of [command, ...command.commands]) each.copyInheritedSettings(program);
    program.addCommand(command);
  }
  return program;
}
