/**
 * The company's side of enterprise-managed authorization: an application exchanges the ID token of a person who signed in to
 * it for an ID-JAG, which one MCP server accepts. RFC 8693, draft-ietf-oauth-identity-assertion-authz-grant §4.3.
 */
import { randomUUID } from "node:crypto";
import { createLocalJWKSet, importJWK, type JWTPayload, jwtVerify, SignJWT } from "jose";
import type { JWK, Provider, TokenEndpointGrantContext } from "oidc-provider";
import { errors } from "oidc-provider";
import { ID_JAG, ID_TOKEN } from "../client/oauth-client.ts";
import type { McpServer, Settings } from "./configuration.ts";
import { publicPart } from "./public-key.ts";
import { claimsOf } from "./users.ts";

/** A request at the token endpoint whose parameters the grant type names. */
export type GrantContext = TokenEndpointGrantContext<Record<string, string | undefined>>;

const LIFETIME_SECONDS = 300;

/** Answers exchanges for an ID-JAG at a provider that knows an MCP server. */
export function createIdJagExchange(
  provider: Provider,
  settings: Settings & { mcpServer: McpServer },
  signingKey: JWK,
): (ctx: GrantContext) => Promise<void> {
  const keys = createLocalJWKSet({ keys: [publicPart(signingKey)] });

  /** The ID token must be one of this provider's, and for the application that presents it (§4.3.3). */
  async function verified(idToken: unknown, clientId: string): Promise<JWTPayload & { sub: string }> {
    const checks = { issuer: provider.issuer, audience: clientId, requiredClaims: ["sub", "exp"] };
    const { payload, protectedHeader } = await jwtVerify(String(idToken), keys, checks).catch(
      (error: Error) => {
        throw invalidGrant(error.message);
      },
    );
    // Nothing else that is signed here has none: access tokens and assertions have types of their own.
    if (protectedHeader.typ !== undefined) throw invalidGrant(`it is a ${protectedHeader.typ}`);
    return { ...payload, sub: String(payload.sub) };
  }

  return async (ctx) => {
    const { clientId } = ctx.oidc.client;
    const { params } = ctx.oidc;
    checkKinds(params);
    const resource = checkTarget(params, settings.mcpServer);
    const { sub, auth_time } = await verified(params.subject_token, clientId);
    const user = settings.directory.find(sub);
    const may = settings.scopes.filter((scope) => user.permissions.includes(scope));
    const asked = params.scope?.split(" ") ?? may;
    const scope = asked.filter((each) => may.includes(each)).join(" ");
    const now = Math.floor(Date.now() / 1000 + settings.clockAhead());
    const assertion = await new SignJWT({
      ...claimsOf(user),
      ...(auth_time !== undefined && { auth_time }),
      client_id: clientId,
      resource,
      scope,
    })
      .setProtectedHeader({ alg: "RS256", typ: "oauth-id-jag+jwt", kid: String(signingKey.kid) })
      .setIssuer(provider.issuer)
      .setAudience(settings.mcpServer.issuer)
      .setJti(randomUUID())
      .setIssuedAt(now)
      .setExpirationTime(now + LIFETIME_SECONDS)
      .sign(await importJWK(signingKey as Parameters<typeof importJWK>[0], "RS256"));
    ctx.body = {
      issued_token_type: ID_JAG,
      access_token: assertion,
      // Because it is no access token (RFC 8693 §2.2.1).
      token_type: "N_A",
      scope,
      expires_in: LIFETIME_SECONDS,
    };
  };
}

function invalidGrant(why: string): Error {
  return new errors.CustomOIDCProviderError("invalid_grant", `the ID token is not accepted: ${why}`);
}

function checkKinds(params: Readonly<Record<string, unknown>>): void {
  if (params.requested_token_type !== ID_JAG)
    throw new errors.InvalidRequest(`requested_token_type must be ${ID_JAG}`);
  if (params.subject_token_type !== ID_TOKEN)
    throw new errors.InvalidRequest(`subject_token_type must be ${ID_TOKEN}`);
}

/** The administrator of this company allows one MCP server. */
function checkTarget(
  { audience, resource }: Readonly<Record<string, unknown>>,
  mcpServer: McpServer,
): string {
  if (String(audience).replace(/\/$/, "") !== mcpServer.issuer)
    throw new errors.InvalidTarget(`no authorization server ${audience} is known here`);
  if (resource !== undefined && resource !== mcpServer.resource)
    throw new errors.InvalidTarget(`no resource ${resource} is known here`);
  return mcpServer.resource;
}
