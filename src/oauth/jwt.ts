/** What holds for every JWT that is accepted here, whoever signed it (RFC 7519, RFC 8725): header, signature, and times. */
import {
  compactVerify,
  errors,
  type JWTHeaderParameters,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwtVerify,
} from "jose";

/** Signatures that only the holder of a private key makes: with HS256 a public key would pass for a secret (RFC 8725 §3.1). */
export const ASYMMETRIC_ALGORITHMS: readonly string[] = [
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
  ...["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"],
];

/** How far the clock of whoever signed it may be from ours. */
export const CLOCK_TOLERANCE_SECONDS = 30;

/**
 * As `jwtVerify` of jose, which lets `b64: false` pass where `crit` does not name it.
 * @throws jose's errors; what the function of the keys throws
 */
export async function verifiedClaims(
  token: string,
  keys: JWTVerifyGetKey,
  options: JWTVerifyOptions,
): Promise<JWTPayload> {
  const { payload, protectedHeader } = await jwtVerify(token, keys, {
    algorithms: [...ASYMMETRIC_ALGORITHMS],
    ...options,
  });
  refuseExtension(protectedHeader);
  return payload;
}

/**
 * For whoever judged the claims before, because the keys are looked up for nothing else.
 * @throws jose's errors; what the function of the keys throws
 */
export async function verifySignature(
  token: string,
  keys: JWTVerifyGetKey,
  algorithms: readonly string[],
): Promise<void> {
  const { protectedHeader } = await compactVerify(token, keys, { algorithms: [...algorithms] });
  refuseExtension(protectedHeader);
}

function refuseExtension(header: Pick<JWTHeaderParameters, "crit" | "b64">): void {
  if (hasExtension(header)) throw new errors.JWTInvalid("its header has an extension that is not understood");
}

/** No extension is understood here (RFC 7515 §4.1.11), and the payload of a JWT is encoded (RFC 7797 §7). */
export function hasExtension({ crit, b64 }: { readonly crit?: unknown; readonly b64?: unknown }): boolean {
  return crit !== undefined || (b64 !== undefined && b64 !== true);
}

export type TimeProblem =
  | "without_expiry"
  | "expired"
  | "not_yet_valid"
  | "issued_in_future"
  | "lifetime_too_long";

export interface TimeRules {
  /** Seconds since the epoch. */
  readonly now: number;
  /** From now on; absent: any. */
  readonly maxLifetimeSeconds?: number | undefined;
  /** Then the lifetime counts from `iat` too, which must be there: otherwise nobody knows for how long it has been good. */
  readonly sinceIssued?: boolean;
}

/** The first thing that is wrong with its times (RFC 7519 §4.1.4 to §4.1.6). */
export function timeProblem(
  { exp, nbf, iat }: { readonly exp?: unknown; readonly nbf?: unknown; readonly iat?: unknown },
  { now, maxLifetimeSeconds, sinceIssued = false }: TimeRules,
): TimeProblem | undefined {
  const latest = now + CLOCK_TOLERANCE_SECONDS;
  if (!isTime(exp)) return "without_expiry";
  if (acceptedUntil(exp) <= now) return "expired";
  if (nbf !== undefined && !(isTime(nbf) && nbf <= latest)) return "not_yet_valid";
  if (iat !== undefined && !(isTime(iat) && iat <= latest)) return "issued_in_future";
  if (maxLifetimeSeconds === undefined) return undefined;
  const isLong = exp > latest + maxLifetimeSeconds;
  const wasLong = sinceIssued && (iat === undefined || exp - iat > maxLifetimeSeconds);
  return isLong || wasLong ? "lifetime_too_long" : undefined;
}

/** A JWT counts until then, and so does everything that it allows: a call that it began, and what is remembered of it. */
export function acceptedUntil(exp: number): number {
  return exp + CLOCK_TOLERANCE_SECONDS;
}

/** RFC 7519 §2, NumericDate: seconds, perhaps with a fraction. */
function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}
