/** The environment, parsed once into a read-only Config, or refused with one message that lists every problem. */
import ipaddr from "ipaddr.js";
import { type DomainPolicy, parseDomainPattern } from "./clients/cimd-domain-policy.ts";
import { type ConfiguredClient, parseConfiguredClients } from "./clients/configured-clients.ts";
import { RENEWAL_SECONDS } from "./clients/find-client.ts";
import { type StoreConfig, storeConfig } from "./config-store.ts";
import { parseRedirectUriPattern, type RedirectUriPattern } from "./oauth/redirect-uri-pattern.ts";
import type { Membership } from "./policy/membership.ts";
import { type Environment, originProblem, Settings } from "./settings.ts";
import {
  parseScopeClaimMap,
  type ScopeClaim,
  type ScopeSources,
  TOKEN_SOURCES,
} from "./upstream/scope-sources.ts";

export interface UpstreamConfig {
  /** "auth0" sends `audience`, forwards API scopes and reads `permissions`; "oidc" follows discovery. */
  preset: "auth0" | "oidc";
  issuer: string;
  clientId: string;
  clientSecret: string;
  audience?: string;
  /** Asked for at every sign-in, beside what the tools need; absent: the usual ones, as far as discovery lists them. */
  scopes?: readonly string[];
  /** Who is believed about the scopes that a user has. */
  scopeSources: ScopeSources;
  /** Auth0's: sign-in is for members of it. */
  organization?: string;
  timeoutSeconds: number;
}

/** How many live grants a user may have; the oldest end first. */
export interface GrantLimits {
  perUser: number;
  perUserAndClient: number;
}

/** What each replica keeps of grants that are in use. */
export interface GrantCacheConfig {
  /** At most so many; 0 keeps none. */
  entries: number;
  /** Asked for anew after this long, in case the word of a change was lost. */
  seconds: number;
  /** While the store is out of reach, a grant that was seen this long ago still counts. */
  outageSeconds: number;
}

/** Clients that bring their metadata along as a document (Client ID Metadata Documents). */
export interface ClientIdMetadataConfig {
  enabled: boolean;
  domains: DomainPolicy;
}

/** Who may register a client (RFC 7591), and how often. */
export interface Registration {
  mode: "open" | "token" | "off";
  /** Initial access tokens; any of them permits. */
  tokens: readonly string[];
  perAddressPerHour: number;
  perHour: number;
}

/** When a user is asked, and for how long a "do not ask again" holds. */
export interface ConsentConfig {
  mode: "always" | "remember" | "never";
  rememberSeconds: number;
}

/** Where the audit log goes beside the log. */
export interface AuditConfig {
  /** A file's path, `stdout` or `stderr`. */
  destination?: string;
  /** Whether it has the arguments of calls. */
  arguments: boolean;
}

/** Who may see how the server is doing. */
export interface TelemetryConfig {
  /** The bearer token that opens `/metrics`. */
  metricsToken?: string;
  /** The OpenTelemetry collector's URL, without `/v1/traces`. */
  traceEndpoint?: string;
}

/** How the pages look. */
export interface Brand {
  name: string;
  /** https, or http on a loopback host. */
  logoUrl?: string;
  /** `#rrggbb`. */
  color?: string;
}

export interface Lifetimes {
  accessTokenSeconds: number;
  /** A grant ends when it was not used for this long … */
  grantIdleSeconds: number;
  /** … and in any case after this long. */
  grantSeconds: number;
  /** Consent and login must be finished within this time. */
  transactionSeconds: number;
  authorizationCodeSeconds: number;
  /** How long a client may repeat a refresh whose answer it did not receive. */
  refreshGraceSeconds: number;
  /** A registration that was not used for this long is forgotten … */
  clientSeconds: number;
  /** … and one that never was, after this long. */
  unusedClientSeconds: number;
}

