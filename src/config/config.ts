/** The environment, parsed once into a read-only Config, or refused with one message that lists every problem. */
import { isIP } from "node:net";
import { availableParallelism } from "node:os";
import ipaddr from "ipaddr.js";
import type { Membership } from "../access/membership.ts";
import type { AuditConfig } from "../audit/audit.ts";
import { RENEWAL_SECONDS } from "../clients/find-client.ts";
import type { GrantCacheConfig } from "../grants/grant-cache.ts";
import type { GrantLimits } from "../grants/grants.ts";
import type { Lifetimes } from "../grants/lifetimes.ts";
import type { AtLeastOne } from "../identity/identity-providers.ts";
import type { AuthorizationServerSettings } from "../identity/oidc/authorization-server.ts";
import type { IdentityProviderSettings } from "../identity/settings.ts";
import type { TrustedIssuer } from "../issuers/trusted-issuer.ts";
import type { RunningCallLimits } from "../mcp/server/running-call-limits.ts";
import { issuersOf } from "../oauth/tenant-issuer.ts";
import { type Brand, UNNAMED } from "../pages/brand.ts";
import type { OutgoingProxy } from "../runtime/proxied-fetch.ts";
import { inOneLine, type SettingProblem } from "../runtime/setting-problem.ts";
import { type ClientsConfig, clientsConfig } from "./clients.ts";
import { identityProvidersConfig, membershipConfig } from "./identity-provider.ts";
import { originProblem } from "./origin-problem.ts";
import { outgoingProxy } from "./outgoing-proxy.ts";
import { type ConfiguredResource, configuredResources } from "./resources.ts";
import { type Environment, Settings } from "./settings.ts";
import { type StoreConfig, storeConfig } from "./store.ts";

/** Metrics and traces. */
export interface TelemetryConfig {
  /** The bearer token that opens `/metrics`. */
  metricsToken?: string;
  /** The OpenTelemetry collector's URL, without `/v1/traces`. */
  traceEndpoint?: string;
}

/**
 * Every setting, read and checked: what {@link loadConfig} returns. docs/settings.md has the table of their names in the
 * environment. Parts of it are named by their place, as in `Config["lifetimes"]`.
 */
export interface Config extends ClientsConfig {
  /** The public URL without a trailing slash; also the issuer. */
  baseUrl: string;
  /** The URI of the first resource: `baseUrl/mcp`, unless CONFIG_FILE names another. */
  resource: string;
  /** The protected resources: what tokens are issued for. */
  resources: AtLeastOne<ConfiguredResource>;
  /** What people see on the pages. */
  brand: Brand;
  /** Whether there is a page for people at `/`. */
  homePage: boolean;
  /** How many sign-ins one address may start in an hour. */
  signInsPerAddressPerHour: number;
  /** Requests to /token, /revoke and /introspect. */
  tokenRequestsPerMinute: { perAddress: number; perClient: number };
  /** The largest body that `/mcp` takes. */
  maxRequestBytes: number;
  /** Addresses and ranges of reverse proxies whose `X-Forwarded-*` headers are believed. */
  trustedProxies: readonly string[];
  /** Browser origins that may call `/mcp`, beside our own and those on this computer. */
  allowedOrigins: readonly string[];
  host: string;
  port: number;
  /** Connections that one process has open at once. */
  maxConnections: number;
  /** How many processes `npm start` runs behind one port. `serve()` is always one. */
  workers: number;
  /** Where people sign in, by their names; the first is the default. */
  identityProviders: AtLeastOne<IdentityProviderSettings>;
  /** Other issuers whose tokens and assertions are accepted. */
  issuers: readonly TrustedIssuer[];
  /** Of other APIs: those that accept the identity provider's assertions of a user (ID-JAG). */
  authorizationServers: readonly AuthorizationServerSettings[];
  /** By which identity providers and trusted issuers are reached; absent: directly. */
  outgoingProxy?: OutgoingProxy;
  /** Admission: organizations and e-mail domains. */
  membership: Membership;
  store: StoreConfig;
  /** The first encrypts; all decrypt. */
  secretKeys: readonly string[];
  /** How live sessions are written: as 0.1.0 reads them, or as few bytes. */
  storedSessions: "readable" | "compact";
  lifetimes: Lifetimes;
  grantLimits: GrantLimits;
  grantCache: GrantCacheConfig;
  runningCalls: RunningCallLimits;
  /** What the lists show: what the caller's scopes allow, or everything that the policy allows. */
  listed: "granted" | "all";
  /** The path of the policy file. */
  policyFile?: string;
  audit: AuditConfig;
  telemetry: TelemetryConfig;
  /** How long requests are still accepted after `/readyz` says no. */
  shutdownDelaySeconds: number;
  shutdownSeconds: number;
  logLevel: string;
}

