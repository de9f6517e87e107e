/** What the environment says: every problem that would keep the server from starting, and what looks like a slip. */
import { statSync } from "node:fs";
import { loadConfig } from "../../config/config.ts";
import { type Environment, MAY_BE_QUOTED, Settings } from "../../config/settings.ts";
import { nearestName } from "../../runtime/nearest-name.ts";
import type { Parts } from "./deployment.ts";
import { checkOf, type Finding, type Found, findingsIn, settingFailure } from "./finding.ts";

export function checkSettings(environment: Environment, { problems }: Pick<Parts, "problems">): Finding[] {
  const valid = checkOf("settings.valid")`✓ Every setting is understood`;
  const known = settingNames(environment);
  return findingsIn([
    problems.length === 0 ? valid : problems.map((problem) => settingFailure("settings.valid", problem)),
    known.map((name) => quoted(name, environment[name]?.trim() ?? "")),
    Object.keys(environment).map((name) => (environment[name] ? misspelt(name, known) : undefined)),
    readableSecret(environment),
  ]);
}

/** `docker run --env-file` and `env:` of some platforms hand on quotes and comments that a shell or Node would remove. */
function quoted(name: string, value: string): Found {
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
function readableSecret(environment: Environment): Found {
  const found = checkOf("settings.readable_secret");
  const { file } = new Settings(environment);
  if (!file?.hasSecret || (statSync(file.path).mode & 0o044) === 0) return undefined;
  return found`! In ${file.path} there is a client secret, and other users of this computer may read the file
    → Take that right away (chmod 600 ${file.path}), or write \${NAME} in its place and set NAME in the environment.`;
}

/** A name that looks like ours and is not read. */
function misspelt(name: string, known: readonly string[]): Found {
  if (known.includes(name)) return undefined;
  // HOME is near to HOST.
  const meant = name.length < 6 ? undefined : nearestName(name, known);
  if (meant === undefined && !/^(OIDC|AUTH0)_/.test(name)) return undefined;
  return checkOf("settings.unknown")`! ${name} is set, but is no setting of this server: it has no effect
    → ${meant === undefined ? "Look up its name in .env.example" : `Did you mean ${meant}? Rename it`}, or remove ${name}.`;
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

// What people leave in a file that they copied, and what this repository tests with. Long enough not to come by chance.
const PUBLISHED =
  /change[-_]?me|replace|example|placeholder|openssl|password|secret[-_]?key|fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL/i;

/** Whether somebody else knows SECRET_KEY, each weakness by itself and without the key. What is too short or plain does not start. */
export function secretStrength(secretKeys: readonly string[]): Finding[] {
  const found = checkOf("settings.secret_key");
  const findings = secretKeys.flatMap((key, index) => {
    const problem = weakness(key);
    const name = secretKeys.length > 1 ? `SECRET_KEY: key ${index + 1}` : "SECRET_KEY";
    if (problem === undefined) return [];
    return found`✗ ${name} ${problem}
      → Make one with: openssl rand -base64 48, and rotate to it (docs/runbook.md: NEW,OLD at first).`;
  });
  if (findings.length > 0 || secretKeys.length === 0) return findings;
  return [found`✓ SECRET_KEY is none of those that anybody would try first`];
}

function weakness(key: string): string | undefined {
  if (PUBLISHED.test(key)) return "is an example or a placeholder that anybody knows";
  // The shortest beginning of which the whole is made.
  const period = `${key}${key}`.indexOf(key, 1);
  return period < 16 && period <= key.length / 2 ? `repeats the same ${period} characters` : undefined;
}
