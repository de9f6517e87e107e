/** The doctor's command line as a function: what was typed in, what is said and the exit code out. */
import { randomBytes } from "node:crypto";
import { text } from "node:stream/consumers";
import { Command, CommanderError } from "commander";
import { pino } from "pino";
import { loadConfig, resourcesConfig } from "../../config/config.ts";
import { type SettingOptions, withOptions } from "../../config/environment.ts";
import { type Environment, Settings } from "../../config/settings.ts";
import { causes } from "../../oauth/errors.ts";
import { systemClock } from "../../runtime/runtime.ts";
import { loadOffered, type Offered } from "../../server/offered.ts";
import type { Streams } from "../streams.ts";
import type { Patience } from "./deployment.ts";
import { examine } from "./examine.ts";
import {
  exitCode,
  findingsInWords,
  reportForPrograms,
  reportInWords,
  secretsOf,
  withoutSecrets,
} from "./report.ts";
import { explainTokenHere } from "./token-here.ts";

type Options = SettingOptions & { json?: true };

/**
 * @param args what comes after the program's name
 * @returns the exit code
 */
export async function runDoctor(
  args: readonly string[],
  readEnvironment: () => Environment,
  { stdin, stdout, stderr }: Streams,
  patience: Patience,
): Promise<number> {
  let exit = 0;
  const print = (said: string | object, secrets: readonly string[]) => {
    const hidden = (text: string) => withoutSecrets(text, secrets);
    const hide = (_: string, each: unknown) => (typeof each === "string" ? hidden(each) : each);
    stdout.write(`${typeof said === "string" ? hidden(said) : JSON.stringify(said, hide)}\n`);
  };

  async function lookAtDeployment({ json, ...options }: Options): Promise<void> {
    const environment = withOptions(readEnvironment(), options);
    if (stderr.isTTY) stderr.write("Looking …\n");
    const features = await declaredFeatures(environment).catch((broken: Error) => ({ broken }));
    const node = { version: process.version, lts: process.release.lts };
    const runtime = { now: systemClock, randomBytes, log: pino({ level: "silent" }) };
    const examination = await examine(environment, features, { ...runtime, node, patience });
    exit = exitCode(examination.sections);
    print((json ? reportForPrograms : reportInWords)(examination), secretsOf(environment));
  }

  async function lookAtToken(argument: string, { json, ...options }: Options): Promise<void> {
    const environment = withOptions(readEnvironment(), options);
    const config = loadConfig(environment);
    if (argument === "-" && stdin.isTTY) stderr.write("Paste the token, then Enter and Ctrl+D:\n");
    const token = argument === "-" ? await text(stdin) : argument;
    const findings = await explainTokenHere(token, config, await declaredFeatures(environment));
    exit = findings.every(({ status }) => status === "ok" || status === "warning") ? 0 : 1;
    const report = json ? { accepted: exit === 0, findings } : findingsInWords(findings);
    print(report, [...secretsOf(environment), token.trim()]);
  }

  const program = new Command("doctor")
    .description(
      "Checks this deployment of mcp-oidc-proxy from its settings to its public address, and says what to do.\nEnds with 0 if it can serve, with 1 if it cannot. Nothing is changed, no secret is printed.",
    )
    .option("--json", "for programs")
    .option("--tools <file>", "the module whose tools the server is started with (TOOLS_MODULE)")
    .option("--server <url>", "the MCP server that it is started in front of (BACKEND_URL)")
    .option("--config <file>", "the file of settings that it is started with (CONFIG_FILE)")
    .exitOverride()
    .showHelpAfterError()
    .configureOutput({
      writeOut: (words) => void stdout.write(words),
      writeErr: (words) => void stderr.write(words),
    })
    .action(lookAtDeployment);
  program
    .command("token")
    .description("why a bearer token (access or refresh) is accepted or refused, and at which stage")
    .argument("<token>", "the token; or -, and it is read from standard input and not in the shell's history")
    .action((argument: string, _options: object, command: Command) =>
      lookAtToken(argument, command.optsWithGlobals<Options>()),
    );

  try {
    await program.parseAsync(args, { from: "user" });
    return exit;
  } catch (error) {
    // Commander has said what is wrong with the command line.
    if (error instanceof CommanderError) return error.exitCode;
    stderr.write(`${causes(error)}\n`);
    return 1;
  }
}

/** Imported here, so that a mistake in the declaration of a tool is a finding. */
async function declaredFeatures(environment: Environment): Promise<Offered> {
  // By itself, as the configuration reads it: another setting may be wrong.
  return loadOffered({ resources: resourcesConfig(new Settings(environment), undefined, "") });
}
