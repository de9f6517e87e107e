/**
 * Whose access token is this, and what is it worth at a resource? A token goes to the issuer that it names, and an opaque one
 * to the one issuer whose tokens may be opaque there; never to a second one.
 */

import type { KeepClaims } from "../identity/bounded-claims.ts";
import type { AuthenticatedPost } from "../identity/oidc/authenticated-post.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { type ForeignAccessToken, verifyForeignAccessToken } from "./foreign-access-token.ts";
import { type IntrospectingIssuer, introspect, introspectionClient, saysTooLittle } from "./introspection.ts";
import { createIssuerAccess, type TrustedIssuerAccess } from "./issuer-keys.ts";
import { JwtRefused, readJwt } from "./jwt.ts";
import { createLookUps, type NetworksOf } from "./look-ups.ts";
import { rememberTokens } from "./remembered.ts";
import type { AccessTokenIssuer } from "./trusted-issuer.ts";

export interface TrustedAccessTokens {
  /** Whether one of the issuers would be asked about this token: by its form alone, and nothing else. */
  recognizes(token: string): boolean;
  /**
   * @param address from which it came: what is made up there may cost a bounded number of requests
   * @throws JwtRefused; UnavailableError while the issuer is out of reach, or may not be asked (look-ups.ts)
   */
  verify(token: string, address?: string): Promise<ForeignAccessToken>;
}

interface Options extends Pick<Runtime, "now" | "monotonicNow" | "log" | "fetch" | "randomBytes"> {
  /** What is kept of the claims of a token. */
  keepClaims: KeepClaims;
  /** Those whose tokens are good at the resource. */
  issuers: readonly AccessTokenIssuer[];
  /** The URI of the resource. */
  resource: string;
  networksOf: NetworksOf;
}

const MAX_REMEMBERED = 10_000;
/** With the claims of a user, of which up to 32 KB are kept. */
const MAX_REMEMBERED_BYTES = 32 * 1024 * 1024;
/** A JWT cannot be taken back, but its issuer may withdraw the key that signed it: then nothing of that key counts any more. */
const VERIFIED_SECONDS = 600;
/** An opaque token can be taken back. */
const INTROSPECTED_SECONDS = 10;
/** A flood of one bad token costs one request in this time. */
const REFUSED_SECONDS = 10;

type IssuerOfToken =
  | { isOpaque: true; issuer: IntrospectingIssuer; post: AuthenticatedPost }
  | { isOpaque: false; issuer: AccessTokenIssuer };

export function trustedAccessTokens({
  issuers,
  resource,
  keepClaims,
  networksOf,
  ...runtime
}: Options): TrustedAccessTokens {
  const { now, monotonicNow = now } = runtime;
  const access = new Map(issuers.map((issuer) => [issuer, createIssuerAccess(issuer, runtime)]));
  const byName = new Map(issuers.map((issuer) => [issuer.issuer, issuer]));
  const introspecting = issuers.find(
    (issuer): issuer is IntrospectingIssuer => issuer.introspection !== undefined,
  );
  const post = introspecting && introspectionClient(introspecting, runtime);
  const bounds = { entries: MAX_REMEMBERED, bytes: MAX_REMEMBERED_BYTES };
  const good = rememberTokens<ForeignAccessToken>({ ...bounds, bytesOf: bytesOfToken }, monotonicNow);
  // Strangers' tokens must not push out what is good.
  const refused = rememberTokens<JwtRefused>({ ...bounds, bytesOf: () => 512 }, monotonicNow);
  /** Opaque ones that were good when they were last looked up. */
  const wereGood = rememberTokens<true>({ ...bounds, bytesOf: () => 0 }, monotonicNow);
  const lookUps = createLookUps(networksOf, monotonicNow);
  const underWay = new Map<string, Promise<ForeignAccessToken>>();
  const keyOf = hashOfLatest();

  /** Undefined: nobody's. */
  function issuerOf(token: string): IssuerOfToken | undefined {
    const jwt = readJwt(token);
    if (jwt === undefined) return introspecting && post && { isOpaque: true, issuer: introspecting, post };
    const issuer = byName.get(jwt.issuer ?? "");
    return issuer && { isOpaque: false, issuer };
  }

  async function lookUp(
    token: string,
    { issuer, post }: Extract<IssuerOfToken, { isOpaque: true }>,
    address: string | undefined,
  ): Promise<ForeignAccessToken> {
    const { metadata } = access.get(issuer) as TrustedIssuerAccess;
    const look = () => introspect(token, issuer, { metadata, post, resource, now: now() });
    if (wereGood.get(keyOf(token))) return await look();
    return await lookUps.ask(address, look, (error) => error instanceof JwtRefused || saysTooLittle(error));
  }

  async function judge(token: string, address: string | undefined): Promise<ForeignAccessToken> {
    const key = keyOf(token);
    const of = issuerOf(token);
    if (of === undefined)
      throw new JwtRefused("jwt_wrong_issuer", "its issuer is not one whose tokens are good here");
    const { keys } = access.get(of.issuer) as TrustedIssuerAccess;
    try {
      const verified = of.isOpaque
        ? await lookUp(token, of, address)
        : await verifyForeignAccessToken(token, of.issuer, { keys, resource, now: now() });
      const found = { ...verified, claims: keepClaims(verified.claims, verified.subject) };
      const left = found.expiresAt - now();
      good.put(key, found, Math.min(of.isOpaque ? INTROSPECTED_SECONDS : VERIFIED_SECONDS, left));
      if (of.isOpaque) wereGood.put(key, true, left);
      return found;
    } catch (error) {
      if (error instanceof JwtRefused) {
        wereGood.forget(key);
        refused.put(key, error, REFUSED_SECONDS);
      }
      throw error;
    }
  }

  return {
    // What is known to be good was recognized before: a warm request reads no JWT.
    recognizes: (token) => good.get(keyOf(token)) !== undefined || issuerOf(token) !== undefined,
    async verify(token, address) {
      const key = keyOf(token);
      const before = good.get(key);
      if (before !== undefined) return before;
      const refusal = refused.get(key);
      if (refusal !== undefined) throw refusal;
      const found = underWay.get(key) ?? judge(token, address).finally(() => underWay.delete(key));
      underWay.set(key, found);
      return found;
    },
  };
}

/** The same token is asked about several times in a row. */
function hashOfLatest(): (token: string) => string {
  let latest = { token: "", hash: sha256("") };
  return (token) => {
    if (latest.token !== token) latest = { token, hash: sha256(token) };
    return latest.hash;
  };
}

/** Its texts take two bytes a character at most; what holds them together about as much again. */
function bytesOfToken({ claims, scopes }: ForeignAccessToken): number {
  return 512 + 4 * JSON.stringify([claims, scopes]).length;
}
