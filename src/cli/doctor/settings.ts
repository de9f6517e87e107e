/** What the environment says: every problem that would keep the server from starting, and what looks like a slip. */
import { type Config, ConfigError, loadConfig, secretKeys } from "../../config/config.ts";
import { identityProvidersConfig } from "../../config/identity-provider.ts";
import { type Environment, MAY_BE_QUOTED, Settings } from "../../config/settings.ts";
import { type StoreConfig, storeConfig } from "../../config/store.ts";
import type { AtLeastOne } from "../../identity/identity-providers.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import type { SettingProblem } from "../../runtime/setting-problem.ts";
import { type Finding, ok, settingFailure, warning } from "./finding.ts";

/** As much of the configuration as is right: what is wrong in one part must not keep the others from being checked. */
export interface Parts {
  /** Only if everything is right. */
  config?: Config;
  baseUrl?: string;
  identityProviders?: AtLeastOne<IdentityProviderSettings>;
  store?: StoreConfig;
  secretKeys: readonly string[];
  problems: readonly SettingProblem[];
}

export function readParts(environment: Environment): Parts {
  const baseUrl = part(environment, (settings) => settings.publicUrl("BASE_URL", ""));
  const identityProviders = part(environment, identityProvidersConfig);
  const store = part(environment, storeConfig);
  const parts = {
    ...(baseUrl !== undefined && { baseUrl }),
    ...(identityProviders !== undefined && { identityProviders }),
    ...(store !== undefined && { store }),
    secretKeys: part(environment, secretKeys) ?? [],
  };
  try {
    return { ...parts, config: loadConfig(environment), problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { ...parts, problems: error.problems };
  }
}

function part<T>(environment: Environment, read: (settings: Settings) => T): T | undefined {
  const settings = new Settings(environment);
  const value = read(settings);
  return settings.problems.length === 0 ? value : undefined;
}

export function checkSettings(environment: Environment, { problems }: Parts): Finding[] {
  const slips = [...quoted(environment), ...misspelt(environment)];
  if (problems.length > 0)
    return [...problems.map((problem) => settingFailure("settings.valid", problem)), ...slips];
  return [ok("settings.valid", "Every setting is understood"), ...slips];
}

/** `docker run --env-file` and `env:` of some platforms hand on quotes and comments that a shell or Node would remove. */
function quoted(environment: Environment): Finding[] {
  return settingNames(environment).flatMap((name) => {
    const value = environment[name]?.trim() ?? "";
    if (/^(["']).*\1$/s.test(value))
      return MAY_BE_QUOTED.includes(name)
        ? [
            warning(
              "settings.quotes",
              `The value of ${name} begins and ends with a quotation mark, which is taken as a part of it`,
              name === "SECRET_KEY"
                ? 'Rotate it, or everybody is signed out: SECRET_KEY=KEY,"KEY" first, and later KEY alone (docs/runbook.md). docker\'s --env-file, unlike .env, keeps quotation marks.'
                : `Remove the quotation marks around ${name}: docker's --env-file, unlike .env, keeps them.`,
            ),
          ]
        : []; // the server does not start with them
    if (/\s#\s/.test(value))
      return [
        warning(
          "settings.quotes",
          `The value of ${name} contains " # ": a comment that is taken as a part of it?`,
          `Move the comment of ${name} to a line of its own.`,
        ),
      ];
    return [];
  });
}

/** Names that look like ours and are not read. */
function misspelt(environment: Environment): Finding[] {
  const known = settingNames(environment);
  return Object.keys(environment).flatMap((name) => {
    if (known.includes(name) || (environment[name] ?? "") === "") return [];
    const meant = nearest(name, known);
    const looksLikeOurs = /^(OIDC|AUTH0)_/.test(name);
    if (meant === undefined && !looksLikeOurs) return [];
    return [
      warning(
        "settings.unknown",
        `${name} is set, but is no setting of this server: it has no effect`,
        meant === undefined
          ? `Look up its name in .env.example, or remove ${name}.`
          : `Did you mean ${meant}? Rename it, or remove ${name}.`,
      ),
    ];
  });
}

/** What is read is a setting. Some are read only if others are set, so an empty environment counts too. */
export function settingNames(environment: Environment): string[] {
  const names = new Set<string>();
  for (const each of [environment, {}])
    try {
      loadConfig(
        new Proxy(each, {
          get(target, name) {
            names.add(String(name));
            return target[String(name)];
          },
        }),
      );
    } catch {
      // Its problems are reported elsewhere.
    }
  return [...names];
}

function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length < 6) return undefined;
  const [best] = known
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((one, other) => one.distance - other.distance);
  return best !== undefined && best.distance <= 2 ? best.candidate : undefined;
}

/** Levenshtein's. */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [i, character] of [...one].entries()) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      const replaced = (row[j] ?? 0) + (character === other[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
