/** Clients that prove who they are with a signed JWT: private_key_jwt (RFC 7523 §3, OpenID Connect Core §9). */
import {
  createLocalJWKSet,
  decodeJwt,
  errors,
  type JSONWebKeySet,
  type JWTPayload,
  type JWTVerifyGetKey,
} from "jose";
import type { Client } from "../oauth/client-metadata.ts";
import { OAuthError, UnavailableError } from "../oauth/errors.ts";
import { ASYMMETRIC_ALGORITHMS, CLOCK_TOLERANCE_SECONDS, timeProblem, verifiedClaims } from "../oauth/jwt.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { KeyValueStore } from "../storage/store.ts";
import { useOnce } from "../storage/use-once.ts";
import { unavailable } from "./metadata-documents/document-cache.ts";
import { type FetchJwks, INVALID_JWKS } from "./metadata-documents/jwks.ts";

/** The `client_assertion_type` of a JWT (RFC 7523 §2.2). */
export const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

export interface AssertingClient {
  client_id: string;
  jwks?: JSONWebKeySet | undefined;
  jwks_uri?: string | undefined;
  token_endpoint_auth_signing_alg?: string | undefined;
  /** The operator vouches for the `jwks_uri` of a configured client. */
  provenance?: Client["provenance"];
}

export interface AssertionRules {
  issuer: string;
  tokenEndpoint: string;
  fetchJwks: FetchJwks;
  /** The keys at an address that the operator named. */
  configuredKeys: (uri: string) => JWTVerifyGetKey;
  /** Remembers every assertion until it expires, for all replicas. */
  records: KeyValueStore;
  now: () => number;
  randomBytes: Runtime["randomBytes"];
}

/** An assertion that could be used for longer is refused: the client can make a new one at any time. */
const MAX_LIFETIME_SECONDS = 300;
/** A key set older than this is fetched again for a key that it lacks: the client may have rotated. */
const UNKNOWN_KEY_SECONDS = 30;

/**
 * Verifies a client assertion and uses it up.
 * @throws OAuthError `invalid_client`; UnavailableError when the keys or the storage are out of reach
 */
export async function verifyClientAssertion(
  assertion: string,
  assertionType: string | undefined,
  client: AssertingClient,
  rules: AssertionRules,
): Promise<void> {
  if (assertionType !== JWT_BEARER)
    throw invalidAssertion(`use client_assertion_type ${JWT_BEARER}`, "unknown_assertion_type");
  const claims = await verifySignature(assertion, client, rules);
  checkAudience(claims.aud, rules);
  const expiresAt = checkLifetime(claims, rules.now());
  // Last, so that only the holder of the key can use up a `jti`.
  await useUp(client.client_id, claims.jti, expiresAt, rules);
}

