/** The doctor's command line as a function: what was typed in, what is said and the exit code out. */
import { randomBytes } from "node:crypto";
import { text } from "node:stream/consumers";
import { Command, CommanderError } from "commander";
import { loadConfig } from "../../config/config.ts";
import { withTools } from "../../config/environment.ts";
import { type Environment, Settings } from "../../config/settings.ts";
import type { Features } from "../../mcp/authoring/features.ts";
import { causes } from "../../oauth/errors.ts";
import { loadFeatures } from "../../server/tools-module.ts";
import type { Streams } from "../streams.ts";
import { examine, type Patience } from "./examine.ts";
import {
  exitCode,
  findingsInWords,
  reportForPrograms,
  reportInWords,
  secretsOf,
  withoutSecrets,
} from "./report.ts";
import { explainTokenHere } from "./token-here.ts";

interface Options {
  json?: true;
  tools?: string;
}

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
    const hide = (_: string, each: unknown) =>
      typeof each === "string" ? withoutSecrets(each, secrets) : each;
    const words = typeof said === "string" ? withoutSecrets(said, secrets) : JSON.stringify(said, hide);
    stdout.write(`${words}\n`);
  };

  async function lookAtDeployment({ json, tools }: Options): Promise<void> {
    const environment = withTools(readEnvironment(), tools);
    if (stderr.isTTY) stderr.write("Looking …\n");
    const features = await declaredFeatures(environment).catch((broken: Error) => ({ broken }));
    const node = { version: process.version, lts: process.release.lts };
    const examination = await examine(environment, features, {
      nowMs: Date.now,
      randomBytes,
      node,
      patience,
    });
    exit = exitCode(examination.sections);
    print((json ? reportForPrograms : reportInWords)(examination), secretsOf(environment));
  }

  async function lookAtToken(argument: string, { json, tools }: Options): Promise<void> {
    const environment = withTools(readEnvironment(), tools);
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
    .argument(
      "<token>",
      "the token, or - to read it from standard input, so that it stays out of the shell's history",
    )
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
async function declaredFeatures(environment: Environment): Promise<Features> {
  // By itself, as the configuration reads it: another setting may be wrong.
  const toolsModule = new Settings(environment).optional("TOOLS_MODULE");
  return loadFeatures({ ...(toolsModule !== undefined && { toolsModule }) });
}
