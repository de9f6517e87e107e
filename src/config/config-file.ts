/** CONFIG_FILE (server.yaml): identity providers by name, resources by path, and trusted issuers. */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { DEFAULT_PROVIDER } from "../identity/identity-providers.ts";
import type { AuthorizationServerSettings } from "../identity/oidc/authorization-server.ts";
import type { TrustedIssuer } from "../issuers/trusted-issuer.ts";
import { readText } from "../runtime/read-text.ts";
import { InvalidValue, type SettingProblem } from "../runtime/setting-problem.ts";
import { type Mistake, mistakesIn, problemsByLine } from "../yaml/mistakes.ts";
import { type Path, readYaml, type YamlText } from "../yaml/yaml-text.ts";
import { authorizationServerMistakes, authorizationServersOf } from "./authorization-servers.ts";
import { entriesOf, isMap, type KnownKeys, listed, unknownKeys } from "./file-keys.ts";
import { label } from "./file-values.ts";
import { issuerMistakes, trustedIssuers } from "./issuers.ts";
import {
  type DescribedResource,
  describedResources,
  pathsOf,
  ResourceEntries,
  resourceMistakes,
} from "./resources.ts";
import { expandVariables, shieldVariables, unshieldVariables } from "./variables.ts";

export const CONFIG_FILE = "CONFIG_FILE";

/** A setting as the file says it. */
export interface FileSetting {
  /** In the form that the environment has; undefined if it is left out. */
  value: string | undefined;
  /** Its name in messages: `identityProviders.staff.issuer`. */
  key: string;
  /** `server.yaml:12`. */
  place: string;
  /** What is wrong with it is among the file's problems. */
  isFaulty: boolean;
}

export interface ConfigFile {
  path: string;
  problems: readonly SettingProblem[];
  /** The identity providers that it describes; none: the environment describes the one there is. */
  providers: readonly DescribedProvider[];
  /** By their names in the environment. What is here is for the file to say. */
  settings: ReadonlyMap<string, FileSetting>;
  /** Undefined if something is wrong with them. */
  issuers: readonly DescribedIssuer[] | undefined;
  /** The same. */
  authorizationServers: readonly AuthorizationServerSettings[] | undefined;
  /** In order; none: there is the usual one. Undefined if something is wrong with them. */
  resources: readonly DescribedResource[] | undefined;
  /** Whether a client secret is written in it, and not left to the environment. */
  hasSecret: boolean;
}

/** An identity provider as the file describes it. */
export interface DescribedProvider {
  id: string;
  /** Its name in messages: `identityProviders.staff`. */
  key: string;
  label?: string;
  /** As {@link ConfigFile.settings}: all that describe a provider, whether it says them or not. */
  settings: ReadonlyMap<string, FileSetting>;
}

export interface DescribedIssuer {
  settings: TrustedIssuer;
  /** `server.yaml:12`. */
  place: string;
}

/** Keys of an identity provider, with the settings that say the same in the environment. */
const PROVIDER_KEYS: Readonly<Record<string, string>> = {
  issuer: "OIDC_ISSUER",
  clientId: "OIDC_CLIENT_ID",
  clientSecret: "OIDC_CLIENT_SECRET",
  clientSecretFile: "OIDC_CLIENT_SECRET_FILE",
  privateKey: "OIDC_PRIVATE_KEY",
  privateKeyFile: "OIDC_PRIVATE_KEY_FILE",
  privateKeyId: "OIDC_PRIVATE_KEY_ID",
  privateKeyAlgorithm: "OIDC_PRIVATE_KEY_ALGORITHM",
  certificateFile: "OIDC_CERTIFICATE_FILE",
  federatedTokenFile: "OIDC_FEDERATED_TOKEN_FILE",
  audience: "OIDC_AUDIENCE",
  scopes: "OIDC_SCOPES",
  scopesFrom: "SCOPES_FROM",
  scopeClaim: "SCOPE_CLAIM",
  scopeClaimMap: "SCOPE_CLAIM_MAP",
  authorizationParameters: "OIDC_AUTHORIZATION_PARAMETERS",
  logoutTokenExp: "OIDC_LOGOUT_TOKEN_EXP",
  tokenEndpointAuthMethod: "OIDC_TOKEN_ENDPOINT_AUTH_METHOD",
  tenants: "OIDC_TENANTS",
  pushedAuthorizationRequests: "OIDC_PUSHED_AUTHORIZATION_REQUESTS",
  subjectTokenType: "OIDC_SUBJECT_TOKEN_TYPE",
  exchangeClientId: "OIDC_EXCHANGE_CLIENT_ID",
  exchangeClientSecret: "OIDC_EXCHANGE_CLIENT_SECRET",
  timeoutSeconds: "UPSTREAM_TIMEOUT_SECONDS",
};
const { issuer: _, ...WITHOUT_ISSUER } = PROVIDER_KEYS;
/** The same of one that is named by its Auth0 domain. */
const AUTH0_KEYS: typeof PROVIDER_KEYS = {
  ...WITHOUT_ISSUER,
  domain: "AUTH0_DOMAIN",
  clientId: "AUTH0_CLIENT_ID",
  clientSecret: "AUTH0_CLIENT_SECRET",
  audience: "AUTH0_AUDIENCE",
  organization: "AUTH0_ORGANIZATION",
};
const EVERY_SETTING = new Set([...Object.values(PROVIDER_KEYS), ...Object.values(AUTH0_KEYS)]);
const EMAIL_DOMAINS = "ALLOWED_EMAIL_DOMAINS";

