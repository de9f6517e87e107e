/** Any OpenID Connect provider, through openid-client; access tokens that are JWTs are verified with jose. */
import {
  compactVerify,
  createRemoteJWKSet,
  decodeJwt,
  type JWTPayload,
  errors as jose,
  jwtVerify,
} from "jose";
import * as oidc from "openid-client";
import { z } from "zod";
import type { UpstreamConfig } from "../config.ts";
import { causes, UnavailableError } from "../oauth/errors.ts";
import { union } from "../oauth/scope.ts";
import type { Surroundings } from "../surroundings.ts";
import { grantedScopes } from "./granted-scopes.ts";
import {
  type IdentityProvider,
  type LoginRequest,
  type LogoutToken,
  type UpstreamLogin,
  UpstreamRefusal,
  type UpstreamTokens,
} from "./identity-provider.ts";
import { tokenEndpointFetch } from "./token-endpoint-fetch.ts";

// offline_access is what brings a refresh token, and with it sessions that outlast the provider's access token.
const USUAL_SCOPES = ["openid", "profile", "email", "offline_access"];

const CLOCK_TOLERANCE_SECONDS = 30;
const DISCOVERY_SECONDS = 3_600;
const DISCOVERY_RETRY_SECONDS = 1;
// Unknown keys come only in tokens that the provider itself handed to us: nobody can make us ask often.
const JWKS_COOLDOWN_MS = 1_000;

// Asymmetric only: with HS256 a public key would pass for the secret (RFC 8725 §3.1).
const ALGORITHMS = ["RS256", "PS256", "ES256", "RS384", "PS384", "ES384", "RS512", "PS512", "ES512", "EdDSA"];

/** What discovery found, and what is built on it. */
interface Discovered {
  configuration: oidc.Configuration;
  jwks: ReturnType<typeof createRemoteJWKSet>;
}

/** A confidential client of one provider. Nothing is fetched before the first use. */
export function createOidcProvider(config: UpstreamConfig, surroundings: Surroundings): IdentityProvider {
  const { now, log } = surroundings;
  const discovered = cachedDiscovery(config, surroundings);

  /** An unknown scope may fail the whole request (Google), so only what discovery lists is asked for unbidden. */
  function scopesToAsk({ configuration }: Discovered, toolScopes: readonly string[]): string[] {
    const offered = configuration.serverMetadata().scopes_supported;
    const offers = (scope: string) => offered === undefined || offered.includes(scope);
    // Auth0 does not list the scopes of its APIs.
    const known = config.preset === "auth0" ? toolScopes : toolScopes.filter(offers);
    return union(config.scopes ?? USUAL_SCOPES.filter(offers), known);
  }

  return {
    async authorizationUrl(request) {
      const found = await discovered();
      return oidc.buildAuthorizationUrl(found.configuration, {
        redirect_uri: request.redirectUri,
        scope: scopesToAsk(found, request.scopes).join(" "),
        state: request.state,
        nonce: request.nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(request.codeVerifier),
        code_challenge_method: "S256",
        ...(config.audience !== undefined && { audience: config.audience }),
      });
    },

    async finishLogin(callbackParameters, request) {
      const found = await discovered();
      const response = await answer(exchangeCode(found.configuration, callbackParameters, request));
      const idClaims = response.claims();
      // openid-client required an ID token and validated its claims; its signature is for us to check.
      if (idClaims === undefined || response.id_token === undefined) throw new UpstreamRefusal("no_id_token");
      await answer(verifySignature(response.id_token, found));
      const accessClaims = await answer(verifyAccessToken(found, config, response.access_token, log));
      const userInfo =
        accessClaims === undefined ? await fetchUserInfo(found, response, idClaims.sub, log) : {};
      return {
        subject: idClaims.sub,
        // Entra's access tokens carry another `sub` than its ID tokens; the user has one name here.
        claims: withoutProtocolClaims({ ...idClaims, ...userInfo, ...accessClaims, sub: idClaims.sub }),
        scopes: grantedScopes({
          responseScope: response.scope,
          requested: scopesToAsk(found, request.scopes),
          claims: accessClaims,
        }),
        tokens: tokensOf(response, now(), accessClaims),
      } satisfies UpstreamLogin;
    },

    async refresh(refreshToken) {
      const { configuration } = await discovered();
      const response = await onlyDefinite(answer(oidc.refreshTokenGrant(configuration, refreshToken)));
      const claims = decodedClaims(response.access_token);
      const tokens = tokensOf(response, now(), claims);
      return {
        // A provider that does not rotate sends no new one: the old one stays good (RFC 6749 §6).
        tokens: { ...tokens, refreshToken: tokens.refreshToken ?? refreshToken },
        scopes: grantedScopes({ responseScope: response.scope, requested: undefined, claims }),
      };
    },

    async revoke(refreshToken) {
      const { configuration } = await discovered();
      if (configuration.serverMetadata().revocation_endpoint === undefined) return;
      await answer(oidc.tokenRevocation(configuration, refreshToken, { token_type_hint: "refresh_token" }));
    },

    async verifyLogoutToken(token) {
      const found = await discovered();
      return await answer(verifyLogoutToken(token, found, config.clientId));
    },

    async endSessionUrl() {
      const { configuration } = await discovered();
      const { end_session_endpoint: endpoint } = configuration.serverMetadata();
      // Auth0 names its endpoint only in tenants that switched that on; this older one always works.
      const url =
        endpoint ?? (config.preset === "auth0" ? new URL("/v2/logout", config.issuer).href : undefined);
      if (url === undefined) return undefined;
      const target = new URL(url);
      target.searchParams.set("client_id", config.clientId);
      return target;
    },

    ready: async () => void (await discovered()),
  };
}