export interface Config {
  /** The public URL without a trailing slash; also the issuer. */
  baseUrl: string;
  /** `baseUrl/mcp`: what tokens are issued for. */
  resource: string;
  /** What people see on the pages. */
  brand: Brand;
  registration: Registration;
  clientIdMetadata: ClientIdMetadataConfig;
  /** Clients that the operator registered. */
  clients: readonly ConfiguredClient[];
  /** Redirect URIs that clients may use; none listed: all that the rules allow. */
  redirectUriPatterns: readonly RedirectUriPattern[];
  consent: ConsentConfig;
  /** How many sign-ins one address may start in an hour. */
  signInsPerAddressPerHour: number;
  /** To /token, /revoke and /introspect. */
  tokenRequestsPerMinute: { perAddress: number; perClient: number };
  /** Addresses and ranges of reverse proxies whose `X-Forwarded-*` headers are believed. */
  trustedProxies: readonly string[];
  /** Browser origins that may call `/mcp`, beside our own and those on this computer. */
  allowedOrigins: readonly string[];
  host: string;
  port: number;
  upstream: UpstreamConfig;
  /** Who may come in at all. */
  membership: Membership;
  store: StoreConfig;
  /** The first encrypts; all decrypt. */
  secretKeys: readonly string[];
  lifetimes: Lifetimes;
  grantLimits: GrantLimits;
  grantCache: GrantCacheConfig;
  /** What the lists show: what the caller's scopes allow, or everything that the policy does. */
  listed: "granted" | "all";
  /** Who may do what beyond the scopes: the path of a file. */
  policyFile?: string;
  audit: AuditConfig;
  telemetry: TelemetryConfig;
  /** How long requests are still taken after readiness went off. */
  shutdownDelaySeconds: number;
  shutdownSeconds: number;
  logLevel: string;
  weather: { geocodingUrl: string; forecastUrl: string; timeoutSeconds: number };
}

const DAY = 86_400;

/** Everything that is wrong with the environment, each line with its remedy. */
export class ConfigError extends Error {
  constructor(problems: readonly string[]) {
    super(
      [
        `${problems.length} setting${problems.length === 1 ? "" : "s"} to fix.`,
        ...problems.map((problem) => `  - ${problem}`),
        "Every setting is explained in .env.example.",
      ].join("\n"),
    );
    this.name = "ConfigError";
  }
}

/** @throws ConfigError listing every missing or bad setting. */
export function loadConfig(environment: Environment): Config {
  const settings = new Settings(environment);
  const baseUrl = settings.publicUrl(
    "BASE_URL",
    "the public URL of this server, such as https://mcp.example.com",
  );
  const provider = upstream(settings);
  const policyFile = settings.optional("POLICY_FILE");
  const config: Config = {
    baseUrl,
    resource: `${baseUrl}/mcp`,
    brand: brand(settings),
    registration: registration(settings),
    clientIdMetadata: clientIdMetadata(settings),
    clients: configuredClients(settings),
    redirectUriPatterns: redirectUriPatterns(settings),
    consent: consent(settings),
    signInsPerAddressPerHour: settings.integer("SIGN_INS_PER_ADDRESS_PER_HOUR", 3_000, 1, 10_000_000),
    tokenRequestsPerMinute: {
      perAddress: settings.integer("TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE", 3_000, 1, 10_000_000),
      perClient: settings.integer("TOKEN_REQUESTS_PER_CLIENT_PER_MINUTE", 3_000, 1, 10_000_000),
    },
    trustedProxies: settings.list(
      "TRUSTED_PROXIES",
      isAddressRange,
      "addresses or ranges such as 10.0.0.0/8",
    ),
    allowedOrigins: settings.list("ALLOWED_ORIGINS", isOrigin, "origins such as https://app.example.com"),
    host: settings.text("HOST", "0.0.0.0"),
    port: settings.integer("PORT", 3000, 1, 65_535),
    upstream: provider,
    membership: membership(settings, provider),
    store: storeConfig(settings),
    secretKeys: secretKeys(settings),
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
    listed: settings.oneOf("TOOLS_LISTED", ["granted", "all"]),
    ...(policyFile !== undefined && { policyFile }),
    audit: audit(settings),
    telemetry: telemetry(settings),
    shutdownDelaySeconds: settings.integer("SHUTDOWN_DELAY_SECONDS", 0, 0, 600),
    shutdownSeconds: settings.integer("SHUTDOWN_SECONDS", 8, 1, 600),
    logLevel: settings.oneOf("LOG_LEVEL", ["info", "fatal", "error", "warn", "debug", "trace", "silent"]),
    weather: {
      geocodingUrl: settings.url(
        "OPEN_METEO_GEOCODING_URL",
        "https://geocoding-api.open-meteo.com/v1/search",
      ),
      forecastUrl: settings.url("OPEN_METEO_FORECAST_URL", "https://api.open-meteo.com/v1/forecast"),
      timeoutSeconds: settings.integer("OPEN_METEO_TIMEOUT_SECONDS", 10, 1, 60),
    },
  };
  refuseUnaskedStrangers(config, settings);
  if (settings.problems.length > 0) throw new ConfigError(settings.problems);
  return Object.freeze(config);
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
  if (metricsToken !== undefined && !/^\S{16,}$/.test(metricsToken))
    settings.problem("METRICS_TOKEN must have at least 16 characters, and no space");
  const traces = settings.optional("OTEL_EXPORTER_OTLP_ENDPOINT");
  return {
    ...(metricsToken !== undefined && { metricsToken }),
    ...(traces !== undefined && { traceEndpoint: settings.url("OTEL_EXPORTER_OTLP_ENDPOINT", traces) }),
  };
}