/** In a callback URL, in records and in messages. */
const PROVIDER_NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;

const KEYS: Record<"top" | "provider", KnownKeys> = {
  top: { known: ["identityProviders", "resources", "issuers", "authorizationServers"] },
  provider: {
    known: [...Object.keys({ ...PROVIDER_KEYS, ...AUTH0_KEYS }), "label", "emailDomains"],
    notYet: ["profile"],
  },
};

const text = z.string().min(1);
const texts = z.array(text).min(1);
const Provider = z.object({
  issuer: text.optional(),
  domain: text.optional(),
  clientId: text.optional(),
  clientSecret: text.optional(),
  clientSecretFile: text.optional(),
  privateKey: text.optional(),
  privateKeyFile: text.optional(),
  privateKeyId: text.optional(),
  privateKeyAlgorithm: text.optional(),
  certificateFile: text.optional(),
  federatedTokenFile: text.optional(),
  label: label.optional(),
  audience: text.optional(),
  organization: text.optional(),
  tenants: texts.optional(),
  emailDomains: texts.optional(),
  scopes: texts.optional(),
  scopesFrom: texts.optional(),
  scopeClaim: text.optional(),
  scopeClaimMap: z.record(text, z.array(text)).optional(),
  authorizationParameters: z.record(text, text).optional(),
  logoutTokenExp: text.optional(),
  tokenEndpointAuthMethod: text.optional(),
  pushedAuthorizationRequests: text.optional(),
  subjectTokenType: text.optional(),
  exchangeClientId: text.optional(),
  exchangeClientSecret: text.optional(),
  timeoutSeconds: z.number().optional(),
});
const Content = z.object({
  identityProviders: z.record(z.string(), Provider).optional(),
  resources: ResourceEntries.optional(),
});

/** Stands for the providers of a file of which nothing can be read. */
const BROKEN = { id: "broken", key: "the file" };

/** Everything that it says, and everything that is wrong with it. */
export function readConfigFile(
  path: string,
  environment: Readonly<Record<string, string | undefined>>,
): ConfigFile {
  const broken = (problems: readonly SettingProblem[]): ConfigFile => ({
    path,
    problems,
    providers: [{ ...BROKEN, settings: everyProviderSetting({ place: path, ...BROKEN, isFaulty: true }) }],
    settings: new Map(),
    issuers: undefined,
    authorizationServers: undefined,
    resources: undefined,
    hasSecret: false,
  });
  let yaml: YamlText;
  try {
    yaml = readContent(path);
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    const { problem, remedy } = error;
    return broken([{ setting: CONFIG_FILE, problem, remedy }]);
  }
  const problemsOf = (mistakes: readonly Mistake[]) => problemsByLine(mistakes, yaml, path, nameOf);
  if (yaml.value === null && yaml.problems.length === 0)
    return broken(
      problemsOf([
        {
          at: [],
          problem: "is empty",
          remedy: `write identityProviders, resources, issuers or authorizationServers, or leave ${CONFIG_FILE} out`,
        },
      ]),
    );
  if (yaml.value === undefined || yaml.value === null) return broken(problemsOf([]));
  const { value: written, mistakes: unset } = expandVariables(yaml.value, environment);
  const value = withPathsOfClients(written, path);
  const mistakes = [
    ...keyMistakes(value),
    ...mistakesIn(value, Content),
    ...issuerMistakes(value, pathsOf(value)),
    ...authorizationServerMistakes(value),
    ...unset,
  ];
  const problems = problemsOf(mistakes);
  if (!isMap(value)) return broken(problems);
  return {
    path,
    problems,
    ...settingsOf(value, yaml, path, mistakes),
    issuers: issuersOf(value, yaml, path, mistakes),
    authorizationServers: mistakes.some(({ at }) => at[0] === "authorizationServers")
      ? undefined
      : authorizationServersOf(value.authorizationServers),
    resources: resourcesOf(value, yaml, path, mistakes),
    hasSecret: hasSecret(yaml.value),
  };
}

