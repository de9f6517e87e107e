/** What the provider says of itself, and its keys: fetched when first needed, kept, and renewed without anybody waiting. */
import { createRemoteJWKSet, customFetch } from "jose";
import * as oidc from "openid-client";
import type { UpstreamConfig } from "../config-upstream.ts";
import { causes, UnavailableError } from "../oauth/errors.ts";
import type { Surroundings } from "../surroundings.ts";
import { boundedFetch } from "./bounded-response.ts";
import { tokenEndpointFetch } from "./token-endpoint-fetch.ts";
import { CLOCK_TOLERANCE_SECONDS } from "./token-verification.ts";
import { checkEndpoints } from "./trusted-endpoints.ts";

const DISCOVERY_SECONDS = 3_600;
const DISCOVERY_RETRY_SECONDS = 1;
// Unknown keys come only in tokens that the provider itself handed to us: nobody can make us ask often.
const JWKS_COOLDOWN_MS = 1_000;

/** What discovery found, and what is built on it. */
export interface Discovered {
  configuration: oidc.Configuration;
  jwks: ReturnType<typeof createRemoteJWKSet>;
}

/** One discovery at a time, kept for an hour; an old result serves on while the provider is out of reach. */
export function cachedDiscovery(
  config: UpstreamConfig,
  { now, monotonicNow = now, log }: Surroundings,
): () => Promise<Discovered> {
  let current: Discovered | undefined;
  let freshUntil = 0;
  let failure: unknown;
  let retryAt = 0;
  let attempt: Promise<Discovered> | undefined;

  async function attemptDiscovery(): Promise<Discovered> {
    try {
      current = await discover(config);
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
      throw new UnavailableError("identity provider", { reason: "discovery_failed", cause });
    } finally {
      attempt = undefined;
    }
  }

  return async () => {
    if (current !== undefined) {
      // Nobody waits for a renewal; what is known serves on meanwhile.
      if (monotonicNow() >= freshUntil && monotonicNow() >= retryAt) attempt ??= attemptDiscovery();
      return current;
    }
    if (monotonicNow() < retryAt)
      throw new UnavailableError("identity provider", { reason: "discovery_failed", cause: failure });
    attempt ??= attemptDiscovery();
    return attempt;
  };
}

async function discover(config: UpstreamConfig): Promise<Discovered> {
  const issuer = new URL(config.issuer);
  const configuration = await oidc.discovery(
    issuer,
    config.clientId,
    { [oidc.clockTolerance]: CLOCK_TOLERANCE_SECONDS },
    // Some providers do not percent-decode Basic credentials; the body form is unambiguous.
    oidc.ClientSecretPost(config.clientSecret),
    {
      timeout: config.timeoutSeconds,
      [oidc.customFetch]: tokenEndpointFetch,
      // The configuration allows http for loopback hosts only.
      execute: issuer.protocol === "http:" ? [oidc.allowInsecureRequests] : [],
    },
  );
  checkEndpoints(issuer, { ...configuration.serverMetadata() });
  const { jwks_uri: jwksUri } = configuration.serverMetadata();
  if (jwksUri === undefined) throw new Error("The provider's discovery document names no jwks_uri");
  const jwks = createRemoteJWKSet(new URL(jwksUri), {
    timeoutDuration: config.timeoutSeconds * 1000,
    cooldownDuration: JWKS_COOLDOWN_MS,
    [customFetch]: boundedFetch,
  });
  return { configuration, jwks };
}
