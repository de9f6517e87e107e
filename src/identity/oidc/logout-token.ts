/** Verifies logout tokens (OpenID Connect Back-Channel Logout 1.0), which anybody can post. */
import { compactVerify, decodeJwt } from "jose";
import { z } from "zod";
import { ASYMMETRIC_ALGORITHMS, CLOCK_TOLERANCE_SECONDS } from "../../oauth/jwt.ts";
import { type LogoutToken, UnacceptableAnswer } from "../identity-provider.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import type { Discovered } from "./discovery.ts";
import { SubjectToEnd } from "./subject.ts";
import { isJwtProblem } from "./token-verification.ts";

const LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout";
export const MAX_AGE_SECONDS = 300;

/**
 * Verifies a logout token (§2.6). Its key is looked up only if `iss`, `aud` and times are right, because anybody can post
 * others.
 * @param now seconds since the epoch
 * @throws UpstreamRefusal; UnavailableError if its key may be new and it is too early to ask for it
 */
export async function verifyLogoutToken(
  token: string,
  { metadata, keys }: Discovered,
  { clientId, logoutTokenExp }: Pick<IdentityProviderSettings, "clientId" | "logoutTokenExp">,
  now: number,
): Promise<Omit<LogoutToken, "issuer">> {
  try {
    const claims = LogoutClaims.parse(decodeJwt(token));
    const problem =
      problemOfParties(claims, metadata.issuer, clientId) ?? problemOfTimes(claims, logoutTokenExp, now);
    if (problem !== undefined) throw new NotAccepted(problem);
    await compactVerify(token, keys.ofStrangersToken, { algorithms: [...ASYMMETRIC_ALGORITHMS] });
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

function problemOfParties({ iss, aud }: LogoutClaims, issuer: string, clientId: string): string | undefined {
  if (iss !== issuer) return "its iss is not the identity provider";
  return [aud].flat().includes(clientId) ? undefined : "its aud is not this server's client id";
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