/** The client that an assertion claims to be of, unverified: `client_id` may be left out beside it (RFC 7521 §4.2). */
export function claimedClientId(assertion: string): string | undefined {
  try {
    const { sub }: { sub?: unknown } = decodeJwt(assertion);
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}

/** Signature, `iss`, `sub`, and the times as far as jose judges them (RFC 7523 §3). */
async function verifySignature(
  assertion: string,
  client: AssertingClient,
  { fetchJwks, configuredKeys, now }: AssertionRules,
): Promise<JWTPayload> {
  const verifyBy = (keys: JWTVerifyGetKey) =>
    verifiedClaims(assertion, keys, {
      algorithms: [client.token_endpoint_auth_signing_alg ?? ASYMMETRIC_ALGORITHMS].flat(),
      issuer: client.client_id,
      subject: client.client_id,
      requiredClaims: ["exp", "aud", "jti"],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      currentDate: new Date(now() * 1000),
    });
  const verify = (jwks: JSONWebKeySet) => verifyBy(createLocalJWKSet(jwks));
  const uri = client.jwks_uri;
  if (uri !== undefined && client.provenance === "configured")
    return verifyBy(configuredKeys(uri)).catch((error: unknown) => {
      throw error instanceof UnavailableError ? error : refusal(error);
    });
  const jwks = client.jwks ?? (uri === undefined ? { keys: [] } : await keysAt(uri, fetchJwks));
  try {
    return await verify(jwks);
  } catch (error) {
    if (!(error instanceof errors.JWKSNoMatchingKey) || uri === undefined) throw refusal(error);
  }
  const newer = await keysAt(uri, fetchJwks, { maxAgeSeconds: UNKNOWN_KEY_SECONDS });
  return verify(newer).catch((error: unknown) => {
    throw refusal(error);
  });
}

/** A failure to get the keys says nothing about the client: never `invalid_client`. */
async function keysAt(
  uri: string,
  fetchJwks: FetchJwks,
  options?: { maxAgeSeconds: number },
): Promise<JSONWebKeySet> {
  try {
    return await fetchJwks(uri, options);
  } catch (error) {
    const isOfRequester = error instanceof OAuthError && error.reason !== INVALID_JWKS;
    throw isOfRequester ? error : unavailable("jwks_unavailable", error);
  }
}

/**
 * For this server and for nobody else: another server could present an assertion that is also for it. Some clients write the
 * issuer with a slash at the end.
 */
function checkAudience(audience: JWTPayload["aud"], { issuer, tokenEndpoint }: AssertionRules): void {
  const [only, ...more] = [audience ?? []].flat();
  if (more.length > 0 || ![issuer, `${issuer}/`, tokenEndpoint].includes(only ?? ""))
    throw invalidAssertion(`its aud must be ${issuer}`, "assertion_wrong_audience");
}

/** What jose does not judge. `iat` may be missing, and may be some time ago. */
function checkLifetime(claims: JWTPayload, now: number): number {
  const problem = timeProblem(claims, { now, maxLifetimeSeconds: MAX_LIFETIME_SECONDS });
  if (problem === "lifetime_too_long")
    throw invalidAssertion(
      `it must expire within ${MAX_LIFETIME_SECONDS} seconds`,
      "assertion_lifetime_too_long",
    );
  if (problem === "issued_in_future")
    throw invalidAssertion("its iat is in the future", "assertion_issued_in_future");
  if (problem !== undefined) throw invalidAssertion("its times are wrong", "assertion_malformed");
  return claims.exp ?? 0;
}

/** RFC 7523 §3: a `jti` is accepted once over all replicas, until the assertion expires. */
async function useUp(
  clientId: string,
  jti: unknown,
  expiresAt: number,
  { records, now, randomBytes }: AssertionRules,
): Promise<void> {
  if (typeof jti !== "string" || jti === "")
    throw invalidAssertion("its jti must be a string of its own", "assertion_without_jti");
  const statement = { kind: "client-assertion", by: clientId, jti, expiresAt } as const;
  if ((await useOnce(statement, { records, now, randomBytes })) === undefined)
    throw invalidAssertion("it was used before: make a new one for each request", "assertion_replayed");
}

function refusal(error: unknown): OAuthError {
  const [why, reason] = explain(error);
  return invalidAssertion(why, reason, error);
}

/** The claims that jose checks. */
const BAD_CLAIM: Readonly<Record<string, ReasonCode>> = {
  aud: "assertion_bad_aud",
  exp: "assertion_bad_exp",
  iat: "assertion_bad_iat",
  iss: "assertion_bad_iss",
  jti: "assertion_bad_jti",
  nbf: "assertion_bad_nbf",
  sub: "assertion_bad_sub",
};

function explain(error: unknown): [why: string, reason: ReasonCode] {
  if (error instanceof errors.JWTExpired) return ["it has expired", "assertion_expired"];
  if (error instanceof errors.JWTClaimValidationFailed)
    return [`its claim ${error.claim} is missing or wrong`, BAD_CLAIM[error.claim] ?? "assertion_malformed"];
  if (error instanceof errors.JOSEAlgNotAllowed)
    return ["its signature algorithm is not accepted", "assertion_algorithm"];
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return ["its signature is wrong", "assertion_signature"];
  if (error instanceof errors.JWKSNoMatchingKey)
    return ["no key that the client publishes fits it", "assertion_unknown_key"];
  if (error instanceof errors.JWKSMultipleMatchingKeys)
    return ["several keys fit it: name one with kid", "assertion_ambiguous_key"];
  if (error instanceof errors.JOSEError) return ["it is not a valid signed JWT", "assertion_malformed"];
  // What the platform's cryptography says of a key that is no key, or is too short.
  return ["the key that the client publishes for it cannot be used", "assertion_unusable_key"];
}

function invalidAssertion(why: string, reason: ReasonCode, cause?: unknown): OAuthError {
  return new OAuthError("invalid_client", `The client assertion was refused: ${why}.`, { reason, cause });
}
