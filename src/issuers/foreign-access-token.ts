/** Access tokens that are JWTs of a trusted issuer (RFC 9068, RFC 8725). */
import type { JWTVerifyGetKey } from "jose";
import { z } from "zod";
import { claimAt, namesAt } from "../access/claims.ts";
import { Subject } from "../identity/oidc/subject.ts";
import { ClientId } from "../oauth/client-id.ts";
import { acceptedUntil } from "../oauth/jwt.ts";
import { fits } from "./claim-rule.ts";
import { inWords } from "./id-jag.ts";
import { JwtRefused, readJwt, type VerifiedClaims, verifyJwt } from "./jwt.ts";
import { type AccessTokenIssuer, UNTYPED } from "./trusted-issuer.ts";
import { withVouchedEmail } from "./vouched-email.ts";

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
  client_id: ClientId.optional(),
  azp: ClientId.optional(),
  /** Okta's name for it; Entra's of version 1.0. */
  cid: ClientId.optional(),
  appid: ClientId.optional(),
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
    types: issuer.types.map((type) => (type === UNTYPED ? undefined : type)),
    audiences: [issuer.audience ?? resource],
    soleAudience: false,
    now,
  });
  refuseIdToken(claims, readJwt(token)?.type);
  if (readJwt(token)?.type === undefined) refuseUnlessForAccess(claims);
  return worthHere(claims, issuer);
}

/** The same of claims that an issuer answered with at introspection. */
export function worthHere(
  answered: Readonly<Record<string, unknown>> & { iss: string; exp: number },
  issuer: AccessTokenIssuer,
): ForeignAccessToken {
  const claims = withVouchedEmail(answered, issuer);
  const parsed = Claims.safeParse(claims);
  if (!parsed.success) throw new JwtRefused("token_claims", inWords(parsed.error));
  const { sub, client_id, azp, cid, appid } = parsed.data;
  const clientId = client_id ?? azp ?? cid ?? appid;
  const saysSo = issuer.clientClaims?.every((rule) => fits(rule, claims)) ?? false;
  if (saysSo && clientId === undefined)
    throw new JwtRefused("token_claims", "it is a client's own, and does not say which client that is");
  return {
    issuer: claims.iss,
    subject: sub,
    clientId,
    // Auth0 has `<client>@clients` as the subject of a machine.
    isClients: clientId !== undefined && (saysSo || sub === clientId || sub === `${clientId}@clients`),
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
  const { nonce, at_hash, c_hash, client_id, azp, cid, appid, aud } = claims;
  const hasOwnClaims = [nonce, at_hash, c_hash].some((claim) => claim !== undefined);
  const client = client_id ?? azp ?? cid ?? appid;
  const isForItsClient = type !== "at+jwt" && (client === undefined || [aud].flat().includes(String(client)));
  if (hasOwnClaims || isForItsClient) throw new JwtRefused("jwt_wrong_type", "it is an ID token");
}

/** Without a `typ` it has to show what an ID token never has: a client beside its audience (`azp` does not count), or a scope. */
function refuseUnlessForAccess({ client_id, cid, scope, scp }: VerifiedClaims): void {
  if ([client_id, cid, scope, scp].every((claim) => claim === undefined))
    throw new JwtRefused(
      "jwt_wrong_type",
      "it has no typ, and nothing in it says that it is an access token",
    );
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
