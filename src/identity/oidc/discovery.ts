/** The provider's metadata and keys: fetched when first needed, cached, and refreshed in the background. */
import * as oidc from "openid-client";
import { causes } from "../../oauth/errors.ts";
import { CLOCK_TOLERANCE_SECONDS } from "../../oauth/jwt.ts";
import { isPatternOfTenants, metadataOfTenants } from "../../oauth/tenant-issuer.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import { outageOf } from "./answers.ts";
import { type ClientAuthentication, createClientAuthentication } from "./client-authentication.ts";
import { createProviderKeys, type ProviderKeys } from "./provider-keys.ts";
import { tokenEndpointFetch } from "./token-endpoint-fetch.ts";
import { checkEndpoints, issuerProblem } from "./trusted-metadata.ts";

const DISCOVERY_SECONDS = 3_600;
const DISCOVERY_RETRY_SECONDS = 1;

/** What discovery found, and what is built on it. */
export interface Discovered {
  configuration: oidc.Configuration;
  /** The same provider by another issuer, that of one of its tenants; with `fetch` in place of {@link send}. */
  as(issuer: string, fetch?: oidc.CustomFetch, client?: ClientThere): oidc.Configuration;
  /** How its endpoints are asked. */
  send: oidc.CustomFetch;
  /** What it says of the provider: openid-client makes a deep copy for everybody who asks. */
  metadata: Readonly<oidc.ServerMetadata>;
  keys: ProviderKeys;
}

/** Another client than that by which people sign in. */
export interface ClientThere {
  clientId: string;
  authentication: ClientAuthentication;
}

/** One discovery at a time, kept for an hour; an old result serves on while the provider is out of reach. */
export function cachedDiscovery(
  config: IdentityProviderSettings,
  runtime: Runtime,
): () => Promise<Discovered> {
  const { now, monotonicNow = now, log } = runtime;
  const authentication = createClientAuthentication(config, tokenEndpointFetch(runtime), runtime);
  let current: Discovered | undefined;
  let freshUntil = 0;
  let failure: unknown;
  let retryAt = 0;
  let attempt: Promise<Discovered> | undefined;

  async function attemptDiscovery(): Promise<Discovered> {
    try {
      const found = await discover(config, authentication);
      const metadata = found.configuration.serverMetadata();
      current = { ...found, metadata, keys: keysOf(metadata) };
      freshUntil = monotonicNow() + DISCOVERY_SECONDS;
      return current;
    } catch (cause) {
      failure = cause;
      retryAt = monotonicNow() + DISCOVERY_RETRY_SECONDS;
      log.error(
        { reason: "discovery_failed", issuer: config.issuer, cause: causes(cause) },
        "Discovery failed: nobody can sign in until the identity provider answers. Is its issuer right?",
      );
      if (current !== undefined) return current;
      throw outageOf("discovery_failed", cause);
    } finally {
      attempt = undefined;
    }
  }

  /** What is known of them outlasts the discovery, unless they are published elsewhere by now. */
  function keysOf({ jwks_uri: uri = "" }: Readonly<oidc.ServerMetadata>): ProviderKeys {
    // Which checkEndpoints() wants to be there.
    if (current?.keys.uri === uri) return current.keys;
    return createProviderKeys(uri, config.timeoutSeconds, runtime);
  }

  return async () => {
    if (current !== undefined) {
      // Refreshed in the background; the cached result is used meanwhile.
      if (monotonicNow() >= freshUntil && monotonicNow() >= retryAt) attempt ??= attemptDiscovery();
      return current;
    }
    if (monotonicNow() < retryAt) throw outageOf("discovery_failed", failure);
    attempt ??= attemptDiscovery();
    return attempt;
  };
}

/** For who only wants to see the document. */
export function withoutAuthentication(runtime: Pick<Runtime, "fetch">): ClientAuthentication {
  return { authenticate: oidc.None(), fetch: tokenEndpointFetch(runtime) };
}

/**
 * One look at the provider's discovery document: whether it is taken is decided here, for the server and for the doctor.
 * @throws Error that says what is wrong with it
 */
export async function discover(
  config: IdentityProviderSettings,
  { authenticate, fetch }: ClientAuthentication,
): Promise<Pick<Discovered, "configuration" | "as" | "send">> {
  // openid-client compares what it finds below an issuer with that, and the pattern of many tenants is none.
  const issuer = isPatternOfTenants(config.issuer)
    ? metadataOfTenants(config.issuer)
    : new URL(config.issuer);
  let redirection: string | undefined;
  const watched: oidc.CustomFetch = async (url, options) => {
    const response = await fetch(url, options);
    redirection ??= redirectionInWords(url, response);
    return response;
  };
  const metadata = { [oidc.clockTolerance]: CLOCK_TOLERANCE_SECONDS };
  // The configuration allows http for loopback hosts only.
  const execute = issuer.protocol === "http:" ? [oidc.allowInsecureRequests] : [];
  const configuration = await oidc
    .discovery(issuer, config.clientId, metadata, authenticate, {
      timeout: config.timeoutSeconds,
      [oidc.customFetch]: watched,
      execute,
    })
    .catch((cause) => {
      throw redirection === undefined ? cause : new Error(redirection);
    });
  configuration[oidc.customFetch] = fetch;
  const document: Readonly<oidc.ServerMetadata> = { ...configuration.serverMetadata() };
  const problem = issuerProblem(config.issuer, document.issuer);
  if (problem !== undefined)
    throw new Error(`The provider's issuer is ${document.issuer}, and not ${config.issuer}: ${problem}`);
  checkEndpoints(issuer, document);
  return {
    configuration,
    send: fetch,
    as(named, instead, client) {
      const another = new oidc.Configuration(
        { ...document, issuer: named },
        client?.clientId ?? config.clientId,
        metadata,
        client?.authentication.authenticate ?? authenticate,
      );
      another[oidc.customFetch] = instead ?? client?.authentication.fetch ?? fetch;
      another.timeout = config.timeoutSeconds;
      for (const extend of execute) extend(another);
      return another;
    },
  };
}

/**
 * OpenID Connect Discovery §4.2 has the document answered with 200. To follow would be to let whoever answers there choose
 * who our provider is. openid-client does not, and says no more than that the status was another.
 */
function redirectionInWords(url: string, { status, headers }: Response): string | undefined {
  const location = headers.get("location");
  if (status < 300 || status >= 400 || location === null || !URL.canParse(location, url)) return undefined;
  const { origin, pathname } = new URL(location, url); // a query may carry states and codes
  return `The discovery document is not at ${url}: HTTP ${status} leads to ${origin}${pathname}, which is not followed. If that is your provider, set OIDC_ISSUER to the issuer that the document there names`;
}
