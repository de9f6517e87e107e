/** `npm run doctor`: is this deployment in order, and if not, what is to be done? Reads the server's environment. */
import { randomBytes } from "node:crypto";
import { text } from "node:stream/consumers";
import { Command, CommanderError } from "commander";
import { loadConfig } from "./config.ts";
import { examine } from "./doctor/examine.ts";
import {
  exitCode,
  findingsInWords,
  reportForPrograms,
  reportInWords,
  secretsOf,
  withoutSecrets,
} from "./doctor/report.ts";
import { explainTokenHere } from "./doctor/token-here.ts";
import { readEnvironment } from "./environment.ts";
import type { Features } from "./mcp/features.ts";
import { causes } from "./oauth/errors.ts";
import { loadFeatures } from "./tools-module.ts";

const program = new Command("doctor")
  .description(
    "Checks this deployment of mcp-oidc-proxy from its settings to its public address, and says what to do.\nEnds with 0 if it can serve, with 1 if it cannot. Nothing is changed, no secret is printed.",
  )
  .option("--json", "for programs")
  .exitOverride()
  .showHelpAfterError();

program.action(async ({ json }: { json?: true }) => {
  const environment = readEnvironment();
  if (process.stderr.isTTY) process.stderr.write("Looking …\n");
  const features = await declaredFeatures(environment).catch((broken: Error) => ({ broken }));
  const around = { nowMs: Date.now, randomBytes, nodeVersion: process.version };
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
  .option("--json", "for programs")
  .action(async (argument: string, { json }: { json?: true }, command: Command) => {
    const environment = readEnvironment();
    const config = loadConfig(environment);
    if (argument === "-" && process.stdin.isTTY)
      process.stderr.write("Paste the token, then Enter and Ctrl+D:\n");
    const token = argument === "-" ? await text(process.stdin) : argument;
    const findings = await explainTokenHere(token, config, await declaredFeatures(environment));
    const secrets = [...secretsOf(environment), token.trim()];
    const code = findings.every(({ status }) => status === "ok" || status === "warning") ? 0 : 1;
    print(
      (json ?? command.optsWithGlobals().json)
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
async function declaredFeatures({ TOOLS_MODULE }: NodeJS.ProcessEnv): Promise<Features> {
  // No tool is run: where they would ask does not matter.
  const nowhere = "https://weather.invalid/";
  const weather = { geocodingUrl: nowhere, forecastUrl: nowhere, timeoutSeconds: 1 };
  return loadFeatures({ weather, ...(TOOLS_MODULE && { toolsModule: TOOLS_MODULE }) }, "");
}

function jsonOf(value: object, secrets: readonly string[]): string {
  return JSON.stringify(value, (_, each) =>
    typeof each === "string" ? withoutSecrets(each, secrets) : each,
  );
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
