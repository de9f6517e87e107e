/** What is examined: the parts of the configuration that are right, what the server offers, and what checks are given from outside. */
import {
  type Config,
  ConfigError,
  issuersConfig,
  listeningPort,
  loadConfig,
  resourcesConfig,
  secretKeys,
} from "../../config/config.ts";
import { identityProvidersConfig } from "../../config/identity-provider.ts";
import { type Environment, Settings } from "../../config/settings.ts";
import { storeConfig } from "../../config/store.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { SettingProblem } from "../../runtime/setting-problem.ts";
import type { Offered } from "../../server/offered.ts";
import type { Finding, Found } from "./finding.ts";
import { within } from "./limit.ts";

/** Those that are wrong are undefined: what is wrong in one must not keep the others from being checked. */
export type Parts = ReturnType<typeof readParts>;

export function readParts(environment: Environment) {
  const baseUrl = part(environment, (settings) => settings.publicUrl("BASE_URL", ""));
  const identityProviders = part(environment, identityProvidersConfig);
  return {
    baseUrl,
    port: part(environment, listeningPort),
    identityProviders,
    resources: part(environment, (settings) =>
      resourcesConfig(settings, baseUrl, settings.optional("SERVER_NAME") ?? "The first one"),
    ),
    issuers: part(environment, (settings) => issuersConfig(settings, baseUrl, identityProviders ?? [])),
    authorizationServers: part(environment, ({ file }) => (file ? file.authorizationServers : [])),
    store: part(environment, storeConfig),
    secretKeys: part(environment, secretKeys) ?? [],
    ...wholeConfig(environment),
  };
}

/** The configuration only if everything is right. */
function wholeConfig(environment: Environment): { config?: Config; problems: readonly SettingProblem[] } {
  try {
    return { config: loadConfig(environment), problems: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { problems: error.problems };
  }
}

function part<T>(environment: Environment, read: (settings: Settings) => T): T | undefined {
  const settings = new Settings(environment);
  const ofFile = settings.problems.length;
  const value = read(settings);
  return settings.problems.length === ofFile && !settings.hasReadFaulty ? value : undefined;
}

/** What the server offers, or why that cannot be read. */
export type DeclaredFeatures = Offered | { broken: Error };

/** What a check is given from outside, so that tests can say it. */
export interface Here extends Runtime {
  node: NodeRelease;
  patience: Patience;
}

/** Of which the code name is known for long-term support (`process.release.lts`), such as `Jod`. */
export interface NodeRelease {
  version: string;
  lts?: string | undefined;
}

/** Milliseconds. */
export interface Patience {
  /** For one answer from the public address. The others have settings of their own. */
  answerMs: number;
  /** For a check that asks several times, one after the other. */
  checkMs: number;
}

/** Clients do not wait longer for an answer either. */
export const PATIENCE: Patience = { answerMs: 5_000, checkMs: 20_000 };

export interface Deployment extends Parts, Here {
  environment: Environment;
  features: DeclaredFeatures;
  toolScopes: readonly string[];
}

/** Each within its own limit, so that none keeps the others waiting. */
export function ofEach<T>(
  { patience }: Pick<Here, "patience">,
  things: readonly T[],
  name: string,
  check: (thing: T) => Promise<Found>,
): Promise<Finding[][]> {
  return Promise.all(things.map((thing) => within(patience.checkMs, name, () => check(thing))));
}