/** One discovery at a time, kept for an hour; an old result serves on while the provider is out of reach. */
function cachedDiscovery(config: UpstreamConfig, { now, log }: Surroundings): () => Promise<Discovered> {
  let current: Discovered | undefined;
  let freshUntil = 0;
  let failure: unknown;
  let retryAt = 0;
  let attempt: Promise<Discovered> | undefined;

  async function attemptDiscovery(): Promise<Discovered> {
    try {
      current = await discover(config);
      freshUntil = now() + DISCOVERY_SECONDS;
      return current;
    } catch (cause) {
      failure = cause;
      retryAt = now() + DISCOVERY_RETRY_SECONDS;
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
      if (now() >= freshUntil && now() >= retryAt) attempt ??= attemptDiscovery();
      return current;
    }
    if (now() < retryAt)
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
  const { jwks_uri: jwksUri } = configuration.serverMetadata();
  if (jwksUri === undefined) throw new Error("The provider's discovery document names no jwks_uri");
  const jwks = createRemoteJWKSet(new URL(jwksUri), {
    timeoutDuration: config.timeoutSeconds * 1000,
    cooldownDuration: JWKS_COOLDOWN_MS,
  });
  return { configuration, jwks };
}

function exchangeCode(configuration: oidc.Configuration, parameters: URLSearchParams, request: LoginRequest) {
  const callback = new URL(request.redirectUri);
  callback.search = parameters.toString();
  return oidc.authorizationCodeGrant(configuration, callback, {
    expectedState: request.state,
    expectedNonce: request.nonce,
    pkceCodeVerifier: request.codeVerifier,
    idTokenExpected: true,
  });
}

/**
 * openid-client would trust TLS alone here, or keep a key set that lacks a new key for a minute.
 * @throws UpstreamRefusal
 */
async function verifySignature(idToken: string, { jwks }: Discovered): Promise<void> {
  try {
    await compactVerify(idToken, jwks, { algorithms: ALGORITHMS });
  } catch (cause) {
    throw isJwtProblem(cause) ? new UpstreamRefusal("invalid_id_token", { cause }) : cause;
  }
}

/**
 * The verified claims of an access token that is a JWT for us; undefined for one that is opaque to us.
 * @throws UpstreamRefusal if it is meant for our audience and does not verify.
 */
async function verifyAccessToken(
  { configuration, jwks }: Discovered,
  { audience }: UpstreamConfig,
  accessToken: string,
  log: Surroundings["log"],
): Promise<JWTPayload | undefined> {
  if (accessToken.split(".").length !== 3) return undefined;
  try {
    const { payload } = await jwtVerify(accessToken, jwks, {
      issuer: configuration.serverMetadata().issuer,
      algorithms: ALGORITHMS,
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      ...(audience !== undefined && { audience }),
    });
    return payload;
  } catch (cause) {
    if (!isJwtProblem(cause)) throw cause;
    if (audience !== undefined) throw new UpstreamRefusal("invalid_access_token", { cause });
    // Asked for no audience, so this token is for somebody else (Entra's Graph tokens do not even verify).
    log.debug({ reason: "access_token_not_for_us", cause: causes(cause) }, "Access token treated as opaque");
    return undefined;
  }
}

const LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout";
const MAX_LOGOUT_TOKEN_AGE_SECONDS = 300;

/** OpenID Connect Back-Channel Logout §2.4 and §2.6. */
async function verifyLogoutToken(
  token: string,
  { configuration, jwks }: Discovered,
  clientId: string,
): Promise<LogoutToken> {
  try {
    const { payload } = await jwtVerify(token, jwks, {
      issuer: configuration.serverMetadata().issuer,
      audience: clientId,
      algorithms: ALGORITHMS,
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      maxTokenAge: MAX_LOGOUT_TOKEN_AGE_SECONDS,
      requiredClaims: ["jti", "iat"],
    });
    return LogoutClaims.parse(payload);
  } catch (cause) {
    if (isJwtProblem(cause) || cause instanceof z.ZodError)
      throw new UpstreamRefusal("invalid_logout_token", { cause });
    throw cause;
  }
}

/** An ID token must not pass for a logout token: it has no event, and a logout token has no nonce. */
const LogoutClaims = z
  .object({
    jti: z.string(),
    sub: z.string().optional(),
    sid: z.string().optional(),
    nonce: z.never().optional(),
    events: z.object({ [LOGOUT_EVENT]: z.object({}) }),
  })
  .refine(({ sub, sid }) => sub !== undefined || sid !== undefined, "names neither a user nor a session")
  .transform(
    ({ jti, sub, sid }): LogoutToken => ({
      jti,
      ...(sub !== undefined && { subject: sub }),
      ...(sid !== undefined && { sid }),
    }),
  );

function isJwtProblem(error: unknown): boolean {
  return (
    error instanceof jose.JOSEError && error.code !== "ERR_JWKS_TIMEOUT" && error.code !== "ERR_JOSE_GENERIC"
  );
}

/** More about the user, where the provider has it. Signing in does not depend on it. */
async function fetchUserInfo(
  { configuration }: Discovered,
  response: oidc.TokenEndpointResponse,
  subject: string,
  log: Surroundings["log"],
): Promise<Record<string, unknown>> {
  if (configuration.serverMetadata().userinfo_endpoint === undefined) return {};
  try {
    return await oidc.fetchUserInfo(configuration, response.access_token, subject);
  } catch (cause) {
    log.warn({ reason: "userinfo_failed", cause: causes(cause) }, "The claims come from the ID token alone");
    return {};
  }
}

/** Not verified: it came from the provider itself, and is used to take something away only. */
function decodedClaims(accessToken: string): JWTPayload | undefined {
  try {
    return decodeJwt(accessToken);
  } catch {
    return undefined;
  }
}

// What is assumed of a provider that does not say: it is asked again after an hour.
const ASSUMED_LIFETIME_SECONDS = 3_600;

function tokensOf(response: oidc.TokenEndpointResponse, now: number, claims?: JWTPayload): UpstreamTokens {
  const said = response.expires_in === undefined ? claims?.exp : now + response.expires_in;
  const expiresAt = Math.floor(said ?? now + ASSUMED_LIFETIME_SECONDS);
  return {
    accessToken: response.access_token,
    obtainedAt: now,
    ...(response.refresh_token !== undefined && { refreshToken: response.refresh_token }),
    ...(response.id_token !== undefined && { idToken: response.id_token }),
    expiresAt,
  };
}

/** Drops what belongs to one message of the protocol and says nothing of the person. */
function withoutProtocolClaims(claims: Record<string, unknown>): Record<string, unknown> {
  const { nonce, at_hash, c_hash, s_hash, jti, nbf, ...rest } = claims;
  return rest;
}

/** Sorts every failure into a definite refusal or an outage; an unknown one is an outage, so that nobody is signed out. */
async function answer<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (cause) {
    if (cause instanceof UpstreamRefusal) throw cause;
    const code = refusalCode(cause);
    if (code !== undefined) throw new UpstreamRefusal(code, { description: descriptionOf(cause), cause });
    if (cause instanceof oidc.ResponseBodyError && REJECTS_US.has(cause.error))
      throw new UnavailableError("identity provider", {
        reason: "client_credentials_rejected",
        cause: new Error("the provider rejects this server's client id or secret: check them", { cause }),
        description:
          "This server is not set up correctly at its identity provider. Its operator has to repair that.",
      });
    throw new UnavailableError("identity provider", { reason: "identity_provider_failed", cause });
  }
}

