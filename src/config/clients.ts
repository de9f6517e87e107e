/** Clients: who may register or bring a document, who is known from the start, and when users are asked. */

import type { ConsentMode } from "../authorization/consent-mode.ts";
import { type ConfiguredClient, parseConfiguredClients } from "../clients/configured-clients.ts";
import { isClientIdUrl } from "../clients/metadata-documents/client-id-metadata.ts";
import { type DomainPolicy, parseDomainPattern } from "../clients/metadata-documents/domain-policy.ts";
import type { RegistrationPolicy } from "../clients/registration-policy.ts";
import { parseRedirectUriPattern, type RedirectUriPattern } from "../oauth/redirect-uri-pattern.ts";
import { isPercentEncoded, type Settings } from "./settings.ts";

const DAY = 86_400;
/** The document of a client that many people have: where it can be fetched, those of others can as a rule. */
const DEFAULT_PROBE = "https://claude.ai/oauth/claude-code-client-metadata";

/** Clients that bring their metadata along as a document (Client ID Metadata Documents). */
export interface ClientIdMetadataConfig {
  enabled: boolean;
  /** The server's metadata offer them: always, or while {@link probe} can be fetched. */
  offered: "always" | "while_reachable";
  /** A metadata document that is there, to try whether documents can be fetched. */
  probe: string;
  domains: DomainPolicy;
  /** The forward proxy through which they are fetched, with its name and password. */
  proxy?: URL;
}

/** When a user is asked, and for how long a "do not ask again" holds. */
export interface ConsentConfig {
  mode: ConsentMode;
  rememberSeconds: number;
}

/** What the operator decides about clients. */
export interface ClientsConfig {
  registration: RegistrationPolicy;
  clientIdMetadata: ClientIdMetadataConfig;
  /** Clients that the operator registered. */
  clients: readonly ConfiguredClient[];
  /** Redirect URIs that clients may use; none listed: all that the rules allow. */
  redirectUriPatterns: readonly RedirectUriPattern[];
  consent: ConsentConfig;
}

export function clientsConfig(settings: Settings): ClientsConfig {
  const config: ClientsConfig = {
    registration: registration(settings),
    clientIdMetadata: clientIdMetadata(settings),
    clients: configuredClients(settings),
    redirectUriPatterns: redirectUriPatterns(settings),
    consent: consent(settings),
  };
  refuseUnaskedStrangers(config, settings);
  return config;
}

function registration(settings: Settings): RegistrationPolicy {
  const mode = settings.oneOf("REGISTRATION", ["open", "token", "off"]);
  const tokens = settings.list(
    "REGISTRATION_TOKENS",
    (token) => token.length >= 16,
    "tokens of at least 16 characters",
  );
  if (mode === "token" && tokens.length === 0)
    settings.problem(
      "REGISTRATION",
      "is token, which needs REGISTRATION_TOKENS",
      "set that to the tokens that permit registration, or choose another REGISTRATION",
    );
  if (mode !== "token" && tokens.length > 0)
    settings.problem(
      "REGISTRATION_TOKENS",
      "is set but not asked for",
      "set REGISTRATION=token, or remove the tokens",
    );
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
  const mode = settings.oneOf("CLIENT_ID_METADATA", ["auto", "on", "off"]);
  const probe = settings.optional("CLIENT_ID_METADATA_PROBE") ?? DEFAULT_PROBE;
  if (!isClientIdUrl(probe))
    settings.problem(
      "CLIENT_ID_METADATA_PROBE",
      "must be the https URL of a metadata document",
      "write it in full, or leave it out",
    );
  const proxy = forwardProxy(settings);
  return {
    ...(proxy && { proxy }),
    enabled: mode !== "off",
    offered: mode === "auto" ? "while_reachable" : "always",
    probe,
    domains: {
      allow: allowed.length === 0 ? "any" : allowed.flatMap(domainPattern),
      deny: settings.list("CLIENT_DOMAINS_DENIED", isPattern, form).flatMap(domainPattern),
    },
  };
}

/** The value is not repeated in the message: it may have a password in it. */
function forwardProxy(settings: Settings): URL | undefined {
  const value = settings.optional("CLIENT_ID_METADATA_PROXY");
  if (value === undefined) return undefined;
  if (isForwardProxy(value)) return new URL(value);
  settings.problem(
    "CLIENT_ID_METADATA_PROXY",
    "must be the address of a forward proxy, such as http://proxy.example.com:3128 or http://user:password@proxy.example.com:3128",
    "write it so, with special characters of the password percent-encoded",
  );
  return undefined;
}

function isForwardProxy(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, pathname, search, hash, username, password } = new URL(value);
  return (
    protocol === "http:" &&
    pathname === "/" &&
    `${search}${hash}` === "" &&
    isPercentEncoded(username) &&
    isPercentEncoded(password)
  );
}

function domainPattern(text: string): string[] {
  const parsed = parseDomainPattern(text);
  return "pattern" in parsed ? [parsed.pattern] : [];
}

function configuredClients(settings: Settings): ConfiguredClient[] {
  const text = settings.optional("CLIENTS");
  return text === undefined ? [] : (settings.parsed("CLIENTS", text, parseConfiguredClients) ?? []);
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

/** Without consent, whoever can register a client could use the login of everybody who follows a link. */
function refuseUnaskedStrangers(
  { consent, registration, clientIdMetadata }: ClientsConfig,
  settings: Settings,
): void {
  if (consent.mode === "never" && (registration.mode !== "off" || clientIdMetadata.enabled))
    settings.problem(
      "CONSENT",
      "is never, which needs REGISTRATION=off and CLIENT_ID_METADATA=off, because only clients in CLIENTS may go unasked",
      "set both to off, or choose another CONSENT",
    );
}
