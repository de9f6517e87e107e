/**
 * Another authorization server, of whose resources a tool calls one in a user's name: it believes what the identity provider
 * asserts of them (RFC 7523 §2.1, draft-ietf-oauth-identity-assertion-authz-grant §4.4). Nobody signs in there.
 */
import * as oidc from "openid-client";
import { JWT_BEARER_GRANT } from "../../oauth/client-metadata.ts";
import { OAuthError, UnavailableError } from "../../oauth/errors.ts";
import type { ApiRequest } from "../../oauth/other-api.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { type ExchangedToken, RefusedElsewhere, UpstreamRefusal } from "../identity-provider.ts";
import { answer } from "./answers.ts";
import type { ClientElsewhere } from "./authenticated-post.ts";
import { createClientAuthentication } from "./client-authentication.ts";
import { isOAuthCode, isOurMistake, passesByItself } from "./renewal-refusals.ts";
import { tokenEndpointFetch } from "./token-endpoint-fetch.ts";
import { checkedScopes, expiryOf } from "./token-exchange.ts";
import { decodedClaims } from "./token-verification.ts";

export interface AuthorizationServerSettings {
  /** Its issuer identifier (RFC 8414 §2). */
  readonly issuer: string;
  /** This server there. The identity provider has to know it by the same id, or by which one to name it. */
  readonly client: ClientElsewhere;
  /** Of one request. */
  readonly timeoutSeconds: number;
}

export interface AuthorizationServer {
  /** @throws RefusedElsewhere; UnavailableError */
  redeem(assertion: string, api: ApiRequest): Promise<ExchangedToken>;
  /** Where it can. @throws UnavailableError */
  revoke(accessToken: string): Promise<void>;
}

const METADATA_SECONDS = 3_600;

/** Nothing is fetched before the first use. @throws InvalidValue if its credential cannot be read */
export function createAuthorizationServer(
  settings: AuthorizationServerSettings,
  runtime: Runtime,
): AuthorizationServer {
  const { issuer, client, timeoutSeconds } = settings;
  const { now, monotonicNow = now } = runtime;
  const { authenticate, fetch } = createClientAuthentication(
    { preset: "oidc", issuer, ...client },
    tokenEndpointFetch(runtime),
    runtime,
  );
  let known: { configuration: Promise<oidc.Configuration>; until: number } | undefined;

  function discovered(algorithm: "oauth2" | "oidc"): Promise<oidc.Configuration> {
    const url = new URL(issuer);
    return oidc.discovery(url, client.clientId, {}, authenticate, {
      algorithm,
      timeout: timeoutSeconds,
      [oidc.customFetch]: fetch,
      execute: url.protocol === "http:" ? [oidc.allowInsecureRequests] : [],
    });
  }

  /** RFC 8414 §3, or else as OpenID providers publish them (§5). What failed is asked for again by the next one. */
  function configuration(): Promise<oidc.Configuration> {
    if (known !== undefined && monotonicNow() < known.until) return known.configuration;
    const found = discovered("oauth2").catch((error) =>
      discovered("oidc").catch(() => Promise.reject(error)),
    );
    known = { configuration: found, until: monotonicNow() + METADATA_SECONDS };
    found.catch(() => {
      known = undefined;
    });
    return found;
  }

  function outage(reason: ReasonCode, cause: unknown): UnavailableError {
    const isOurs = reason === "authorization_server_misconfigured";
    return new UnavailableError("authorization server", {
      reason,
      cause: new Error(`the authorization server ${issuer}`, { cause }),
      ...(isOurs && {
        description: `This server is not set up correctly at ${issuer}. Its operator has to repair that.`,
        untilRepaired: true,
      }),
    });
  }

  async function asked<T>(request: (configuration: oidc.Configuration) => Promise<T>): Promise<T> {
    try {
      const found = await configuration();
      return await answer(request(found));
    } catch (cause) {
      if (cause instanceof UpstreamRefusal && isOAuthCode(cause.code) && !passesByItself(cause.code)) {
        if (isOurMistake(cause)) throw outage("authorization_server_misconfigured", cause);
        throw new RefusedElsewhere(issuer, cause);
      }
      const isRejected = cause instanceof OAuthError && cause.reason === "client_credentials_rejected";
      throw outage(isRejected ? "authorization_server_misconfigured" : "authorization_server_failed", cause);
    }
  }

  return {
    async redeem(assertion, api) {
      const parameters = { assertion, ...(api.scopes.length > 0 && { scope: api.scopes.join(" ") }) };
      const response = await asked((by) => oidc.genericGrantRequest(by, JWT_BEARER_GRANT, parameters));
      if (response.token_type !== "bearer")
        throw outage("authorization_server_failed", new Error("its token is not used as a bearer token"));
      const claims = decodedClaims(response.access_token);
      const scopes = checkedScopes(response, claims, api, { scopeName: (scope) => scope });
      return {
        accessToken: response.access_token,
        ...(scopes !== undefined && { scopes }),
        obtainedAt: now(),
        expiresAt: Math.floor(expiryOf(response, claims, now())),
      };
    },
    async revoke(accessToken) {
      await asked(async (by) => {
        if (by.serverMetadata().revocation_endpoint === undefined) return;
        await oidc.tokenRevocation(by, accessToken, { token_type_hint: "access_token" });
      });
    },
  };
}
