/** `npm run admin`: the operator's command line. Reads the same environment as the server. */
import { Command, CommanderError } from "commander";
import { type ExplainOptions, explainPolicy, explanationInWords } from "./admin/policy-explain.ts";
import { loadConfig } from "./config.ts";
import { readEnvironment } from "./environment.ts";
import { causes } from "./oauth/errors.ts";
import { loadFeatures } from "./tools-module.ts";

const program = new Command("admin")
  .description("Look at, and change, what this deployment of mcp-oidc-proxy holds.")
  .exitOverride()
  .showHelpAfterError();

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
      const offered = await loadFeatures(config, "");
      const options = { ...(rest as ExplainOptions), group, organization };
      const answer = await explainPolicy(options, config, offered);
      print(json ? JSON.stringify(answer) : explanationInWords(answer, config.policyFile ?? ""));
    },
  );

try {
  await program.parseAsync();
  process.exit(0); // a connection to the store that never came about would keep the process alive
} catch (error) {
  // Commander has said what is wrong with the command line.
  if (!(error instanceof CommanderError)) process.stderr.write(`${causes(error)}\n`);
  process.exit(error instanceof CommanderError ? error.exitCode : 1);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
