/**
 * What `npm run manifest` does: writes mcp-manifest.json, of every resource that is configured here, or of the tools in `tools/`; with
 * `--check` it fails if server and manifest disagree, and warns about scopes that no sign-in asks the identity provider for.
 */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pino } from "pino";
import { type Config, ConfigError, loadConfig, resourcesConfig } from "../config/config.ts";
import { type Environment, Settings } from "../config/settings.ts";
import { createOidcProvider } from "../identity/oidc/oidc.ts";
import { differences, type Manifest } from "../mcp/authoring/manifest.ts";
import { causes } from "../oauth/errors.ts";
import { openProxiedFetch } from "../runtime/proxied-fetch.ts";
import { systemClock } from "../runtime/runtime.ts";
import { manifestOfAll } from "../server/manifest.ts";
import { catalogueOfAll, featuresOfEach, loadOffered, type Offered } from "../server/offered.ts";
import type { Streams } from "./streams.ts";

const FILE = "mcp-manifest.json";

/** Where it is run. */
interface Place {
  environment: Environment;
  /** The folder of the manifest. */
  folder: string;
  say(line: string): void;
  complain(line: string): void;
}

/**
 * Writes the manifest, or compares it.
 * @param environment read when it is needed, because what is wrong with it is told as any other mistake
 * @param folder of the manifest
 * @returns the exit code
 */
export async function runManifest(
  args: readonly string[],
  environment: () => Environment,
  folder: string,
  { stdout, stderr }: Streams,
): Promise<number> {
  const complain = (line: string) => void stderr.write(`${line}\n`);
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { check: { type: "boolean", default: false } },
    });
    const place = {
      environment: environment(),
      folder,
      say: (line: string) => void stdout.write(`${line}\n`),
      complain,
    };
    const resources = configuredResources(place);
    const offered = await loadOffered({ resources });
    const actual = manifestOfAll({ resources }, offered);
    if (values.check) return await check(actual, offered, place);
    write(actual, offered, place);
    return 0;
  } catch (error) {
    complain(causes(error));
    return 1;
  }
}

/** @throws ConfigError: without what CONFIG_FILE says of them, the manifest would be of another server */
function configuredResources({ environment }: Place): Config["resources"] {
  const settings = new Settings(environment);
  const { file } = settings;
  if (file !== undefined && file.resources === undefined) throw new ConfigError(file.problems);
  // Their paths and names are in it, and no URL.
  return resourcesConfig(settings, undefined, "");
}

async function check(actual: Manifest, offered: Offered, place: Place): Promise<number> {
  const found = differences(committed(place), actual);
  if (found.length > 0)
    place.complain(
      [`${FILE} and the server disagree:`, ...found, "If that is meant: npm run manifest"].join("\n"),
    );
  else place.say(`${FILE} says what the server offers.`);
  await warnOfUnaskedScopes(catalogueOfAll(offered).names, place);
  return found.length > 0 ? 1 : 0;
}

function write(actual: Manifest, offered: Offered, { folder, say }: Place): void {
  writeFileSync(join(folder, FILE), `${JSON.stringify(actual, null, 2)}\n`);
  const scopes = catalogueOfAll(offered).names.length;
  const tools = featuresOfEach(offered).flatMap((each) => each.tools).length;
  say(`${FILE} is written: ${scopes} scopes, ${tools} tools.`);
}

function committed({ folder }: Place): Manifest {
  try {
    return JSON.parse(readFileSync(join(folder, FILE), "utf8"));
  } catch {
    return {}; // missing or no JSON: everything is a difference
  }
}

async function warnOfUnaskedScopes(scopes: readonly string[], place: Place): Promise<void> {
  const config = configured(place);
  if (config === undefined)
    return place.say("The identity provider was not asked: there is no complete configuration here.");
  const proxied = config.outgoingProxy && (await openProxiedFetch(config.outgoingProxy));
  const runtime = { now: systemClock, randomBytes, log: pino({ level: "silent" }), fetch: proxied?.fetch };
  for (const settings of config.identityProviders) {
    const { issuer } = settings;
    const provider = createOidcProvider(settings, runtime);
    const unasked = await provider.unaskedScopes(scopes).catch(() => undefined);
    if (unasked === undefined) place.say(`Which scopes ${issuer} offers cannot be known from here.`);
    for (const scope of unasked ?? [])
      place.complain(
        `! ${issuer} does not list the scope ${scope}, nor does OIDC_SCOPES: nobody will be granted it.`,
      );
  }
  await proxied?.close();
}

function configured({ environment }: Place): Config | undefined {
  try {
    return loadConfig(environment);
  } catch {
    return undefined;
  }
}
