/** Any OpenID Connect provider, through openid-client. */
import type { JWTPayload } from "jose";
import * as oidc from "openid-client";
import { CodeSpentError, UnavailableError } from "../../oauth/errors.ts";
import { asParameters, type RequiredAuthentication } from "../../oauth/required-authentication.ts";
import { isPatternOfTenants } from "../../oauth/tenant-issuer.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { scopesToAsk, unaskedScopes } from "../asked-scopes.ts";
import { scopesAtRenewal, scopesAtSignIn } from "../granted-scopes.ts";
import {
  type IdentificationRequest,
  type IdentityProvider,
  UnacceptableAnswer,
  type UpstreamLogin,
  type UpstreamTokens,
} from "../identity-provider.ts";
import { profileOf } from "../profiles/profiles.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import { answer } from "./answers.ts";
import { createClientAuthentication } from "./client-authentication.ts";
import { type ClientThere, cachedDiscovery, type Discovered } from "./discovery.ts";
import { identityAssertion } from "./identity-assertion.ts";
import { verifyLogoutToken } from "./logout-token.ts";
import { isPushed, pushedRequest } from "./pushed-requests.ts";
import { onlyDefinite } from "./renewal-refusals.ts";
import { exchangeOfTenant, foundOf, issuerClaimedBy } from "./tenants.ts";
import { tokenEndpointFetch, UNVERIFIED_ID_TOKEN } from "./token-endpoint-fetch.ts";
import { exchangeToken } from "./token-exchange.ts";
import { checkIdToken, decodedClaims, verifyAccessToken, verifyIdToken } from "./token-verification.ts";
import {
  asIdentified,
  authenticationOf,
  fetchUserInfo,
  isIncomplete,
  mergeClaims,
  renewableClaims,
  renewedClaims,
  withoutProtocolClaims,
} from "./user-claims.ts";

// The scopes that identify a user.
const IDENTITY_SCOPES = ["openid", "profile", "email"];

