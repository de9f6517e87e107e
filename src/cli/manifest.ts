/**
 * `npm run manifest` writes mcp-manifest.json; with `--check` it fails if tools and manifest disagree, and warns about
 * scopes that no sign-in asks the identity provider for.
 */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { type Config, loadConfig } from "../config/config.ts";
import { readEnvironment } from "../config/environment.ts";
import { createOidcProvider } from "../identity/oidc/oidc.ts";
import { differences, type Manifest, manifestOf } from "../mcp/authoring/manifest.ts";
import { systemClock } from "../runtime/runtime.ts";
import { prompts, resources, scopes, tools } from "../tools/index.ts";

const FILE = "mcp-manifest.json";

const { values } = parseArgs({ options: { check: { type: "boolean", default: false } } });
const actual = manifestOf({ tools, resources, prompts, scopes });

if (values.check) {
  const found = differences(committed(), actual);
  if (found.length > 0) {
    console.error(
      [`${FILE} and the server disagree:`, ...found, "If that is meant: npm run manifest"].join("\n"),
    );
    process.exitCode = 1;
  } else console.log(`${FILE} says what the server offers.`);
  await warnOfUnaskedScopes();
} else {
  writeFileSync(FILE, `${JSON.stringify(actual, null, 2)}\n`);
  console.log(`${FILE} is written: ${Object.keys(scopes).length} scopes, ${tools.length} tools.`);
}

function committed(): Manifest {
  try {
    return JSON.parse(readFileSync(FILE, "utf8"));
  } catch {
    return {}; // missing or no JSON: everything is a difference
  }
}

async function warnOfUnaskedScopes(): Promise<void> {
  const config = configured();
  if (config === undefined)
    return console.log("The identity provider was not asked: there is no complete configuration here.");
  const runtime = { now: systemClock, randomBytes, log: pino({ level: "silent" }) };
  for (const settings of config.identityProviders) {
    const { issuer } = settings;
    const provider = createOidcProvider(settings, runtime);
    const unasked = await provider.unaskedScopes(Object.keys(scopes)).catch(() => undefined);
    if (unasked === undefined) console.log(`Which scopes ${issuer} offers cannot be known from here.`);
    for (const scope of unasked ?? [])
      console.warn(
        `! ${issuer} does not list the scope ${scope}, nor does OIDC_SCOPES: nobody will be granted it.`,
      );
  }
}

function configured(): Config | undefined {
  try {
    return loadConfig(readEnvironment());
  } catch {
    return undefined;
  }
}
