/** Behaviour of Auth0 that oidc-provider has no setting for, added around its endpoints. */
import { createLocalJWKSet, jwtVerify } from "jose";
import type { JWK, KoaContextWithOIDC } from "oidc-provider";
import { ID_JAG } from "../client/oauth-client.ts";
import { type Settings, standardScopes } from "./configuration.ts";
import { publicPart } from "./public-key.ts";
import { claimsOf } from "./users.ts";

type Middleware = (ctx: KoaContextWithOIDC, next: () => Promise<void>) => Promise<void>;

/** `audience` selects the API as `resource` does; `offline_access` needs no consent prompt. */
export function readAuthorizationRequests(settings: Settings): Middleware {
  return async (ctx, next) => {
    if (ctx.path === "/auth") {
      const query = new URLSearchParams(ctx.querystring);
      selectResource(settings, query);
      if (settings.behaviour.stepUp === "ignored") {
        query.delete("max_age");
        query.delete("acr_values");
      }
      if (settings.behaviour.refreshTokens !== "with-consent-prompt") allowOfflineAccess(query);
      ctx.querystring = query.toString();
    }
    await next();
  };
}

function selectResource({ audience, behaviour }: Settings, query: URLSearchParams): void {
  const asked = query.getAll("resource");
  query.delete("resource");
  const known = asked.includes(audience) || query.get("audience") === audience;
  if (behaviour.accessTokens === "jwt" || (behaviour.accessTokens === "jwt-when-audience" && known)) {
    query.append("resource", audience);
  }
  if (behaviour.unknownResource === "refused") {
    for (const resource of asked) if (resource !== audience) query.append("resource", resource);
  }
}

function allowOfflineAccess(query: URLSearchParams): void {
  const prompts = query.get("prompt")?.split(" ") ?? [];
  const wanted = query.get("scope")?.split(" ").includes("offline_access");
  // OpenID Connect Core §11 has oidc-provider drop `offline_access` without this prompt.
  if (wanted && !prompts.includes("none"))
    query.set("prompt", [...new Set([...prompts, "consent"])].join(" "));
}

/** oidc-provider takes a secret from a header, too, wherever it takes one from the body. */
export function refuseBasic({ behaviour }: Settings): Middleware {
  return async (ctx, next) => {
    const isRefused =
      behaviour.clientAuthentication === "post" &&
      ctx.path.startsWith("/token") &&
      /^Basic /i.test(ctx.get("authorization"));
    if (!isRefused) return await next();
    ctx.status = 401;
    ctx.set("www-authenticate", 'Basic realm="demo"');
    ctx.body = { error: "invalid_client" };
  };
}

/** What is advertised, and that a refresh does not repeat a refresh token which stays the same. */
export function writeAnswers({ scopes, behaviour, mcpServer }: Settings): Middleware {
  return async (ctx, next) => {
    await next();
    if (!ctx.oidc || !isRecord(ctx.body)) return;
    if (ctx.oidc.route === "discovery") {
      ctx.body.scopes_supported = [
        ...standardScopes(behaviour),
        ...(behaviour.advertisesApiScopes ? scopes : []),
      ];
      // draft-ietf-oauth-identity-chaining: what its token exchange gives.
      if (mcpServer) ctx.body.identity_chaining_requested_token_types_supported = [ID_JAG];
      delete ctx.body.userinfo_signing_alg_values_supported;
      if (!behaviour.advertisesClientAuthentication) {
        delete ctx.body.token_endpoint_auth_methods_supported;
        delete ctx.body.revocation_endpoint_auth_methods_supported;
      }
    }
    const refreshed = ctx.oidc.route === "token" && ctx.oidc.params?.grant_type === "refresh_token";
    if (refreshed && ["static", "with-access-type"].includes(behaviour.refreshTokens))
      delete ctx.body.refresh_token;
  };
}

/**
 * At Auth0 an access token for an API opens userinfo as well; at oidc-provider only one without audience does, and at
 * Entra only one for Graph.
 */
export function acceptJwtAtUserinfo(
  { directory, behaviour }: Settings,
  issuer: string,
  signingKey: JWK,
): Middleware {
  const keys = createLocalJWKSet({ keys: [publicPart(signingKey)] });
  return async (ctx, next) => {
    const token = /^Bearer (\S+\.\S+\.\S+)$/i.exec(ctx.get("authorization"))?.[1];
    const isOpen = ctx.path === "/me" && behaviour.accessTokenSubject === "same";
    const verified =
      isOpen && token ? await jwtVerify(token, keys, { issuer }).catch(() => undefined) : undefined;
    if (!verified?.payload.sub) return next();
    ctx.set("Cache-Control", "no-store");
    ctx.body = claimsOf(directory.find(verified.payload.sub));
  };
}

function isRecord(body: unknown): body is Record<string, unknown> {
  return typeof body === "object" && body !== null;
}
