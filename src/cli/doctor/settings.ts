/** What the environment says: every problem that would keep the server from starting, and what looks like a slip. */
import { statSync } from "node:fs";
import { type Config, ConfigError, issuersConfig, loadConfig, secretKeys } from "../../config/config.ts";
import { identityProvidersConfig } from "../../config/identity-provider.ts";
import { type Environment, MAY_BE_QUOTED, Settings } from "../../config/settings.ts";
import { type StoreConfig, storeConfig } from "../../config/store.ts";
import type { AtLeastOne } from "../../identity/identity-providers.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import type { TrustedIssuer } from "../../issuers/trusted-issuer.ts";
import { nearestName } from "../../runtime/nearest-name.ts";
import type { SettingProblem } from "../../runtime/setting-problem.ts";
import { checkOf, type Finding, type Found, findingsIn, settingFailure } from "./finding.ts";

/** As much of the configuration as is right: what is wrong in one part must not keep the others from being checked. */
export interface Parts {
  /** Only if everything is right. */
  config: Config | undefined;
  baseUrl: string | undefined;
  identityProviders: AtLeastOne<IdentityProviderSettings> | undefined;
  issuers: readonly TrustedIssuer[] | undefined;
  store: StoreConfig | undefined;
  secretKeys: readonly string[];
  problems: readonly SettingProblem[];
}

export function readParts(environment: Environment): Parts {
  const baseUrl = part(environment, (settings) => settings.publicUrl("BASE_URL", ""));
  const parts = {
    baseUrl,
    identityProviders: part(environment, identityProvidersConfig),
    issuers: part(environment, (settings) => issuersConfig(settings, baseUrl)),
    store: part(environment, storeConfig),
    secretKeys: part(environment, secretKeys) ?? [],
  };
  try {
    return { ...parts, config: loadConfig(environment), problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { ...parts, config: undefined, problems: error.problems };
  }
}

function part<T>(environment: Environment, read: (settings: Settings) => T): T | undefined {
  const settings = new Settings(environment);
  const ofFile = settings.problems.length;
  const value = read(settings);
  return settings.problems.length === ofFile && !settings.hasReadFaulty ? value : undefined;
}

export function checkSettings(environment: Environment, { problems }: Pick<Parts, "problems">): Finding[] {
  const valid = checkOf("settings.valid")`✓ Every setting is understood`;
  return findingsIn([
    problems.length === 0 ? valid : problems.map((problem) => settingFailure("settings.valid", problem)),
    settingNames(environment).map((name) => quoted(name, environment[name]?.trim() ?? "")),
    misspelt(environment),
    readableSecret(environment),
  ]);
}

/** `docker run --env-file` and `env:` of some platforms hand on quotes and comments that a shell or Node would remove. */
function quoted(name: string, value: string): Finding | undefined {
  const found = checkOf("settings.quotes");
  const isQuoted = /^(["']).*\1$/s.test(value);
  if (isQuoted && !MAY_BE_QUOTED.includes(name)) return undefined; // the server does not start with them
  const fix =
    name === "SECRET_KEY"
      ? 'Rotate it, or everybody is signed out: SECRET_KEY=KEY,"KEY" first, and later KEY alone (docs/runbook.md). docker\'s --env-file, unlike .env, keeps quotation marks.'
      : `Remove the quotation marks around ${name}: docker's --env-file, unlike .env, keeps them.`;
  if (isQuoted)
    return found`! The value of ${name} begins and ends with a quotation mark, which is taken as a part of it
      → ${fix}`;
  if (!/\s#\s/.test(value)) return undefined;
  return found`! The value of ${name} contains " # ": a comment that is taken as a part of it?
    → Move the comment of ${name} to a line of its own.`;
}

/** A secret may be written in CONFIG_FILE, and then the file is one. */
function readableSecret(environment: Environment): Finding | undefined {
  const { file } = new Settings(environment);
  if (!file?.hasSecret || (statSync(file.path).mode & 0o044) === 0) return undefined;
  return checkOf(
    "settings.readable_secret",
  )`! In ${file.path} there is a client secret, and other users of this computer may read the file
    → Take that right away (chmod 600 ${file.path}), or write \${NAME} in its place and set NAME in the environment.`;
}

/** Names that look like ours and are not read. */
function misspelt(environment: Environment): Found {
  const known = settingNames(environment);
  return Object.keys(environment).map((name) => {
    if (known.includes(name) || (environment[name] ?? "") === "") return undefined;
    // HOME is near to HOST.
    const meant = name.length < 6 ? undefined : nearestName(name, known);
    if (meant === undefined && !/^(OIDC|AUTH0)_/.test(name)) return undefined;
    return checkOf("settings.unknown")`! ${name} is set, but is no setting of this server: it has no effect
      → ${meant === undefined ? "Look up its name in .env.example" : `Did you mean ${meant}? Rename it`}, or remove ${name}.`;
  });
}

/** What is read is a setting. Some are read only if others are set, so an empty environment counts too. */
export function settingNames(environment: Environment): string[] {
  const names = new Set<string>();
  const noticing: ProxyHandler<Environment> = {
    get(target, name) {
      names.add(String(name));
      return target[String(name)];
    },
  };
  for (const each of [environment, {}])
    try {
      loadConfig(new Proxy(each, noticing));
    } catch {
      // Its problems are reported elsewhere.
    }
  return [...names];
}
