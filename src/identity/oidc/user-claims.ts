/** Merges the claims of a user from ID token, userinfo and access token. */

import { setTimeout as delay } from "node:timers/promises";
import * as oidc from "openid-client";
import { z } from "zod";
import { claimAt } from "../../access/claims.ts";
import { causes, UnavailableError } from "../../oauth/errors.ts";
import { parseJson } from "../../oauth/json.ts";
import { verifiedClaims } from "../../oauth/jwt.ts";
import { userAuthentication } from "../../oauth/required-authentication.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { type Authentication, UnacceptableAnswer } from "../identity-provider.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import { outageOf } from "./answers.ts";
import type { Discovered } from "./discovery.ts";
import { isJwtProblem, timesBy, verifyAccessToken } from "./token-verification.ts";

type Claims = Record<string, unknown>;

/**
 * Of several sources the later ones win. `email_verified` speaks of the e-mail address beside it: what one source
 * verified does not vouch for the address that another one names.
 */
export function mergeClaims(...sources: ReadonlyArray<Readonly<Claims>>): Claims {
  return sources.reduce<Claims>((merged, source) => {
    const { email_verified: _, ...others } = merged;
    const sameEmail = source.email === undefined || source.email === merged.email;
    return { ...(sameEmail ? merged : others), ...source };
  }, {});
}

/**
 * Who it is, and in which login session, only the ID token says: Entra's access tokens carry another `sub`, those of others
 * a `sid` of their own, and a logout token names those of the ID token (Back-Channel Logout §2.1, §2.4).
 */
export function authenticationOf(claims: Readonly<Claims> & { sub: string }): Omit<Authentication, "issuer"> {
  const { sub, sid } = claims;
  return {
    subject: sub,
    ...(typeof sid === "string" && sid !== "" && { sid }),
    ...userAuthentication(claims),
  };
}

/** `claims`, whatever they say themselves of who it is and in which login session. */
export function asIdentified(
  claims: Readonly<Claims>,
  { subject, sid }: Pick<Authentication, "subject" | "sid">,
): Claims {
  const { sub: _sub, sid: _sid, ...rest } = claims;
  return { ...rest, sub: subject, ...(sid !== undefined && { sid }) };
}

/** Drops what belongs to one message of the protocol and says nothing of the person. */
export function withoutProtocolClaims(claims: Readonly<Claims>): Claims {
  const { nonce, at_hash, c_hash, s_hash, jti, nbf, ...rest } = claims;
  return rest;
}

/** Names of the claims that a renewal reads again. Who the user is, and in which login session, stays. */
export function renewableClaims(claims: Readonly<Claims>): string[] {
  const { sub, sid, ...rest } = withoutProtocolClaims(claims);
  return Object.keys(rest);
}

/** `known` with what a renewal said: what it could have said again and did not is gone. */
export function afterRenewal(
  known: Readonly<Claims>,
  renewable: readonly string[],
  renewed: Readonly<Claims>,
): Claims {
  const kept = Object.fromEntries(Object.entries(known).filter(([name]) => !renewable.includes(name)));
  return mergeClaims(kept, renewed);
}

/**
 * Whether userinfo may know more than the tokens: with an access token in the answer a provider may leave what `profile`
 * and `email` ask for out of the ID token (OpenID Connect Core §5.4), as Okta does; or a claim that decides is missing.
 */
export function isIncomplete(
  claims: Readonly<Claims>,
  { scopeSources }: IdentityProviderSettings,
  deciding: readonly string[] = [],
): boolean {
  if (!["name", "preferred_username", "email"].some((name) => name in claims)) return true;
  const ofScopes = scopeSources.kind === "provider" && scopeSources.claim ? [scopeSources.claim.path] : [];
  return [...ofScopes, ...deciding].some((path) => claimAt(claims, path) === undefined);
}

/**
 * More about the user; undefined where the provider has no userinfo, or refuses it for good.
 * @throws UnavailableError if it does not answer now, or with what does not verify: somebody whose groups nobody knows must
 * not come in as somebody without groups
 */
