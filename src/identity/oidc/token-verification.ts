/** Verifies the provider's tokens: signature, issuer and audience, by jose with the provider's keys. */
import { decodeJwt, type JWTPayload, type JWTVerifyOptions, errors as jose } from "jose";
import { causes } from "../../oauth/errors.ts";
import { CLOCK_TOLERANCE_SECONDS, verifiedClaims } from "../../oauth/jwt.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import { UnacceptableAnswer } from "../identity-provider.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import type { Discovered } from "./discovery.ts";
import { Subject } from "./subject.ts";

/**
 * openid-client would trust TLS alone here, or keep a key set that lacks a new key for a minute. It compares times with the
 * system's clock, less a difference that it is told once for a provider; here they are compared with the clock that we are given.
 * @throws UpstreamRefusal
 */
export async function verifyIdToken(
  idToken: string,
  { keys }: Discovered,
  { now }: Pick<Runtime, "now">,
): Promise<void> {
  try {
    await verifiedClaims(idToken, keys.ofProviderToken, timesBy(now));
  } catch (cause) {
    throw isJwtProblem(cause) ? new UnacceptableAnswer("invalid_id_token", { cause }) : cause;
  }
}

/**
 * What openid-client leaves to its users: who the user is, and that the token was issued to us and not to another client
 * (`azp`, OpenID Connect Core §3.1.3.7; with several audiences openid-client wants it to be there).
 * @throws UpstreamRefusal
 */
export function checkIdToken({ sub, azp }: JWTPayload, clientId: string): void {
  const subject = Subject.safeParse(sub);
  const problem =
    azp !== undefined && azp !== clientId
      ? 'the "azp" (authorized party) of the ID token is another client'
      : subject.error && `the "sub" of the ID token ${subject.error.issues[0]?.message}`;
  if (problem !== undefined) throw new UnacceptableAnswer("invalid_id_token", { cause: new Error(problem) });
}

/**
 * The verified claims of an access token that is a JWT for us; undefined for one that is opaque to us.
 * @throws UpstreamRefusal if it is meant for our audience and does not verify.
 */
export async function verifyAccessToken(
  { metadata, keys }: Discovered,
  { audience }: IdentityProviderSettings,
  accessToken: string,
  { now, log }: Pick<Runtime, "now" | "log">,
): Promise<JWTPayload | undefined> {
  if (accessToken.split(".").length !== 3) return undefined;
  try {
    return await verifiedClaims(accessToken, keys.ofProviderToken, {
      issuer: metadata.issuer,
      ...timesBy(now),
      ...(audience !== undefined && { audience }),
    });
  } catch (cause) {
    if (!isJwtProblem(cause)) throw cause;
    if (audience !== undefined) throw new UnacceptableAnswer("invalid_access_token", { cause });
    // Asked for no audience, so this token is for somebody else (Entra's Graph tokens do not even verify).
    log.debug({ reason: "access_token_not_for_us", cause: causes(cause) }, "Access token treated as opaque");
    return undefined;
  }
}

/** By which clock jose judges `exp` and `nbf`. */
export function timesBy(now: Runtime["now"]): Pick<JWTVerifyOptions, "currentDate" | "clockTolerance"> {
  return { currentDate: new Date(now() * 1000), clockTolerance: CLOCK_TOLERANCE_SECONDS };
}

/** True for what is wrong with the token itself; false for keys that are out of reach. */
export function isJwtProblem(error: unknown): boolean {
  return (
    error instanceof jose.JOSEError && error.code !== "ERR_JWKS_TIMEOUT" && error.code !== "ERR_JOSE_GENERIC"
  );
}

/** Not verified: it came from the provider itself, and is used to take something away only. */
export function decodedClaims(accessToken: string): JWTPayload | undefined {
  try {
    return decodeJwt(accessToken);
  } catch {
    return undefined;
  }
}