const DAY = 86_400;

/**
 * Lists everything that is wrong with the settings, each with its remedy. A program that does not catch it ends with this message,
 * without a stack trace, and the exit code 1.
 */
export class ConfigError extends Error {
  declare readonly problems: readonly SettingProblem[];

  constructor(problems: readonly SettingProblem[]) {
    super(
      [
        `${problems.length} setting${problems.length === 1 ? "" : "s"} to fix.`,
        ...problems.map((problem) => `  - ${inOneLine(problem)}`),
        "Every setting is explained in .env.example.",
      ].join("\n"),
    );
    this.name = "ConfigError";
    // Node prints an error's stack and then the fields that can be enumerated: every problem a second time.
    Object.defineProperty(this, "problems", { value: problems });
    this.stack = `${this.name}: ${this.message}`;
  }
}

/**
 * Reads every setting; what is left out has its default.
 * @throws ConfigError listing every missing or bad setting, each with its remedy
 */
export function loadConfig(environment: Environment): Config {
  const settings = new Settings(environment);
  const baseUrl = settings.publicUrl(
    "BASE_URL",
    "set it to the public URL of this server, such as https://mcp.example.com",
  );
  const identityProviders = identityProvidersConfig(settings);
  const authorizationServers = settings.file?.authorizationServers ?? [];
  const proxy = outgoingProxy(settings);
  const outgoing = proxy === undefined ? {} : { outgoingProxy: proxy };
  const policyFile = settings.optional("POLICY_FILE");
  const serverBrand = brand(settings);
  const resources = resourcesConfig(settings, baseUrl, serverBrand.name);
  const config: Config = {
    baseUrl,
    resource: `${baseUrl}${resources[0].path}`,
    resources,
    brand: serverBrand,
    homePage: settings.oneOf("HOME_PAGE", ["on", "off"]) === "on",
    ...clientsConfig(settings),
    signInsPerAddressPerHour: settings.integer("SIGN_INS_PER_ADDRESS_PER_HOUR", 3_000, 1, 10_000_000),
    tokenRequestsPerMinute: {
      perAddress: settings.integer("TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE", 3_000, 1, 10_000_000),
      perClient: settings.integer("TOKEN_REQUESTS_PER_CLIENT_PER_MINUTE", 3_000, 1, 10_000_000),
    },
    maxRequestBytes: settings.integer("MAX_REQUEST_BYTES", 1_048_576, 65_536, 16_777_216),
    trustedProxies: settings.list(
      "TRUSTED_PROXIES",
      isAddressRange,
      "addresses or ranges such as 10.0.0.0/8",
      "name the proxies, or the network that they are in: of every address, as in 0.0.0.0/0, anybody's word would count",
    ),
    allowedOrigins: settings.list(
      "ALLOWED_ORIGINS",
      isOrigin,
      "origins such as https://app.example.com or app://obsidian.md",
      "write scheme and host alone; null cannot be allowed, for any page can have it",
    ),
    host: settings.text("HOST", "0.0.0.0"),
    port: listeningPort(settings),
    // Twice what MAX_RUNNING_CALLS holds open, and some for idle connections.
    maxConnections: settings.integer("MAX_CONNECTIONS", 10_000, 1, 1_000_000),
    workers: workers(settings),
    identityProviders: withIdTokens(identityProviders, authorizationServers.length > 0),
    authorizationServers,
    ...outgoing,
    issuers: issuersConfig(settings, baseUrl, identityProviders) ?? [],
    membership: membershipConfig(settings, identityProviders),
    store: storeConfig(settings),
    secretKeys: secretKeys(settings),
    storedSessions: settings.oneOf("STORED_SESSIONS", ["readable", "compact"]),
    lifetimes: lifetimes(settings),
    grantLimits: {
      perUser: settings.integer("MAX_GRANTS_PER_USER", 100, 1, 10_000),
      perUserAndClient: settings.integer("MAX_GRANTS_PER_USER_AND_CLIENT", 20, 1, 10_000),
    },
    grantCache: {
      entries: settings.integer("GRANT_CACHE_ENTRIES", 10_000, 0, 10_000_000),
      seconds: settings.integer("GRANT_CACHE_SECONDS", 10, 1, 300),
      outageSeconds: settings.integer("STORE_OUTAGE_SECONDS", 60, 0, 3_600),
    },
    runningCalls: {
      perGrant: settings.integer("MAX_RUNNING_CALLS_PER_GRANT", 100, 1, 100_000),
      perProcess: settings.integer("MAX_RUNNING_CALLS", 4_000, 1, 1_000_000),
      seconds: settings.integer("MAX_CALL_SECONDS", 0, 0, DAY),
    },
    listed: settings.oneOf("TOOLS_LISTED", ["granted", "all"]),
    ...(policyFile !== undefined && { policyFile }),
    audit: audit(settings),
    telemetry: telemetry(settings),
    shutdownDelaySeconds: settings.integer("SHUTDOWN_DELAY_SECONDS", 0, 0, 600),
    shutdownSeconds: settings.integer("SHUTDOWN_SECONDS", 8, 1, 600),
    logLevel: settings.oneOf("LOG_LEVEL", ["info", "fatal", "error", "warn", "debug", "trace", "silent"]),
  };
  if (settings.problems.length > 0) throw new ConfigError(settings.problems);
  return Object.freeze(config);
}

