/** Verifies logout tokens (OpenID Connect Back-Channel Logout 1.0), which anybody can post. */
import { decodeJwt, type JWTVerifyGetKey } from "jose";
import { z } from "zod";
import { ASYMMETRIC_ALGORITHMS, CLOCK_TOLERANCE_SECONDS, verifySignature } from "../../oauth/jwt.ts";
import { type LogoutToken, UnacceptableAnswer } from "../identity-provider.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import { SubjectToEnd } from "./subject.ts";
import { isJwtProblem } from "./token-verification.ts";

const LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout";
export const MAX_AGE_SECONDS = 300;

export interface LogoutTokenRules {
  issuer: string;
  /** Of a token that anybody may have sent. */
  keys: JWTVerifyGetKey;
  /** This server, as the issuer knows it: any of these. */
  audiences: readonly string[];
  algorithms?: readonly string[];
  /** OpenID Connect Back-Channel Logout §2.4 requires it; some providers leave it out. */
  exp: IdentityProviderSettings["logoutTokenExp"];
}

/**
 * Verifies a logout token (§2.6). Its key is looked up only if `iss`, `aud` and times are right, because anybody can post
 * others.
 * @param now seconds since the epoch
 * @throws UpstreamRefusal; UnavailableError if its key may be new and it is too early to ask for it
 */
export async function verifyLogoutToken(
  token: string,
  { issuer, keys, audiences, algorithms = ASYMMETRIC_ALGORITHMS, exp }: LogoutTokenRules,
  now: number,
): Promise<Omit<LogoutToken, "issuer">> {
  try {
    const claims = LogoutClaims.parse(decodeJwt(token));
    const problem = problemOfParties(claims, issuer, audiences) ?? problemOfTimes(claims, exp, now);
    if (problem !== undefined) throw new NotAccepted(problem);
    await verifySignature(token, keys, algorithms);
    const { jti, iat, sub, sid } = claims;
    return {
      jti,
      issuedAt: iat,
      ...(sub !== undefined && { subject: sub }),
      ...(sid !== undefined && { sid }),
    };
  } catch (cause) {
    if (cause instanceof NotAccepted || cause instanceof z.ZodError || isJwtProblem(cause))
      throw new UnacceptableAnswer("invalid_logout_token", { cause });
    throw cause;
  }
}

/** Says why, for the log. */
class NotAccepted extends Error {}

/** An ID token must not pass for a logout token: it has no event, and a logout token has no nonce. */
const LogoutClaims = z
  .object({
    iss: z.string(),
    aud: z.union([z.string(), z.array(z.string())]),
    iat: z.number(),
    exp: z.number().optional(),
    jti: z.string().min(1),
    sub: SubjectToEnd.optional(),
    sid: z.string().optional(),
    nonce: z.never().optional(),
    events: z.object({ [LOGOUT_EVENT]: z.object({}) }),
  })
  .refine(({ sub, sid }) => sub !== undefined || sid !== undefined, "names neither a user nor a session");
type LogoutClaims = z.infer<typeof LogoutClaims>;

function problemOfParties(
  { iss, aud }: LogoutClaims,
  issuer: string,
  audiences: readonly string[],
): string | undefined {
  if (iss !== issuer) return `its iss is not ${issuer}`;
  const isOurs = [aud].flat().some((each) => audiences.includes(each));
  return isOurs ? undefined : `its aud is not ${audiences.join(" or ")}`;
}

function problemOfTimes(
  { iat, exp }: LogoutClaims,
  logoutTokenExp: IdentityProviderSettings["logoutTokenExp"],
  now: number,
): string | undefined {
  if (iat > now + CLOCK_TOLERANCE_SECONDS) return "its iat is in the future";
  if (iat < now - MAX_AGE_SECONDS - CLOCK_TOLERANCE_SECONDS)
    return `it is older than ${MAX_AGE_SECONDS} seconds`;
  if (exp !== undefined) return exp <= now - CLOCK_TOLERANCE_SECONDS ? "it has expired" : undefined;
  return logoutTokenExp === "required"
    ? "it has no exp: OIDC_LOGOUT_TOKEN_EXP=optional accepts those of a provider that leaves it out"
    : undefined;
}