function registration(settings: Settings): Registration {
  const mode = settings.oneOf("REGISTRATION", ["open", "token", "off"]);
  const tokens = settings.list(
    "REGISTRATION_TOKENS",
    (token) => token.length >= 16,
    "tokens of at least 16 characters",
  );
  if (mode === "token" && tokens.length === 0)
    settings.problem("REGISTRATION=token needs REGISTRATION_TOKENS: the tokens that permit registration");
  if (mode !== "token" && tokens.length > 0)
    settings.problem("REGISTRATION_TOKENS is set but not asked for: set REGISTRATION=token");
  return {
    mode,
    tokens,
    perAddressPerHour: settings.integer("REGISTRATIONS_PER_ADDRESS_PER_HOUR", 300, 1, 1_000_000),
    perHour: settings.integer("REGISTRATIONS_PER_HOUR", 2_000, 1, 1_000_000),
  };
}

function clientIdMetadata(settings: Settings): ClientIdMetadataConfig {
  const isPattern = (text: string) => "pattern" in parseDomainPattern(text);
  const form = "host names such as app.example.com or *.example.com";
  const allowed = settings.list("CLIENT_DOMAINS_ALLOWED", isPattern, form);
  return {
    enabled: settings.oneOf("CLIENT_ID_METADATA", ["on", "off"]) === "on",
    domains: {
      allow: allowed.length === 0 ? "any" : allowed.flatMap(domainPattern),
      deny: settings.list("CLIENT_DOMAINS_DENIED", isPattern, form).flatMap(domainPattern),
    },
  };
}

function domainPattern(text: string): string[] {
  const parsed = parseDomainPattern(text);
  return "pattern" in parsed ? [parsed.pattern] : [];
}

function configuredClients(settings: Settings): ConfiguredClient[] {
  const text = settings.optional("CLIENTS");
  if (text === undefined) return [];
  try {
    return parseConfiguredClients(text);
  } catch (error) {
    settings.problem(`CLIENTS ${error instanceof Error ? error.message : "is not valid"}`);
    return [];
  }
}

function redirectUriPatterns(settings: Settings): RedirectUriPattern[] {
  const form =
    "redirect URIs such as https://app.example.com/callback, https://*.example.com/oauth/* or http://localhost/*";
  return settings
    .list("ALLOWED_REDIRECT_URIS", (text) => parseRedirectUriPattern(text) !== undefined, form)
    .flatMap((text) => parseRedirectUriPattern(text) ?? []);
}

function consent(settings: Settings): ConsentConfig {
  return {
    mode: settings.oneOf("CONSENT", ["always", "remember", "never"]),
    rememberSeconds: settings.integer("CONSENT_REMEMBER_SECONDS", 30 * DAY, 60, 400 * DAY),
  };
}