/** The TCP port on which the server listens. */
export function listeningPort(settings: Settings): number {
  return settings.integer("PORT", 3000, 1, 65_535);
}

function workers(settings: Settings): number {
  const isAuto = settings.optional("WORKERS") === "auto";
  const count = isAuto ? availableParallelism() : settings.integer("WORKERS", 1, 1, 256);
  if (count > 1 && settings.optional("STORE") === "memory")
    settings.problem(
      "WORKERS",
      "is more than 1 with STORE=memory, and each process would know its own sessions alone",
      "use Redis, or leave it out",
    );
  return count;
}

function audit(settings: Settings): AuditConfig {
  const destination = settings.optional("AUDIT_LOG");
  return {
    ...(destination !== undefined && { destination }),
    arguments: settings.oneOf("AUDIT_ARGUMENTS", ["off", "on"]) === "on",
  };
}

function telemetry(settings: Settings): TelemetryConfig {
  const metricsToken = settings.optional("METRICS_TOKEN");
  if (metricsToken !== undefined && !/^[!-~]{16,}$/.test(metricsToken))
    settings.problem(
      "METRICS_TOKEN",
      "must have at least 16 characters, all of ASCII, and no space",
      "make one with: openssl rand -hex 24",
    );
  const traces = settings.optional("OTEL_EXPORTER_OTLP_ENDPOINT");
  return {
    ...(metricsToken !== undefined && { metricsToken }),
    ...(traces !== undefined && { traceEndpoint: settings.url("OTEL_EXPORTER_OTLP_ENDPOINT", traces) }),
  };
}