/** A confidential client of one provider. Nothing is fetched before the first use. */
export function createOidcProvider(config: IdentityProviderSettings, runtime: Runtime): IdentityProvider {
  const { now } = runtime;
  const profile = profileOf(config);
  const discovered = cachedDiscovery(config, runtime);
  const exchanger = exchangeClientOf(config, runtime);
  /** The same provider, for whoever exchanges there. */
  const exchanging = (found: Discovered): Discovered =>
    exchanger === undefined
      ? found
      : { ...found, configuration: found.as(found.metadata.issuer, undefined, exchanger) };

  const asking = ({ metadata }: Discovered, toolScopes: readonly string[]) =>
    scopesToAsk(config, { ...metadata }, toolScopes);

  async function loginUrl(
    { configuration, metadata }: Discovered,
    request: IdentificationRequest,
    parameters: Record<string, string>,
  ): Promise<URL> {
    const asked = {
      ...parameters,
      redirect_uri: request.redirectUri,
      state: request.state,
      nonce: request.nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(request.codeVerifier),
      code_challenge_method: "S256",
      ...(config.organization !== undefined && { organization: config.organization }),
    };
    return isPushed(config, metadata)
      ? await pushedRequest(oidc.buildAuthorizationUrlWithPAR(configuration, asked))
      : oidc.buildAuthorizationUrl(configuration, asked);
  }

  /** openid-client requires an ID token and validates its claims; its signature is for us to check. */
  async function exchange(all: Discovered, parameters: URLSearchParams, request: IdentificationRequest) {
    const exchangeBy = (by: oidc.Configuration) => exchangeCode(by, parameters, request);
    const response = await answer(
      isPatternOfTenants(config.issuer)
        ? exchangeOfTenant(all, config, exchangeBy)
        : exchangeBy(all.configuration),
    );
    const idClaims = response.claims();
    if (idClaims === undefined || response.id_token === undefined)
      throw new UnacceptableAnswer("no_id_token");
    await afterExchange(answer(verifyIdToken(response.id_token, all, runtime)));
    checkIdToken(idClaims, config.clientId);
    // What openid-client has compared: of a provider with many tenants, that of one of them.
    const issuer = isPatternOfTenants(config.issuer) ? idClaims.iss : config.issuer;
    return { response, idClaims, issuer, found: foundOf(issuer, all) };
  }

  return {
    async authorizationUrl(request) {
      const found = await discovered();
      return await loginUrl(found, request, {
        ...config.authorizationParameters,
        ...authenticationParameters(request.authentication, config.authorizationParameters),
        scope: asking(found, request.scopes).join(" "),
        ...(config.audience !== undefined && { audience: config.audience }),
      });
    },

    async identificationUrl(request, another) {
      const found = await discovered();
      const offered = asking(found, []);
      return await loginUrl(found, request, {
        scope: IDENTITY_SCOPES.filter((scope) => scope === "openid" || offered.includes(scope)).join(" "),
        ...(another && { prompt: profile.promptForAnother }),
      });
    },

    async identify(callbackParameters, request) {
      const { idClaims, issuer } = await exchange(await discovered(), callbackParameters, request);
      return { issuer, ...authenticationOf(idClaims), claims: withoutProtocolClaims(idClaims) };
    },

    async finishLogin(callbackParameters, request) {
      const { response, idClaims, issuer, found } = await exchange(
        await discovered(),
        callbackParameters,
        request,
      );
      const accessToken = response.access_token;
      const accessClaims = await afterExchange(
        answer(verifyAccessToken(found, config, accessToken, runtime)),
      );
      const userInfo =
        accessClaims === undefined ||
        isIncomplete(mergeClaims(idClaims, accessClaims), config, request.deciding)
          ? await afterExchange(fetchUserInfo(found, config, accessToken, idClaims.sub, runtime))
          : undefined;
      const authentication = authenticationOf(idClaims);
      const claims = asIdentified(mergeClaims(idClaims, userInfo ?? {}, accessClaims ?? {}), authentication);
      return {
        issuer,
        ...authentication,
        claims: withoutProtocolClaims(claims),
        renewable: renewableClaims(accessClaims ?? userInfo ?? {}),
        scopes: scopesAtSignIn(config.scopeSources, {
          responseScope: response.scope,
          accessClaims,
          claims,
          wanted: request.scopes,
          asked: asking(found, request.scopes),
        }),
        tokens: {
          ...tokensOf(response, now(), accessClaims),
          ...(config.keepsIdToken && keptIdToken(response.id_token, idClaims.sub)),
        },
      } satisfies UpstreamLogin;
    },

    async refresh(refreshToken, { issuer, subject, renewable }) {
      const found = foundOf(issuer, await discovered());
      const response = await onlyDefinite(answer(oidc.refreshTokenGrant(found.configuration, refreshToken)));
      const accessClaims = decodedClaims(response.access_token);
      const tokens = tokensOf(response, now(), accessClaims);
      // Nothing below can throw: the old refresh token may be spent by now.
      const claims = await renewedClaims(found, config, response.access_token, subject, runtime);
      return {
        // A provider that does not rotate sends no new one: the old one stays good (RFC 6749 §6).
        tokens: {
          ...tokens,
          refreshToken: tokens.refreshToken ?? refreshToken,
          ...(config.keepsIdToken && keptIdToken(response[UNVERIFIED_ID_TOKEN], subject)),
        },
        scopes: scopesAtRenewal(config.scopeSources, {
          responseScope: response.scope,
          accessClaims,
          claims,
          renewable,
        }),
        claims,
      };
    },

    async exchange(accessToken, api, user) {
      return await exchangeToken(
        exchanging(foundOf(user.issuer, await discovered())),
        config,
        { accessToken, api, user },
        now(),
      );
    },

    async assertionFor(idToken, api, { issuer }) {
      return await identityAssertion(foundOf(issuer, await discovered()), idToken, api);
    },

    async revoke(token, kind = "refresh_token") {
      const found = await discovered();
      const { configuration, metadata } = kind === "access_token" ? exchanging(found) : found;
      if (metadata.revocation_endpoint === undefined) return;
      await answer(oidc.tokenRevocation(configuration, token, { token_type_hint: kind }));
    },

    async verifyLogoutToken(token) {
      const issuer = issuerClaimedBy(token, config);
      const { metadata, keys } = foundOf(issuer, await discovered());
      const rules = {
        issuer: metadata.issuer,
        keys: keys.ofStrangersToken,
        audiences: [config.clientId],
        exp: config.logoutTokenExp,
      };
      return { issuer, ...(await answer(verifyLogoutToken(token, rules, now()))) };
    },

    async endSessionUrl() {
      const { end_session_endpoint: endpoint } = (await discovered()).metadata;
      const url = endpoint ?? profile.endSessionUrl?.(config.issuer);
      if (url === undefined) return undefined;
      const target = new URL(url);
      target.searchParams.set("client_id", config.clientId);
      return target;
    },

    async unaskedScopes(toolScopes) {
      return unaskedScopes(config, { ...(await discovered()).metadata }, toolScopes);
    },

    ready: async () => void (await discovered()),
  };
}

