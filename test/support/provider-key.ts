/** Signs as the identity provider behind a {@link FaultyProxy}: with a key that is published beside its own. */
import { randomUUID } from "node:crypto";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import type { FaultyProxy } from "./faulty-proxy.ts";

export type Sign = (claims: JWTPayload) => Promise<string>;

export async function publishKey(upstream: FaultyProxy): Promise<Sign> {
  const { publicKey, privateKey } = await generateKeyPair("RS256");
  upstream.extraKey = { ...(await exportJWK(publicKey)), kid: "test", alg: "RS256", use: "sig" };
  return (claims) => new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "test" }).sign(privateKey);
}

/** What a logout token says (OpenID Connect Back-Channel Logout §2.4), made at `issuedAt` (seconds since the epoch). */
export function logoutClaims(
  issuer: string,
  who: { sub?: string; sid?: string },
  issuedAt = Math.floor(Date.now() / 1000),
): JWTPayload {
  const events = { "http://schemas.openid.net/event/backchannel-logout": {} };
  return {
    iss: issuer,
    aud: "proxy",
    jti: randomUUID(),
    iat: issuedAt,
    exp: issuedAt + 120,
    events,
    ...who,
  };
}
