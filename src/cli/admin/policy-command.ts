/** `admin policy`: what the policy says, and why. */
import { Command, Option } from "commander";
import { PRINCIPAL_KINDS } from "../../access/principal.ts";
import { loadOffered } from "../../server/offered.ts";
import { type Context, EXIT } from "./command.ts";
import { type ExplainOptions, explainPolicy, explanationInWords, namedPrincipal } from "./policy-explain.ts";
import { jsonLine } from "./words.ts";

const collect = (value: string, values: string[] = []) => [...values, value];

type Typed = Partial<ExplainOptions> & { json?: true; tools?: string };

export function policyCommand({ loadConfig, terminal, finish }: Context): Command {
  const policy = new Command("policy").description("the policy (POLICY_FILE)");
  policy
    .command("explain")
    .description("what the policy says of one caller, one client and one tool, and by which rule")
    .addOption(
      new Option("--kind <kind>", "who calls: a person, a client for itself, or a workload")
        .choices(PRINCIPAL_KINDS)
        .default("user"),
    )
    .option("--user <subject>", "the sub of the user or workload at their issuer")
    .option(
      "--issuer <uri>",
      "who names them: the issuer, or the name of an identity provider in CONFIG_FILE; left out: the only identity provider, and of a client, this server",
    )
    .option("--client <id>", "the client's id (as in the log); left out: that of their latest session")
    .option("--tool <name>", "the tool …")
    .option("--resource <uri>", "… or the resource …")
    .option("--prompt <name>", "… or the prompt")
    .option(
      "--group <name>",
      "take them to be in this group, whatever the session says (repeatable)",
      collect,
    )
    .option("--organization <id>", "take them to be of this organization (repeatable)", collect)
    .option("--email <address>", "take this to be their verified e-mail address")
    .option("--redirect-uri <uri>", "where the client receives its codes")
    .option(
      "--protected-resource <path>",
      "at which of several resources: its path in CONFIG_FILE, or its URI; left out: the only one that has it",
    )
    .option("--tools <file>", "the module whose tools the server is started with (TOOLS_MODULE)")
    .option("--json", "for programs")
    .action(async ({ json, tools, group = [], organization = [], ...rest }: Typed) => {
      namedPrincipal(rest as ExplainOptions, (issuer = "") => issuer); // a mistake in the command is told before anything is read
      const config = loadConfig(tools);
      const offered = await loadOffered(config);
      const options = { ...(rest as ExplainOptions), group, organization };
      const answer = await explainPolicy(options, config, offered);
      terminal.print(
        json
          ? jsonLine(answer)
          : explanationInWords(answer, config.policyFile ?? "", config.resources.length > 1),
      );
      finish(EXIT.done);
    });
  return policy;
}
