/** How a protected resource recognizes tokens: one authenticator for each kind of token that it takes. */
import type { Verification } from "./caller.ts";

export interface TokenAuthenticator {
  /**
   * Whether a token is of its kind, by its syntax alone. The first authenticator that claims a token decides about it, and no
   * other one is asked: a token of one issuer is never tried against another.
   */
  claims(token: string): boolean;
  /**
   * What a token of its kind is worth now.
   * @param address from which it came, if it came from elsewhere
   * @throws UnavailableError on an outage, which says nothing about the token
   */
  verify(token: string, address?: string): Promise<Verification>;
}

/** @throws what the authenticator throws */
export async function authenticateToken(
  token: string,
  authenticators: readonly TokenAuthenticator[],
  address?: string,
): Promise<Verification> {
  for (const authenticator of authenticators)
    if (authenticator.claims(token)) return authenticator.verify(token, address);
  return { refused: "malformed_access_token" };
}
