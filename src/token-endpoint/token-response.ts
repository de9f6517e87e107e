/** The answer of the token endpoint (RFC 6749 §5.1). */
import type { IssuedTokens } from "../grants/grant.ts";

export interface TokenResponse {
  access_token: string;
  token_type: "Bearer";
  /** Seconds from now. */
  expires_in: number;
  refresh_token?: string;
  scope: string;
}

export function tokenResponse(issued: IssuedTokens, now: number): TokenResponse {
  return {
    access_token: issued.accessToken,
    token_type: "Bearer",
    expires_in: Math.max(0, issued.expiresAt - now),
    ...(issued.refreshToken !== undefined && { refresh_token: issued.refreshToken }),
    scope: issued.scopes.join(" "),
  };
}
