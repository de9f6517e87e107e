/** Access tokens that are JWTs of a trusted issuer (RFC 9068, RFC 8725). */
import type { JWTVerifyGetKey } from "jose";
import { z } from "zod";
import { claimAt, namesAt } from "../access/claims.ts";
import { Subject } from "../identity/oidc/subject.ts";
import { acceptedUntil } from "../oauth/jwt.ts";
import { inWords } from "./id-jag.ts";
import { JwtRefused, readJwt, type VerifiedClaims, verifyJwt } from "./jwt.ts";
import type { AccessTokenIssuer } from "./trusted-issuer.ts";

/** What a token of another issuer is worth here. */
export interface ForeignAccessToken {
  readonly issuer: string;
  readonly subject: string;
  /** The client that got it, where the issuer says so. */
  readonly clientId: string | undefined;
  /** A client's own token has no user (RFC 9068 §5). */
  readonly isClients: boolean;
  /** Of this server, by the operator's map. */
  readonly scopes: readonly string[];
  /** Until when it counts here: its `exp`, and the tolerance for clocks. Seconds since the epoch. */
  readonly expiresAt: number;
  readonly claims: Readonly<Record<string, unknown>>;
}

const Claims = z.object({
  sub: Subject,
  client_id: z.string().min(1).optional(),
  azp: z.string().min(1).optional(),
});

/** @throws JwtRefused; UnavailableError while the issuer's keys are out of reach */
export async function verifyForeignAccessToken(
  token: string,
  issuer: AccessTokenIssuer,
  { keys, resource, now }: { keys: JWTVerifyGetKey; resource: string; now: number },
): Promise<ForeignAccessToken> {
  const claims = await verifyJwt(token, {
    settings: issuer,
    keys,
    types: issuer.types,
    audiences: [issuer.audience ?? resource],
    soleAudience: false,
    now,
  });
  refuseIdToken(claims, readJwt(token)?.type);
  return worthHere(claims, issuer);
}

/** The same of claims that an issuer answered with at introspection. */
export function worthHere(
  claims: Readonly<Record<string, unknown>> & { iss: string; exp: number },
  issuer: AccessTokenIssuer,
): ForeignAccessToken {
  const parsed = Claims.safeParse(claims);
  if (!parsed.success) throw new JwtRefused("token_claims", inWords(parsed.error));
  const { sub, client_id, azp } = parsed.data;
  const clientId = client_id ?? azp;
  return {
    issuer: claims.iss,
    subject: sub,
    clientId,
    // Auth0 has `<client>@clients` as the subject of a machine.
    isClients: clientId !== undefined && (sub === clientId || sub === `${clientId}@clients`),
    scopes: scopesHere(claims, issuer),
    expiresAt: acceptedUntil(claims.exp),
    claims,
  };
}

/**
 * An ID token says who somebody is and permits nothing (RFC 9068 §4: told apart by `typ`). Where an issuer gives both the
 * same `typ`, claims tell: some are an ID token's alone (OpenID Connect Core §2, §3.1.3.6), and it is for its client, while an
 * access token names the client that it was given to (RFC 9068 §2.2) and is for somebody else. Entra's have neither nonce nor
 * hash in the code flow, and roles.
 */
function refuseIdToken(claims: VerifiedClaims, type: string | undefined): void {
  const { nonce, at_hash, c_hash, client_id, azp, aud } = claims;
  const hasOwnClaims = [nonce, at_hash, c_hash].some((claim) => claim !== undefined);
  const client = client_id ?? azp;
  const isForItsClient = type !== "at+jwt" && (client === undefined || [aud].flat().includes(String(client)));
  if (hasOwnClaims || isForItsClient) throw new JwtRefused("jwt_wrong_type", "it is an ID token");
}

function scopesHere(
  claims: Readonly<Record<string, unknown>>,
  { scopeClaims, scopes }: AccessTokenIssuer,
): string[] {
  const theirs = scopeClaims.flatMap((path) => {
    const value = claimAt(claims, path);
    // RFC 8693 §4.2. In a list each is one name: a role's may have spaces in it.
    return typeof value === "string" ? value.split(" ") : namesAt(claims, path);
  });
  return [...new Set(theirs.flatMap((name) => scopes.get(name) ?? []))];
}
