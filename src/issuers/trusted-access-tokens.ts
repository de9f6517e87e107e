/**
 * Whose access token is this, and what is it worth at a resource? A token goes to the issuer that it names, and an opaque one
 * to the one issuer whose tokens may be opaque there; never to a second one.
 */

import type { KeepClaims } from "../identity/bounded-claims.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { type ForeignAccessToken, verifyForeignAccessToken } from "./foreign-access-token.ts";
import { type IntrospectingIssuer, introspect } from "./introspection.ts";
import { createIssuerAccess, type TrustedIssuerAccess } from "./issuer-keys.ts";
import { JwtRefused, readJwt } from "./jwt.ts";
import { rememberTokens } from "./remembered.ts";
import type { AccessTokenIssuer } from "./trusted-issuer.ts";

export interface TrustedAccessTokens {
  /** Whether one of the issuers would be asked about this token: by its form alone, and nothing else. */
  recognizes(token: string): boolean;
  /** @throws JwtRefused; UnavailableError while the issuer is out of reach */
  verify(token: string): Promise<ForeignAccessToken>;
}

interface Options extends Pick<Runtime, "now" | "monotonicNow" | "log" | "fetch"> {
  /** What is kept of the claims of a token. */
  keepClaims: KeepClaims;
  /** Those whose tokens are good at the resource. */
  issuers: readonly AccessTokenIssuer[];
  /** The URI of the resource. */
  resource: string;
}

/** Each some hundred bytes and the claims of a user. */
const MAX_REMEMBERED = 10_000;
/** A JWT cannot be taken back, but its issuer may withdraw the key that signed it: then nothing of that key counts any more. */
const VERIFIED_SECONDS = 600;
/** An opaque token can be taken back. */
const INTROSPECTED_SECONDS = 10;
/** A flood of one bad token costs one request in this time. */
const REFUSED_SECONDS = 10;

type IssuerOfToken =
  | { isOpaque: true; issuer: IntrospectingIssuer }
  | { isOpaque: false; issuer: AccessTokenIssuer };

export function trustedAccessTokens({
  issuers,
  resource,
  keepClaims,
  ...runtime
}: Options): TrustedAccessTokens {
  const { now, monotonicNow = now } = runtime;
  const access = new Map(issuers.map((issuer) => [issuer, createIssuerAccess(issuer, runtime)]));
  const byName = new Map(issuers.map((issuer) => [issuer.issuer, issuer]));
  const introspecting = issuers.find(
    (issuer): issuer is IntrospectingIssuer => issuer.introspection !== undefined,
  );
  const good = rememberTokens<ForeignAccessToken>(MAX_REMEMBERED, monotonicNow);
  // Strangers' tokens must not push out what is good.
  const refused = rememberTokens<JwtRefused>(MAX_REMEMBERED, monotonicNow);
  const underWay = new Map<string, Promise<ForeignAccessToken>>();

  /** Undefined: nobody's. */
  function issuerOf(token: string): IssuerOfToken | undefined {
    const jwt = readJwt(token);
    if (jwt === undefined) return introspecting && { isOpaque: true, issuer: introspecting };
    const issuer = byName.get(jwt.issuer ?? "");
    return issuer && { isOpaque: false, issuer };
  }

  async function judge(token: string): Promise<ForeignAccessToken> {
    const of = issuerOf(token);
    if (of === undefined)
      throw new JwtRefused("jwt_wrong_issuer", "its issuer is not one whose tokens are good here");
    const { keys, metadata } = access.get(of.issuer) as TrustedIssuerAccess;
    try {
      const verified = of.isOpaque
        ? await introspect(token, of.issuer, { metadata, resource, now: now(), fetch: runtime.fetch })
        : await verifyForeignAccessToken(token, of.issuer, { keys, resource, now: now() });
      const found = { ...verified, claims: keepClaims(verified.claims, verified.subject) };
      const left = found.expiresAt - now();
      good.put(token, found, Math.min(of.isOpaque ? INTROSPECTED_SECONDS : VERIFIED_SECONDS, left));
      return found;
    } catch (error) {
      if (error instanceof JwtRefused) refused.put(token, error, REFUSED_SECONDS);
      throw error;
    }
  }

  return {
    recognizes: (token) => issuerOf(token) !== undefined,
    async verify(token) {
      const before = good.get(token);
      if (before !== undefined) return before;
      const refusal = refused.get(token);
      if (refusal !== undefined) throw refusal;
      const found = underWay.get(token) ?? judge(token).finally(() => underWay.delete(token));
      underWay.set(token, found);
      return found;
    },
  };
}
