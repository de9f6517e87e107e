/**
 * Who is calling, signed for one backend: a JWT that is good for nothing else. Its `typ` is its own, its audience is the backend,
 * and this server accepts no token or assertion of its own issuer, so it is never taken for an access token, an ID token or an
 * assertion (RFC 8725 §3.11, §3.12).
 */
import { SignJWT } from "jose";
import { randomId } from "../oauth/random-id.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Caller } from "./caller.ts";
import { identityClaims } from "./caller-identity.ts";
import { IDENTITY_ALGORITHM, type IdentityKeys } from "./identity-keys.ts";

/** The `typ` of its header. */
const IDENTITY_TYPE = "mcp-identity+jwt";
/** In which it comes to a backend; an inbound one is never passed on. */
export const IDENTITY_HEADER = "x-mcp-identity-assertion";

const LIFETIME_SECONDS = 60;
/** Then another is signed: whoever receives one has at least half of its life. */
const REUSED_SECONDS = 30;

/**
 * @param audience the backend that it is for, by the name that the backend knows itself by
 */
export type SignIdentity = (caller: Caller, audience: string) => Promise<string>;

interface Signed {
  readonly jwt: Promise<string>;
  /** Seconds since the epoch. */
  readonly reusedUntil: number;
}

export function createSignIdentity({
  keys,
  issuer,
  now,
  randomBytes,
}: Pick<Runtime, "now" | "randomBytes"> & { keys: IdentityKeys; issuer: string }): SignIdentity {
  // A caller is the same object for as long as its token and the rules that match are the same: at most as many are kept as there
  // are tokens remembered (GRANT_CACHE_ENTRIES), and what is signed states exactly what that caller may do.
  const signed = new WeakMap<Caller, Map<string, Signed>>();
  const header = { alg: IDENTITY_ALGORITHM, typ: IDENTITY_TYPE, kid: keys.kid };

  return (caller, audience) => {
    const time = now();
    const ofCaller = signed.get(caller) ?? new Map<string, Signed>();
    const before = ofCaller.get(audience);
    // A clock that was set back must not prolong it.
    if (before !== undefined && time < before.reusedUntil && time >= before.reusedUntil - REUSED_SECONDS)
      return before.jwt;
    const expiresAt = Math.min(time + LIFETIME_SECONDS, caller.expiresAt);
    const jwt = new SignJWT({
      iss: issuer,
      aud: audience,
      iat: time,
      exp: expiresAt,
      jti: randomId(randomBytes),
      ...identityClaims(caller),
    })
      .setProtectedHeader(header)
      .sign(keys.privateKey);
    const reusedUntil = Math.min(time + REUSED_SECONDS, expiresAt);
    signed.set(caller, ofCaller.set(audience, { jwt, reusedUntil }));
    return jwt;
  };
}
