/** `npm run admin`: the operator's command line. Reads the same environment as the server. */
import { Command, CommanderError } from "commander";
import { clientsCommand } from "./admin/clients-command.ts";
import { type Context, EXIT, UsageError } from "./admin/command.ts";
import { grantsCommand } from "./admin/grants-command.ts";
import { type ExplainOptions, explainPolicy, explanationInWords } from "./admin/policy-explain.ts";
import { terminalOf } from "./admin/terminal.ts";
import { harmless } from "./admin/words.ts";
import { loadConfig } from "./config.ts";
import { readEnvironment } from "./environment.ts";
import { causes } from "./oauth/errors.ts";

const context: Context = {
  terminal: terminalOf(process),
  loadConfig: () => loadConfig(readEnvironment()),
  finish(exit) {
    process.exitCode = exit;
  },
};

const program = new Command("admin")
  .description("Look at, and change, what this deployment of mcp-oidc-proxy holds.")
  .exitOverride()
  .showHelpAfterError()
  .addHelpText("after", "\nExit codes: 0 done, 1 a problem, 2 nothing matched or a wrong command line.");

const collect = (value: string, values: string[] = []) => [...values, value];

program
  .command("policy")
  .description("the policy (POLICY_FILE)")
  .command("explain")
  .description("what the policy says of one person, one client and one tool, and by which rule")
  .requiredOption("--user <subject>", "the user's sub at the identity provider")
  .option("--client <id>", "the client's id (as in the log); left out: that of their latest session")
  .option("--tool <name>", "the tool …")
  .option("--resource <uri>", "… or the resource …")
  .option("--prompt <name>", "… or the prompt")
  .option("--group <name>", "take them to be in this group, whatever the session says (repeatable)", collect)
  .option("--organization <id>", "take them to be of this organization (repeatable)", collect)
  .option("--email <address>", "take this to be their verified e-mail address")
  .option("--redirect-uri <uri>", "where the client receives its codes")
  .option("--json", "for programs")
  .action(
    async ({ json, group = [], organization = [], ...rest }: Partial<ExplainOptions> & { json?: true }) => {
      const config = loadConfig(readEnvironment());
      // Imported here, so that a mistake in the declaration of a tool is told like every other problem.
      const { createTools, ...declared } = await import("./tools/index.ts");
      const offered = { ...declared, tools: createTools({ weather: { ...config.weather, source: "" } }) };
      const options = { ...(rest as ExplainOptions), group, organization };
      const answer = await explainPolicy(options, config, offered);
      print(json ? JSON.stringify(answer) : explanationInWords(answer, config.policyFile ?? ""));
    },
  );

for (const command of [grantsCommand(context), clientsCommand(context)])
  program.addCommand(inheriting(command));

// Whoever reads may have enough: `admin grants list | head`.
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => process.exit(code === "EPIPE" ? 0 : 1));

try {
  await program.parseAsync();
  process.exit(); // a connection to the store that never came about would keep the process alive
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? EXIT.done : EXIT.nothing); // it has said why
  // Replies of a server, and ids of strangers, may be in it.
  process.stderr.write(`${causes(error).split("\n").map(harmless).join("\n")}\n`);
  process.exit(error instanceof UsageError ? EXIT.nothing : EXIT.problem);
}

/** A command that was built elsewhere does not exit by itself either. */
function inheriting(command: Command): Command {
  for (const each of command.commands) each.copyInheritedSettings(program);
  return command.copyInheritedSettings(program);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