export async function fetchUserInfo(
  found: Discovered,
  config: Pick<IdentityProviderSettings, "clientId">,
  accessToken: string,
  subject: string,
  runtime: Pick<Runtime, "now" | "log">,
): Promise<Claims | undefined> {
  const { userinfo_endpoint: endpoint } = found.metadata;
  if (endpoint === undefined) return undefined;
  try {
    const claims = await readUserInfo(found, config, accessToken, endpoint, runtime);
    // OpenID Connect Core §5.3.2, §5.3.4: otherwise it may be somebody else's.
    if (claims.sub !== subject) {
      const cause = new Error('The "sub" of userinfo is not that of the ID token');
      throw outageOf("userinfo_failed", new UnacceptableAnswer("foreign_userinfo", { cause }));
    }
    return claims;
  } catch (cause) {
    if (cause instanceof UnavailableError) throw cause;
    if (!isDefinite(cause) && isJwtProblem(cause))
      throw new UnavailableError("identity provider", {
        reason: "userinfo_failed",
        cause,
        description: NOT_VERIFIED,
      });
    if (!isDefinite(cause)) throw outageOf("userinfo_failed", cause);
    runtime.log.warn(
      { reason: "userinfo_refused", cause: causes(cause) },
      "Going on without the claims of userinfo",
    );
    return undefined;
  }
}

const NOT_VERIFIED =
  "What the identity provider says of you could not be verified. The operator of this server finds the reason in its log.";

/** JSON, or a signed JWT (§5.3.2), whose signature openid-client does not check. */
async function readUserInfo(
  { configuration, metadata, keys }: Discovered,
  { clientId }: Pick<IdentityProviderSettings, "clientId">,
  accessToken: string,
  endpoint: string,
  { now }: Pick<Runtime, "now">,
): Promise<Claims> {
  const headers = new Headers({ accept: "application/json, application/jwt" });
  const response = await oidc.fetchProtectedResource(
    configuration,
    accessToken,
    new URL(endpoint),
    "GET",
    undefined,
    headers,
  );
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error("Userinfo was not given", { cause: response });
  }
  const text = await response.text();
  const type = response.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/jwt") return UserInfo.parse(parseJson(text));
  return verifiedClaims(text.trim(), keys.ofProviderToken, {
    issuer: metadata.issuer,
    audience: clientId,
    ...timesBy(now),
  });
}

const UserInfo = z.record(z.string(), z.unknown());

/** True for a provider that never accepts our tokens at userinfo. */
function isDefinite(error: unknown): boolean {
  if (error instanceof oidc.WWWAuthenticateChallengeError) return true;
  const { cause } = error as { cause?: unknown };
  return cause instanceof Response && [401, 403, 404].includes(cause.status);
}

// Short, because meanwhile a new refresh token exists only in this process.
const RENEWAL_PATIENCE_MS = 3_000;

/**
 * What the provider says of the user after a refresh, by the access token if that is a JWT for us, otherwise by
 * userinfo; undefined if that cannot be learned soon. Never throws: the tokens of the refresh must be kept.
 */
export async function renewedClaims(
  found: Discovered,
  config: IdentityProviderSettings,
  accessToken: string,
  subject: string,
  runtime: Pick<Runtime, "now" | "log">,
): Promise<Claims | undefined> {
  const timeout = new AbortController();
  const late = delay(RENEWAL_PATIENCE_MS, undefined, { signal: timeout.signal }).then(() => {
    runtime.log.warn(
      { reason: "renewed_claims_late", subject },
      "Going on with the claims that were known before",
    );
    return undefined;
  });
  try {
    return await Promise.race([readClaims(found, config, accessToken, subject, runtime), late]);
  } catch (cause) {
    runtime.log.warn(
      { reason: "renewed_claims_failed", subject, cause: causes(cause) },
      "Going on with the claims that were known before",
    );
    return undefined;
  } finally {
    timeout.abort();
  }
}

async function readClaims(
  found: Discovered,
  config: IdentityProviderSettings,
  accessToken: string,
  subject: string,
  runtime: Pick<Runtime, "now" | "log">,
): Promise<Claims | undefined> {
  // Verified, unlike the scopes of a refresh: a claim may also permit what was not permitted before.
  const claims =
    (await verifyAccessToken(found, config, accessToken, runtime)) ??
    (await fetchUserInfo(found, config, accessToken, subject, runtime));
  if (claims === undefined) return undefined;
  // Who the user is, and in which login session, was settled at sign-in.
  const { sid, ...rest } = withoutProtocolClaims(claims);
  return { ...rest, sub: subject };
}