function brand(settings: Settings): Brand {
  const description = settings.optional("SERVER_DESCRIPTION");
  const logoUrl = settings.optional("SERVER_LOGO_URL");
  const color = settings.optional("SERVER_COLOR");
  if (logoUrl !== undefined) {
    const problem = originProblem(logoUrl);
    if (problem !== undefined) settings.problem("SERVER_LOGO_URL", ...problem);
  }
  if (color !== undefined && !/^#?[0-9a-f]{6}$/i.test(color))
    settings.problem("SERVER_COLOR", "is no colour in six digits", "write it like 1f5fd6 or #1f5fd6");
  return {
    name: settings.text("SERVER_NAME", UNNAMED),
    ...(description !== undefined && { description }),
    ...(logoUrl !== undefined && { logoUrl }),
    // Some parsers of .env files take what follows a # for a comment.
    ...(color !== undefined && { color: `#${color.replace("#", "")}` }),
  };
}

/** Whose users there may be: of who signs in, and of other issuers that are believed. */
export function issuersOfUsers({
  identityProviders,
  issuers,
}: Pick<Config, "identityProviders" | "issuers">): string[] {
  const others = issuers.filter(({ accept }) => accept !== "workload").map(({ issuer }) => issuer);
  return [...new Set([...identityProviders.flatMap(issuersOf), ...others])];
}

/** Nothing else needs an ID token once somebody has signed in. */
function withIdTokens(
  [first, ...others]: AtLeastOne<IdentityProviderSettings>,
  keepsIdToken: boolean,
): AtLeastOne<IdentityProviderSettings> {
  if (!keepsIdToken) return [first, ...others];
  const kept = (each: IdentityProviderSettings) => ({ ...each, keepsIdToken });
  return [kept(first), ...others.map(kept)];
}

/** Something wrong with them is among the problems. */
export function resourcesConfig(
  settings: Settings,
  baseUrl: string | undefined,
  serverName: string,
): AtLeastOne<ConfiguredResource> {
  const toolsModule = settings.optional("TOOLS_MODULE");
  const backendUrl = settings.optional("BACKEND_URL");
  const { resources, problems } = configuredResources(settings.file?.resources ?? [], {
    baseUrl,
    serverName,
    toolsModule,
    backendUrl,
  });
  settings.problems.push(...problems);
  return resources;
}

/** Undefined if something is wrong with them, which is among the problems of the file. */
export function issuersConfig(
  settings: Settings,
  baseUrl: string | undefined,
  providers: ReadonlyArray<Pick<IdentityProviderSettings, "issuer" | "tenants" | "emailDomains">>,
): TrustedIssuer[] | undefined {
  const { file } = settings;
  if (file === undefined) return [];
  for (const {
    settings: { issuer, accept },
    place,
  } of file.issuers ?? []) {
    // A program could take the name of a person who signs in.
    if (accept === "workload" && providers.some((provider) => provider.issuer === issuer))
      settings.problems.push({
        place,
        setting: "the issuer",
        problem: "is the identity provider, too: what it says of programs could pass for people",
        remedy: "name a platform that nobody signs in at, or use accept: access-token",
      });
    // What this server issues is no JWT, and its own tokens must not come in by another door.
    if (issuer === baseUrl || issuer === `${baseUrl}/`)
      settings.problems.push({
        place,
        setting: "the issuer",
        problem: "is this server itself (BASE_URL)",
        remedy: "name the one whose tokens are meant, or remove it",
      });
  }
  return file.issuers?.map(({ settings: issuer }) => withEmailDomains(issuer, providers));
}

/** What an identity provider vouches for counts for the same issuer here; what others do is theirs, unless it is listed. */
function withEmailDomains(
  issuer: TrustedIssuer,
  providers: ReadonlyArray<Pick<IdentityProviderSettings, "issuer" | "tenants" | "emailDomains">>,
): TrustedIssuer {
  if (issuer.accept === "workload") return issuer;
  const isItself = (provider: (typeof providers)[number]) => issuersOf(provider).includes(issuer.issuer);
  const domainsOf = (some: typeof providers) => some.flatMap(({ emailDomains }) => emailDomains ?? []);
  const own = domainsOf(providers.filter(isItself));
  const others = domainsOf(providers.filter((provider) => !isItself(provider)));
  const emailDomainsOfOthers = others.filter((domain) => !own.includes(domain));
  return emailDomainsOfOthers.length === 0 ? issuer : { ...issuer, emailDomainsOfOthers };
}

/** The newest first. */
export function secretKeys(settings: Settings): string[] {
  const make = "make one with: openssl rand -base64 48";
  const text = settings.required("SECRET_KEY", `${make} (it encrypts what is stored)`);
  const keys = text.split(",").map((key) => key.trim());
  if (text === "") return [];
  for (const [index, key] of keys.entries()) {
    const which = keys.length === 1 ? "" : ` in key ${index + 1}`;
    if (Buffer.byteLength(key) < 32) settings.problem("SECRET_KEY", `has fewer than 32 bytes${which}`, make);
    else if (new Set(key).size < 10) settings.problem("SECRET_KEY", `is not random${which}`, make);
  }
  return keys;
}

function lifetimes(settings: Settings): Lifetimes {
  const seconds: Lifetimes = {
    accessTokenSeconds: settings.integer("ACCESS_TOKEN_SECONDS", 3_600, 30, DAY),
    grantIdleSeconds: settings.integer("GRANT_IDLE_SECONDS", 30 * DAY, 60, 400 * DAY),
    grantSeconds: settings.integer("GRANT_SECONDS", 90 * DAY, 60, 400 * DAY),
    transactionSeconds: settings.integer("TRANSACTION_SECONDS", 600, 30, 3_600),
    authorizationCodeSeconds: settings.integer("AUTHORIZATION_CODE_SECONDS", 60, 5, 600),
    refreshGraceSeconds: settings.integer("REFRESH_GRACE_SECONDS", 120, 0, 600),
    clientSeconds: settings.integer("CLIENT_SECONDS", 90 * DAY, 600, 800 * DAY),
    unusedClientSeconds: settings.integer("UNUSED_CLIENT_SECONDS", DAY / 2, 600, 90 * DAY),
  };
  if (seconds.clientSeconds < seconds.grantIdleSeconds + RENEWAL_SECONDS)
    settings.problem(
      "CLIENT_SECONDS",
      "must exceed GRANT_IDLE_SECONDS by a day, or a client would be forgotten before its grants",
      `set it to ${seconds.grantIdleSeconds + RENEWAL_SECONDS} at least, or lower GRANT_IDLE_SECONDS`,
    );
  return seconds;
}

/** In the forms that express takes, too. */
function isAddressRange(entry: string): boolean {
  const [address = "", prefix] = entry.split("/");
  if (isIP(address) === 0) return false;
  return prefix === undefined || (ipaddr.isValidCIDR(entry) && Number(prefix) > 0);
}

/** Also of desktop applications and browser extensions, whose schemes have no origin to `URL`: `app://obsidian.md`. */
function isOrigin(entry: string): boolean {
  if (!URL.canParse(entry)) return false;
  const { origin } = new URL(entry);
  const isOfApplication = origin === "null" && /^(?!file:)[a-z][a-z0-9+.-]*:\/\/[a-z0-9._:-]+$/.test(entry);
  return origin === entry || isOfApplication;
}