function descriptionOf(error: unknown): string | undefined {
  const isAnswer =
    error instanceof oidc.ResponseBodyError || error instanceof oidc.AuthorizationResponseError;
  return isAnswer ? error.error_description : undefined;
}

/** What ends a grant for good; a provider says many other things when it is throttled, patched or misconfigured. */
const ENDS_A_GRANT = new Set([
  "invalid_grant",
  "access_denied",
  "consent_required",
  "interaction_required",
  "login_required",
]);

async function onlyDefinite<T>(refreshed: Promise<T>): Promise<T> {
  try {
    return await refreshed;
  } catch (cause) {
    if (!(cause instanceof UpstreamRefusal) || ENDS_A_GRANT.has(cause.code)) throw cause;
    throw new UnavailableError("identity provider", { reason: "upstream_refresh_failed", cause });
  }
}

// What the provider says when the fault is on its side or in our own settings: no user's session ends for that.
const REJECTS_US = new Set(["invalid_client", "unauthorized_client"]);
const NOT_DEFINITE = new Set([...REJECTS_US, "server_error", "temporarily_unavailable", "slow_down"]);

const INVALID_MESSAGE = new Set([
  "OAUTH_JWT_CLAIM_COMPARISON_FAILED",
  "OAUTH_JWT_TIMESTAMP_CHECK_FAILED",
  "OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED",
  "OAUTH_INVALID_RESPONSE",
]);

function refusalCode(error: unknown): string | undefined {
  if (error instanceof oidc.ResponseBodyError) {
    return error.status >= 500 || error.status === 429 || NOT_DEFINITE.has(error.error)
      ? undefined
      : error.error;
  }
  if (error instanceof oidc.AuthorizationResponseError) return error.error;
  if (!(error instanceof oidc.ClientError)) return undefined;
  return INVALID_MESSAGE.has(error.code ?? "") ? "invalid_response" : undefined;
}
