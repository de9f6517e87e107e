/** What an OAuth client sends: with PKCE to /authorize and /token, and to /token for what it exchanges or presents. */
import { createHash } from "node:crypto";

export interface Authorization {
  clientId: string;
  redirectUri: string;
  /** RFC 8707 §2. */
  resource?: string | undefined;
  scope?: string | undefined;
  state: string;
  codeVerifier: string;
}

/** RFC 6749 §4.1.1, RFC 7636 §4.3. */
export function authorizationParameters(authorization: Authorization): Record<string, string> {
  const { clientId, redirectUri, resource, scope, state, codeVerifier } = authorization;
  return {
    response_type: "code",
    client_id: clientId,
    redirect_uri: redirectUri,
    ...(scope !== undefined && { scope }),
    state,
    code_challenge: createHash("sha256").update(codeVerifier).digest("base64url"),
    code_challenge_method: "S256",
    ...(resource !== undefined && { resource }),
  };
}

/** RFC 6749 §4.1.3, RFC 7636 §4.5. */
export function codeParameters(
  { redirectUri, codeVerifier, clientId, resource }: Omit<Authorization, "state" | "scope">,
  code: string,
): Record<string, string> {
  return {
    grant_type: "authorization_code",
    code,
    redirect_uri: redirectUri,
    code_verifier: codeVerifier,
    client_id: clientId,
    ...(resource !== undefined && { resource }),
  };
}

/** RFC 6749 §6. */
export function refreshParameters(
  { clientId, resource }: Pick<Authorization, "clientId" | "resource">,
  refreshToken: string,
): Record<string, string> {
  return {
    grant_type: "refresh_token",
    refresh_token: refreshToken,
    client_id: clientId,
    ...(resource !== undefined && { resource }),
  };
}

export const TOKEN_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";
export const ID_JAG = "urn:ietf:params:oauth:token-type:id-jag";
export const ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token";

/** An ID token for an ID-JAG: RFC 8693 §2.1, draft-ietf-oauth-identity-assertion-authz-grant §4.3. */
export function idJagParameters({
  idToken,
  audience,
  resource,
  scope,
}: {
  idToken: string;
  /** The issuer of the MCP server's authorization server. */
  audience: string;
  resource: string;
  scope?: string | undefined;
}): Record<string, string> {
  return {
    grant_type: TOKEN_EXCHANGE_GRANT,
    requested_token_type: ID_JAG,
    audience,
    resource,
    ...(scope !== undefined && { scope }),
    subject_token: idToken,
    subject_token_type: ID_TOKEN,
  };
}

/** RFC 7523 §2.1. */
export function assertionParameters(assertion: string): Record<string, string> {
  return { grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion };
}
