/**
 * Verifies a JWT that somebody presents as one of a trusted issuer (RFC 7519, RFC 8725). What costs nothing is judged first:
 * the issuer's keys are looked up only for a JWT that would be accepted if it is genuine.
 */
import { decodeJwt, decodeProtectedHeader, errors, type JWTPayload, type JWTVerifyGetKey } from "jose";
import { hasExtension, type TimeProblem, timeProblem, verifySignature } from "../oauth/jwt.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import type { IssuerSettings } from "./trusted-issuer.ts";

/** Longer than the header of a request may be as a whole. */
const MAX_LENGTH = 16_384;

/** What a JWT says, before anybody verified it: good for choosing who verifies it, and for nothing else. */
export interface UnverifiedJwt {
  readonly issuer: string | undefined;
  /** `typ` in lower case, without `application/` (RFC 7515 §4.1.9). */
  readonly type: string | undefined;
}

/** @returns undefined for what is no signed JWT */
export function readJwt(token: string): UnverifiedJwt | undefined {
  if (token.length > MAX_LENGTH) return undefined;
  try {
    const { typ } = decodeProtectedHeader(token);
    const { iss } = decodeJwt(token);
    return { issuer: typeof iss === "string" ? iss : undefined, type: normalizedType(typ) };
  } catch {
    return undefined;
  }
}

function normalizedType(typ: unknown): string | undefined {
  return typeof typ === "string" ? typ.toLowerCase().replace(/^application\//, "") : undefined;
}

declare const verified: unique symbol;

/** The claims of a JWT whose signature, issuer, audience, type and times were found good; only `verifyJwt` makes them. */
export type VerifiedClaims = JWTPayload & {
  readonly iss: string;
  readonly exp: number;
  readonly [verified]: true;
};

/** Why a JWT is not accepted. The message is for the log. */
export class JwtRefused extends Error {
  readonly reason: JwtProblem;

  constructor(reason: JwtProblem, message: string, cause?: unknown) {
    super(message, { cause });
    this.reason = reason;
  }
}

export type JwtProblem = Extract<
  ReasonCode,
  | `jwt_${string}`
  | "assertion_claims"
  | "assertion_replayed"
  | "workload_not_named"
  | "token_claims"
  | "token_inactive"
>;

export interface JwtRules {
  readonly settings: Pick<IssuerSettings, "issuer" | "algorithms">;
  readonly keys: JWTVerifyGetKey;
  /** The `typ` that are accepted, in lower case; `undefined` among them: none at all. */
  readonly types: ReadonlyArray<string | undefined>;
  /** Any of these … */
  readonly audiences: readonly string[];
  /** … and nobody else: whoever else is named could present the JWT here. */
  readonly soleAudience: boolean;
  /** From `iat` to `exp`, and from now; absent: any, and `iat` may be missing. */
  readonly maxLifetimeSeconds?: number;
  /** Seconds since the epoch. */
  readonly now: number;
}

export const SENDER_CONSTRAINED = "it is bound to a key of its sender (cnf), which is not checked here";

/** @throws JwtRefused; UnavailableError while the issuer's keys are out of reach */
export async function verifyJwt(token: string, rules: JwtRules): Promise<VerifiedClaims> {
  const claims = decoded(token, rules);
  checkParties(claims, rules);
  checkTimes(claims, rules);
  if (claims.cnf !== undefined) throw new JwtRefused("jwt_sender_constrained", SENDER_CONSTRAINED);
  try {
    await verifySignature(token, rules.keys, rules.settings.algorithms);
  } catch (error) {
    throw refusal(error);
  }
  return claims as VerifiedClaims;
}

function decoded(token: string, { settings, types }: JwtRules): JWTPayload {
  if (token.length > MAX_LENGTH)
    throw new JwtRefused("jwt_malformed", `it is longer than ${MAX_LENGTH} characters`);
  try {
    const header = decodeProtectedHeader(token);
    const { typ, alg } = header;
    if (hasExtension(header))
      throw new JwtRefused("jwt_malformed", "its header has an extension that is not understood here");
    if (!types.includes(normalizedType(typ)))
      throw new JwtRefused("jwt_wrong_type", `its typ is not ${types.join(" or ")}`);
    if (alg === undefined || !settings.algorithms.includes(alg))
      throw new JwtRefused("jwt_algorithm", `its alg is not ${settings.algorithms.join(", ")}`);
    return decodeJwt(token);
  } catch (error) {
    if (error instanceof JwtRefused) throw error;
    throw new JwtRefused("jwt_malformed", "it is no signed JWT", error);
  }
}

function checkParties({ iss, aud }: JWTPayload, { settings, audiences, soleAudience }: JwtRules): void {
  if (iss !== settings.issuer) throw new JwtRefused("jwt_wrong_issuer", `its iss is not ${settings.issuer}`);
  const named: readonly unknown[] = [aud ?? []].flat();
  const isOurs = (value: unknown) => typeof value === "string" && audiences.includes(value);
  const isGood = soleAudience ? named.length === 1 && named.every(isOurs) : named.some(isOurs);
  if (!isGood)
    throw new JwtRefused(
      "jwt_wrong_audience",
      `its aud is not ${audiences.join(" or ")}${soleAudience ? " alone" : ""}`,
    );
}

/** @throws JwtRefused */
export function checkTimes(
  claims: { readonly exp?: unknown; readonly nbf?: unknown; readonly iat?: unknown },
  { maxLifetimeSeconds, now }: Pick<JwtRules, "maxLifetimeSeconds" | "now">,
): void {
  const problem = timeProblem(claims, { now, maxLifetimeSeconds, sinceIssued: true });
  if (problem === undefined) return;
  const [reason, message] = TIMES[problem];
  throw new JwtRefused(reason, message);
}

const TIMES: Readonly<Record<TimeProblem, [reason: JwtProblem, message: string]>> = {
  without_expiry: ["jwt_without_expiry", "it has no exp"],
  expired: ["jwt_expired", "it has expired"],
  not_yet_valid: ["jwt_not_yet_valid", "its nbf is in the future"],
  issued_in_future: ["jwt_issued_in_future", "its iat is in the future"],
  lifetime_too_long: ["jwt_lifetime_too_long", "it is good for longer than it may be"],
};

/** What jose says is wrong with the JWT. Everything else, such as an outage of the keys, is passed on. */
function refusal(error: unknown): unknown {
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return new JwtRefused("jwt_signature", "its signature is wrong", error);
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return new JwtRefused("jwt_unknown_key", "no one key that the issuer publishes fits it", error);
  if (error instanceof errors.JOSEAlgNotAllowed)
    return new JwtRefused("jwt_algorithm", "its alg is not accepted", error);
  const isOfJose = error instanceof errors.JOSEError;
  // What the platform's cryptography says of a key that is no key, or not one of this algorithm.
  const isOfPlatform = error instanceof TypeError || (error instanceof Error && error.name === "DataError");
  return isOfJose || isOfPlatform
    ? new JwtRefused("jwt_malformed", "it is not a valid signed JWT", error)
    : error;
}
