/** The half of the signing key that verifies. */
import type { createLocalJWKSet } from "jose";
import type { JWK } from "oidc-provider";

type PublicJwk = Parameters<typeof createLocalJWKSet>[0]["keys"][number];

export function publicPart({ kty, n, e, kid, alg, use }: JWK): PublicJwk {
  return { kty, n, e, kid, alg, use } as PublicJwk;
}
