/** `npm run doctor`: is this deployment in order, and if not, what is to be done? Reads the server's environment. */
import { randomBytes } from "node:crypto";
import { text } from "node:stream/consumers";
import { Command, CommanderError } from "commander";
import { loadConfig } from "../config/config.ts";
import { readEnvironment, withTools } from "../config/environment.ts";
import { type Environment, Settings } from "../config/settings.ts";
import type { Features } from "../mcp/authoring/features.ts";
import { causes } from "../oauth/errors.ts";
import { loadFeatures } from "../server/tools-module.ts";
import { examine, PATIENCE } from "./doctor/examine.ts";
import {
  exitCode,
  findingsInWords,
  reportForPrograms,
  reportInWords,
  secretsOf,
  withoutSecrets,
} from "./doctor/report.ts";
import { explainTokenHere } from "./doctor/token-here.ts";

const program = new Command("doctor")
  .description(
    "Checks this deployment of mcp-oidc-proxy from its settings to its public address, and says what to do.\nEnds with 0 if it can serve, with 1 if it cannot. Nothing is changed, no secret is printed.",
  )
  .option("--json", "for programs")
  .option("--tools <file>", "the module whose tools the server is started with (TOOLS_MODULE)")
  .exitOverride()
  .showHelpAfterError();

interface Options {
  json?: true;
  tools?: string;
}

program.action(async ({ json, tools }: Options) => {
  const environment = withTools(readEnvironment(), tools);
  if (process.stderr.isTTY) process.stderr.write("Looking …\n");
  const features = await declaredFeatures(environment).catch((broken: Error) => ({ broken }));
  const around = {
    nowMs: Date.now,
    randomBytes,
    node: { version: process.version, lts: process.release.lts },
    patience: PATIENCE,
  };
  const examination = await examine(environment, features, around);
  const secrets = secretsOf(environment);
  print(
    json
      ? jsonOf(reportForPrograms(examination), secrets)
      : withoutSecrets(reportInWords(examination), secrets),
  );
  process.exit(exitCode(examination.sections));
});

program
  .command("token")
  .description("why a bearer token (access or refresh) is accepted or refused, and at which stage")
  .argument(
    "<token>",
    "the token, or - to read it from standard input, so that it stays out of the shell's history",
  )
  .action(async (argument: string, _options: object, command: Command) => {
    const { json, tools } = command.optsWithGlobals<Options>();
    const environment = withTools(readEnvironment(), tools);
    const config = loadConfig(environment);
    if (argument === "-" && process.stdin.isTTY)
      process.stderr.write("Paste the token, then Enter and Ctrl+D:\n");
    const token = argument === "-" ? await text(process.stdin) : argument;
    const findings = await explainTokenHere(token, config, await declaredFeatures(environment));
    const secrets = [...secretsOf(environment), token.trim()];
    const code = findings.every(({ status }) => status === "ok" || status === "warning") ? 0 : 1;
    print(
      json
        ? jsonOf({ accepted: code === 0, findings }, secrets)
        : withoutSecrets(findingsInWords(findings), secrets),
    );
    process.exit(code);
  });

try {
  await program.parseAsync();
} catch (error) {
  // Commander has said what is wrong with the command line.
  if (!(error instanceof CommanderError)) process.stderr.write(`${causes(error)}\n`);
  process.exit(error instanceof CommanderError ? error.exitCode : 1);
}

/** Imported here, so that a mistake in the declaration of a tool is a finding. */
async function declaredFeatures(environment: Environment): Promise<Features> {
  // By itself, as the configuration reads it: another setting may be wrong.
  const toolsModule = new Settings(environment).optional("TOOLS_MODULE");
  return loadFeatures({ ...(toolsModule !== undefined && { toolsModule }) });
}

function jsonOf(value: object, secrets: readonly string[]): string {
  return JSON.stringify(value, (_, each) =>
    typeof each === "string" ? withoutSecrets(each, secrets) : each,
  );
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
