/** What an OAuth client with PKCE sends: to /authorize, to /token for both grants, and to /revoke. */
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