function exchangeClientOf(config: IdentityProviderSettings, runtime: Runtime): ClientThere | undefined {
  const { exchangeClient, preset, issuer, tokenEndpointAuthMethod } = config;
  if (exchangeClient === undefined) return undefined;
  const authentication = createClientAuthentication(
    { preset, issuer, tokenEndpointAuthMethod, ...exchangeClient },
    tokenEndpointFetch(runtime),
    runtime,
  );
  return { clientId: exchangeClient.clientId, authentication };
}

function exchangeCode(
  configuration: oidc.Configuration,
  parameters: URLSearchParams,
  request: IdentificationRequest,
) {
  const callback = new URL(request.redirectUri);
  callback.search = parameters.toString();
  return oidc.authorizationCodeGrant(configuration, callback, {
    expectedState: request.state,
    expectedNonce: request.nonce,
    pkceCodeVerifier: request.codeVerifier,
    idTokenExpected: true,
  });
}

/** Marks an outage in what is checked when the code is used up. */
async function afterExchange<T>(check: Promise<T>): Promise<T> {
  try {
    return await check;
  } catch (error) {
    throw error instanceof UnavailableError ? new CodeSpentError(error) : error;
  }
}

/** What a client asks for never weakens what the operator has every sign-in ask for. */
function authenticationParameters(
  required: RequiredAuthentication = {},
  { max_age: operatorsAge, acr_values: operatorsValues }: Readonly<Record<string, string>>,
): Record<string, string> {
  const { max_age, acr_values } = asParameters(required);
  const ages = [max_age, operatorsAge].flatMap((age) => (age === undefined ? [] : [Number(age)]));
  const permitted = operatorsValues?.split(" ");
  const values = acr_values?.split(" ").filter((value) => permitted?.includes(value) ?? true) ?? [];
  return {
    ...(max_age !== undefined && { max_age: String(Math.min(...ages)) }),
    ...(values.length > 0 && { acr_values: values.join(" ") }),
  };
}

/** To be shown to the provider again, which verifies it: of a refresh nobody here has (OpenID Connect Core §12.2). */
function keptIdToken(token: unknown, subject: string): Pick<UpstreamTokens, "idToken"> {
  if (typeof token !== "string") return {};
  const { sub, exp } = decodedClaims(token) ?? {};
  return sub === subject && exp !== undefined ? { idToken: { token, expiresAt: exp } } : {};
}

// Assumed if the provider does not say: it is asked again after an hour.
const ASSUMED_LIFETIME_SECONDS = 3_600;

function tokensOf(response: oidc.TokenEndpointResponse, now: number, claims?: JWTPayload): UpstreamTokens {
  const said = response.expires_in === undefined ? claims?.exp : now + response.expires_in;
  const expiresAt = Math.floor(said ?? now + ASSUMED_LIFETIME_SECONDS);
  return {
    accessToken: response.access_token,
    obtainedAt: now,
    ...(response.refresh_token !== undefined && { refreshToken: response.refresh_token }),
    expiresAt,
  };
}
