/**
 * `npm run manifest` writes mcp-manifest.json; with `--check` it fails if tools and manifest disagree, and warns about
 * scopes that the identity provider does not offer.
 */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { type Config, loadConfig } from "./config.ts";
import { readEnvironment } from "./environment.ts";
import { differences, type Manifest, manifestOf } from "./mcp/manifest.ts";
import { missingScopes } from "./oauth/scope.ts";
import { systemClock } from "./surroundings.ts";
import { createTools, prompts, resources, scopes } from "./tools/index.ts";
import { createOidcProvider } from "./upstream/oidc.ts";

const FILE = "mcp-manifest.json";
// Declared only; nothing is called here.
const weather = { geocodingUrl: "", forecastUrl: "", timeoutSeconds: 1, source: "" };

const { values } = parseArgs({ options: { check: { type: "boolean", default: false } } });
const actual = manifestOf({ tools: createTools({ weather }), resources, prompts, scopes });

if (values.check) {
  const found = differences(committed(), actual);
  if (found.length > 0) {
    console.error(
      [`${FILE} and the server disagree:`, ...found, "If that is meant: npm run manifest"].join("\n"),
    );
    process.exitCode = 1;
  } else console.log(`${FILE} says what the server offers.`);
  await warnOfUnofferedScopes();
} else {
  writeFileSync(FILE, `${JSON.stringify(actual, null, 2)}\n`);
  console.log(
    `${FILE} is written: ${Object.keys(scopes).length} scopes, ${createTools({ weather }).length} tools.`,
  );
}

function committed(): Manifest {
  try {
    return JSON.parse(readFileSync(FILE, "utf8"));
  } catch {
    return {}; // missing or no JSON: everything is a difference
  }
}

async function warnOfUnofferedScopes(): Promise<void> {
  const config = configured();
  if (config === undefined)
    return console.log("The identity provider was not asked: there is no complete configuration here.");
  const { upstream } = config;
  const unknown = () => console.log(`Which scopes ${upstream.issuer} offers cannot be known from here.`);
  const { scopeSources } = upstream;
  if (scopeSources.kind !== "provider" || scopeSources.claim !== undefined) return unknown();
  const provider = createOidcProvider(upstream, {
    now: systemClock,
    randomBytes,
    log: pino({ level: "silent" }),
  });
  const offered = await provider.offeredScopes().catch(() => undefined);
  if (offered === undefined) return unknown();
  for (const scope of missingScopes(Object.keys(scopes), offered))
    console.warn(`! ${upstream.issuer} does not offer the scope ${scope}: nobody will be granted it.`);
}

function configured(): Config | undefined {
  try {
    return loadConfig(readEnvironment());
  } catch {
    return undefined;
  }
}