/** Without consent, whoever can register a client could ride on the login of everybody who follows a link. */
function refuseUnaskedStrangers(
  { consent, registration, clientIdMetadata }: Config,
  settings: Settings,
): void {
  if (consent.mode === "never" && (registration.mode !== "off" || clientIdMetadata.enabled))
    settings.problem(
      "CONSENT=never needs REGISTRATION=off and CLIENT_ID_METADATA=off: only clients in CLIENTS may go unasked",
    );
}

function brand(settings: Settings): Brand {
  const logoUrl = settings.optional("SERVER_LOGO_URL");
  const color = settings.optional("SERVER_COLOR");
  if (logoUrl !== undefined) {
    const problem = originProblem(logoUrl);
    if (problem !== undefined) settings.problem(`SERVER_LOGO_URL ${problem}`);
  }
  if (color !== undefined && !/^#[0-9a-f]{6}$/i.test(color))
    settings.problem('SERVER_COLOR must be written like "#1f5fd6"');
  return {
    name: settings.text("SERVER_NAME", "MCP server"),
    ...(logoUrl !== undefined && { logoUrl }),
    ...(color !== undefined && { color }),
  };
}

function upstream(settings: Settings): UpstreamConfig {
  const scopes = settings.scopes("OIDC_SCOPES");
  const shared = {
    ...(scopes !== undefined && { scopes }),
    scopeSources: scopeSources(settings),
    timeoutSeconds: settings.integer("UPSTREAM_TIMEOUT_SECONDS", 10, 1, 60),
  };
  const isAuth0 = AUTH0_NAMES.some((name) => settings.optional(name) !== undefined);
  if (isAuth0) return { ...auth0(settings), ...shared };
  const audience = settings.optional("OIDC_AUDIENCE");
  return {
    preset: "oidc",
    issuer: settings.issuer("OIDC_ISSUER", "the issuer of your identity provider (or set AUTH0_DOMAIN)"),
    clientId: settings.required("OIDC_CLIENT_ID", "the client id your identity provider gave this server"),
    clientSecret: settings.required(
      "OIDC_CLIENT_SECRET",
      "the client secret your identity provider gave this server",
    ),
    ...(audience !== undefined && { audience }),
    ...shared,
  };
}

const AUTH0_NAMES = [
  "AUTH0_DOMAIN",
  "AUTH0_CLIENT_ID",
  "AUTH0_CLIENT_SECRET",
  "AUTH0_AUDIENCE",
  "AUTH0_ORGANIZATION",
];
const OIDC_NAMES = ["OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_AUDIENCE"];

function auth0(settings: Settings): Omit<UpstreamConfig, "scopes" | "scopeSources" | "timeoutSeconds"> {
  const both = OIDC_NAMES.filter((name) => settings.optional(name) !== undefined);
  if (both.length > 0)
    settings.problem(`${both.join(", ")} cannot be used together with AUTH0_… settings: remove one kind`);
  const domain = settings.required("AUTH0_DOMAIN", 'your tenant, such as "tenant.eu.auth0.com"');
  if (domain !== "" && !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(domain))
    settings.problem(
      'AUTH0_DOMAIN must be a host name such as "tenant.eu.auth0.com", without https:// and slashes',
    );
  const organization = settings.optional("AUTH0_ORGANIZATION");
  if (organization !== undefined && !/^[a-z0-9][a-z0-9_-]*$/i.test(organization))
    settings.problem('AUTH0_ORGANIZATION must be the id of one organization, such as "org_abc", or its name');
  return {
    preset: "auth0",
    issuer: `https://${domain.toLowerCase()}/`, // Auth0's issuer ends with a slash
    clientId: settings.required("AUTH0_CLIENT_ID", "the client id of your Regular Web Application"),
    clientSecret: settings.required(
      "AUTH0_CLIENT_SECRET",
      "the client secret of your Regular Web Application",
    ),
    audience: settings.required(
      "AUTH0_AUDIENCE",
      "the identifier of your Auth0 API; without it tokens are opaque",
    ),
    ...(organization !== undefined && { organization }),
  };
}

function scopeSources(settings: Settings): ScopeSources {
  const all: readonly string[] = [...TOKEN_SOURCES, "claim", "consent"];
  const form = `sources among ${all.slice(0, -1).join(", ")}, or consent alone`;
  const listed = settings.list("SCOPES_FROM", (entry) => all.includes(entry), form);
  const from: readonly string[] = listed.length === 0 ? TOKEN_SOURCES : listed;
  const claim = scopeClaim(settings, from.includes("claim"));
  if (from.includes("consent")) {
    if (from.length > 1)
      settings.problem(
        "SCOPES_FROM=consent stands alone: beside it nothing that the provider says would count",
      );
    return { kind: "consent" };
  }
  return {
    kind: "provider",
    tokens: TOKEN_SOURCES.filter((source) => from.includes(source)),
    ...(claim !== undefined && { claim }),
  };
}

function scopeClaim(settings: Settings, isSource: boolean): ScopeClaim | undefined {
  const path = settings.optional("SCOPE_CLAIM");
  const map = scopeClaimMap(settings);
  if (!isSource) {
    if (path !== undefined || map !== undefined)
      settings.problem("SCOPE_CLAIM and SCOPE_CLAIM_MAP count only with claim in SCOPES_FROM: add it there");
    return undefined;
  }
  if (path === undefined)
    settings.problem(
      "SCOPE_CLAIM is missing: with claim in SCOPES_FROM it names that claim, such as roles, realm_access.roles or https://example.com/roles",
    );
  return { path: path ?? "", ...(map !== undefined && { map }) };
}

function scopeClaimMap(settings: Settings): ScopeClaim["map"] {
  const text = settings.optional("SCOPE_CLAIM_MAP");
  if (text === undefined) return undefined;
  try {
    return parseScopeClaimMap(text);
  } catch (error) {
    settings.problem(`SCOPE_CLAIM_MAP ${error instanceof Error ? error.message : "is not valid"}`);
    return new Map();
  }
}

const USUAL_ORGANIZATION_CLAIM = "org_id";

function membership(settings: Settings, { organization }: UpstreamConfig): Membership {
  const organizations = settings.list("ALLOWED_ORGANIZATIONS", () => true, "organizations");
  const organizationClaim = settings.text("ORGANIZATION_CLAIM", USUAL_ORGANIZATION_CLAIM);
  if (organizations.length === 0 && organizationClaim !== USUAL_ORGANIZATION_CLAIM)
    settings.problem("ORGANIZATION_CLAIM keeps nobody out without ALLOWED_ORGANIZATIONS: list them");
  const emailDomains = settings.list(
    "ALLOWED_EMAIL_DOMAINS",
    isHostName,
    "host names such as example.com, without @ and without wildcards",
  );
  return {
    organizations,
    organizationClaim,
    emailDomains: emailDomains.map((domain) => domain.toLowerCase()),
    ...(organization !== undefined && { auth0Organization: organization }),
  };
}

function secretKeys(settings: Settings): string[] {
  const make = "make one with: openssl rand -base64 48";
  const text = settings.required("SECRET_KEY", `encrypts what is stored; ${make}`);
  const keys = text.split(",").map((key) => key.trim());
  if (text === "") return [];
  for (const [index, key] of keys.entries())
    if (Buffer.byteLength(key) < 32)
      settings.problem(`SECRET_KEY: key ${index + 1} has fewer than 32 bytes; ${make}`);
    else if (new Set(key).size < 10) settings.problem(`SECRET_KEY: key ${index + 1} is not random; ${make}`);
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
    unusedClientSeconds: settings.integer("UNUSED_CLIENT_SECONDS", 3 * DAY, 600, 90 * DAY),
  };
  if (seconds.clientSeconds < seconds.grantIdleSeconds + RENEWAL_SECONDS)
    settings.problem(
      "CLIENT_SECONDS must exceed GRANT_IDLE_SECONDS by a day: a client would be forgotten before its grants",
    );
  return seconds;
}

function isAddressRange(entry: string): boolean {
  return ipaddr.isValid(entry) || ipaddr.isValidCIDR(entry);
}

/** ASCII: an international domain in its `xn--` form. */
function isHostName(entry: string): boolean {
  const label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?";
  return new RegExp(`^${label}(\\.${label})*$`, "i").test(entry);
}

function isOrigin(entry: string): boolean {
  return URL.canParse(entry) && new URL(entry).origin === entry;
}
