/**
 * Tokens for other APIs in the name of a user whose access token the client has: RFC 8693, and Entra's on-behalf-of, which is
 * an assertion grant (RFC 7523) with a parameter of its own.
 */
import { createLocalJWKSet, jwtVerify } from "jose";
import type { JWK, Provider } from "oidc-provider";
import { errors } from "oidc-provider";
import { ID_JAG, TOKEN_EXCHANGE_GRANT } from "../client/oauth-client.ts";
import { ON_BEHALF_OF, type Settings } from "./configuration.ts";
import { createIdJagExchange, type GrantContext } from "./identity-assertions.ts";
import { publicPart } from "./public-key.ts";

const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

type Parameters = Record<string, string | undefined>;

/** What a client asks for, whatever the dialect. */
interface Exchange {
  subjectToken: string;
  /** Of one of the other APIs. */
  api: string;
  scopes: readonly string[];
}

export function registerTokenExchange(
  provider: Provider,
  settings: Settings,
  issuer: string,
  signingKey: JWK,
): void {
  const keys = createLocalJWKSet({ keys: [publicPart(signingKey)] });

  /** Whose access token it is; only the client that it was issued to may exchange it. */
  async function subjectOf(token: string, clientId: string): Promise<string> {
    const now = new Date(Date.now() + settings.clockAhead() * 1000);
    const verified = await jwtVerify(token, keys, { issuer, currentDate: now }).catch(() => undefined);
    const { client_id: issuedTo, sub, aud } = verified?.payload ?? {};
    const mayExchange =
      settings.apiClient === undefined
        ? issuedTo === clientId
        : clientId === settings.apiClient.id && [aud].flat().includes(settings.audience);
    if (mayExchange && sub) return sub;
    const opaque = await provider.AccessToken.find(token);
    if (opaque?.clientId === clientId) return opaque.accountId;
    throw new errors.InvalidGrant("the subject token is not a good access token of this client");
  }

  async function answer(ctx: GrantContext, { subjectToken, api, scopes }: Exchange, issued: object) {
    const { client } = ctx.oidc;
    const known = settings.otherApis[api];
    if (known === undefined) throw new errors.InvalidTarget(`unknown API: ${api}`);
    const unknown = scopes.find((scope) => !known.includes(scope));
    if (unknown !== undefined) throw new errors.InvalidScope("requested scope is not known", unknown);
    const accountId = await subjectOf(subjectToken, client.clientId);
    const { permissions } = settings.directory.find(accountId);
    const given = (scopes.length > 0 ? scopes : known).filter((scope) => permissions.includes(scope));
    const token = new provider.AccessToken({
      accountId,
      client,
      gty: "token_exchange",
      grantId: "",
      scope: given.join(" "),
      resourceServer: new provider.ResourceServer(api, {
        audience: api,
        scope: known.join(" "),
        accessTokenFormat: "jwt",
        accessTokenTTL: settings.behaviour.accessTokenSeconds,
      }),
    });
    const accessToken = await token.save();
    ctx.body = {
      access_token: accessToken,
      token_type: token.tokenType,
      expires_in: token.expiration,
      scope: given.join(" "),
      ...issued,
    };
  }

  const { mcpServer } = settings;
  const toIdJag = mcpServer && createIdJagExchange(provider, { ...settings, mcpServer }, signingKey);

  async function exchange(ctx: GrantContext): Promise<void> {
    if (toIdJag && ctx.oidc.params.requested_token_type === ID_JAG) return toIdJag(ctx);
    const { subject_token, subject_token_type, requested_token_type, audience, resource, scope } =
      ctx.oidc.params;
    if (subject_token_type !== settings.behaviour.subjectTokenType)
      throw new errors.InvalidRequest("subject_token_type is not supported");
    if (requested_token_type !== undefined && requested_token_type !== ACCESS_TOKEN)
      throw new errors.InvalidRequest("requested_token_type is not supported");
    const api = audience ?? String(resource ?? "");
    const asked = { subjectToken: subject_token ?? "", api, scopes: split(scope) };
    await answer(ctx, asked, { issued_token_type: ACCESS_TOKEN });
  }

  async function actOnBehalf(ctx: GrantContext): Promise<void> {
    const { assertion, requested_token_use, scope } = ctx.oidc.params;
    if (requested_token_use !== "on_behalf_of")
      throw new errors.InvalidRequest("requested_token_use is not supported");
    const api = Object.keys(settings.otherApis).find((each) => scope?.startsWith(`${each}/`)) ?? "";
    const named = split(scope).map((each) => each.slice(api.length + 1));
    const scopes = named.filter((each) => each !== ".default");
    await answer(ctx, { subjectToken: assertion ?? "", api, scopes }, {});
  }

  provider.registerGrantType<Parameters>(TOKEN_EXCHANGE_GRANT, exchange, [
    ...["subject_token", "subject_token_type", "requested_token_type", "audience", "resource", "scope"],
  ]);
  provider.registerGrantType<Parameters>(ON_BEHALF_OF, actOnBehalf, [
    ...["assertion", "requested_token_use", "scope"],
  ]);
}

function split(scope: string | undefined): string[] {
  return scope?.split(" ").filter(Boolean) ?? [];
}