function issuersOf(
  { issuers }: Record<string, unknown>,
  { lineOf }: YamlText,
  path: string,
  mistakes: readonly Mistake[],
): ConfigFile["issuers"] {
  if (mistakes.some(({ at }) => at[0] === "issuers")) return undefined;
  return trustedIssuers(issuers).map((settings, index) => ({
    settings,
    place: `${path}:${lineOf(["issuers", index])}`,
  }));
}

function resourcesOf(
  content: Record<string, unknown>,
  { lineOf }: YamlText,
  path: string,
  mistakes: readonly Mistake[],
): ConfigFile["resources"] {
  if (mistakes.some(({ at }) => at[0] === "resources")) return undefined;
  return describedResources(content, path, (at) => ({ key: nameOf(at), place: `${path}:${lineOf(at)}` }));
}

/**
 * What is written there, variables as they are.
 * @throws InvalidValue if the file cannot be read
 */
export function readContent(path: string): YamlText {
  return unshielded(readYaml(shieldVariables(readText(path))));
}

/** A message or a value is shown as it was written. */
function unshielded({ value, problems, lineOf }: YamlText): YamlText {
  return {
    value: unshieldVariables(value),
    problems: problems.map((each) => ({ ...each, problem: String(unshieldVariables(each.problem)) })),
    // The text that was parsed has the names shielded.
    lineOf: (path) => lineOf(path.map((step) => (typeof step === "string" ? shieldVariables(step) : step))),
  };
}

/** What a message calls what is at a path. */
export function nameOf(path: Path): string {
  if (path[0] === "issuers" && path.length === 2) return "the issuer";
  if (path[0] === "authorizationServers" && path.length === 2) return "the authorization server";
  return path.filter((step) => typeof step === "string").join(".") || "the file";
}

/** Keys that nobody knows, that this version does not have, and second entries. */
function keyMistakes(content: unknown): Mistake[] {
  if (!isMap(content)) return [];
  const { identityProviders, resources } = content;
  return [
    ...unknownKeys(content, [], KEYS.top),
    ...entriesOf(identityProviders).flatMap(([id, entry], index) => {
      const at = ["identityProviders", id];
      return [
        ...nameMistakes(id, at, index),
        ...domainMistakes(entry, at),
        ...unknownKeys(entry, at, KEYS.provider),
      ];
    }),
    ...resourceMistakes(content),
    ...Object.entries({ identityProviders, resources }).flatMap(([key, value]) =>
      isMap(value) && Object.keys(value).length === 0
        ? [{ at: [key], problem: "is empty", remedy: "fill it or leave it out" }]
        : [],
    ),
  ];
}

function nameMistakes(id: string, at: Path, index: number): Mistake[] {
  if (!PROVIDER_NAME.test(id))
    return [
      {
        at,
        problem: "is no name for an identity provider",
        remedy: "write small letters, digits and -, such as staff",
      },
    ];
  // An object has such keys first, and the first identity provider is the default one.
  if (/^\d+$/.test(id))
    return [{ at, problem: "is a number, and no name", remedy: `add a letter, such as p${id}` }];
  // In records and callback URLs it stands for the first, whatever that is called.
  if (id !== DEFAULT_PROVIDER || index === 0) return [];
  return [{ at, problem: "is the name of the first identity provider", remedy: "choose another name" }];
}

/** Auth0's users know their tenant by its domain; what is said of it beside that is another provider's. */
function domainMistakes(entry: unknown, at: Path): Mistake[] {
  if (!isMap(entry)) return [];
  const { domain, issuer, organization } = entry;
  if (domain !== undefined && issuer !== undefined)
    return [
      { at: [...at, "domain"], problem: "is set beside issuer", remedy: "keep domain for Auth0, or issuer" },
    ];
  if (domain !== undefined || organization === undefined) return [];
  return [
    {
      at: [...at, "organization"],
      problem: "is Auth0's, and needs domain in place of issuer",
      remedy: "write domain, or remove it",
    },
  ];
}

function settingsOf(
  content: Record<string, unknown>,
  { lineOf }: YamlText,
  path: string,
  mistakes: readonly Mistake[],
): Pick<ConfigFile, "providers" | "settings"> {
  const setting = (at: Path, value: unknown): FileSetting => ({
    value: asInEnvironment(value, at.at(-1)),
    key: nameOf(at),
    place: `${path}:${lineOf(at)}`,
    isFaulty: mistakes.some((mistake) => at.every((step, index) => mistake.at[index] === step)),
  });
  const settings = new Map<string, FileSetting>();
  const [resource] = entriesOf(content.resources);
  if (resource !== undefined && isMap(resource[1]) && resource[1].tools !== undefined) {
    const { tools } = resource[1];
    settings.set("TOOLS_MODULE", setting(["resources", resource[0], "tools"], fromFolderOf(path, tools)));
  }
  const described = entriesOf(content.identityProviders).map(([id, entry]): DescribedProvider => {
    const at = ["identityProviders", id];
    const key = nameOf(at);
    const all = everyProviderSetting({ place: `${path}:${lineOf(at)}`, key, isFaulty: !isMap(entry) });
    if (!isMap(entry)) return { id, key, settings: all };
    for (const [each, name] of Object.entries(entry.domain === undefined ? PROVIDER_KEYS : AUTH0_KEYS))
      all.set(
        name,
        setting([...at, each], each.endsWith("File") ? fromFolderOf(path, entry[each]) : entry[each]),
      );
    if (entry.emailDomains !== undefined)
      all.set(EMAIL_DOMAINS, setting([...at, "emailDomains"], entry.emailDomains));
    const label = typeof entry.label === "string" ? entry.label : undefined;
    return { id, key, ...(label !== undefined && { label }), settings: all };
  });
  return { providers: described, settings };
}

/** What is read while the file is checked. */
function withPathsOfClients(content: unknown, path: string): unknown {
  if (!isMap(content)) return content;
  const { issuers, authorizationServers: servers } = content;
  const ofIssuer = (entry: unknown) =>
    isMap(entry) && isMap(entry.introspection)
      ? { ...entry, introspection: withPaths(entry.introspection, path) }
      : entry;
  const ofServer = (entry: unknown) => (isMap(entry) ? withPaths(entry, path) : entry);
  return {
    ...content,
    ...(Array.isArray(issuers) && { issuers: issuers.map(ofIssuer) }),
    ...(Array.isArray(servers) && { authorizationServers: servers.map(ofServer) }),
  };
}

function withPaths(entry: Record<string, unknown>, path: string): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(entry).map(([key, value]) => [
      key,
      key.endsWith("File") ? fromFolderOf(path, value) : value,
    ]),
  );
}

/** A path in the file begins at its folder. */
function fromFolderOf(path: string, value: unknown): unknown {
  return typeof value === "string" ? resolve(dirname(path), value) : value;
}

function everyProviderSetting(rest: Omit<FileSetting, "value">): Map<string, FileSetting> {
  return new Map([...EVERY_SETTING].map((name) => [name, { value: undefined, ...rest }]));
}

/** What is read by the same rules as the environment, whose values are text. Of another kind it is faulty. */
function asInEnvironment(value: unknown, key: PropertyKey | undefined): string | undefined {
  if (typeof value === "string") return value.trim() || undefined;
  if (typeof value === "number") return String(value);
  if (Array.isArray(value)) return value.join(key === "scopes" ? " " : ",");
  if (!isMap(value)) return undefined;
  return key === "scopeClaimMap"
    ? JSON.stringify(value)
    : new URLSearchParams(
        Object.entries(value).map(([name, each]): [string, string] => [name, String(each)]),
      ).toString();
}

function isWrittenOut(value: unknown): boolean {
  return typeof value === "string" && !value.includes("${");
}

function hasSecret(content: unknown): boolean {
  if (!isMap(content)) return false;
  const providers = entriesOf(content.identityProviders).map(([, entry]) => entry);
  const issuers = listed(content.issuers).map((entry) => isMap(entry) && entry.introspection);
  return [...providers, ...issuers, ...listed(content.authorizationServers)].some(
    (entry) =>
      isMap(entry) && [entry.clientSecret, entry.privateKey, entry.exchangeClientSecret].some(isWrittenOut),
  );
}
