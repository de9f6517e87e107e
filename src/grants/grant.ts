/**
 * A grant: what one user allowed one client for one resource, with its family of tokens. The stored record, and the rules by which
 * it changes. Pure; grants.ts stores the records.
 */
import { z } from "zod";
import type { NotAdmitted } from "../access/permissions.ts";
import type { Asker } from "../access/policy.ts";
import { UpstreamTokens } from "../identity/identity-provider.ts";
import { OAuthError } from "../oauth/errors.ts";
import { ValidatedRedirectUri } from "../oauth/redirect-uri.ts";
import { intersect, missingScopes } from "../oauth/scope.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Lifetimes } from "./lifetimes.ts";
import { hashToken, mintRefreshToken, mintToken, SECRET_BYTES, TokenHash } from "./opaque-token.ts";

/** The answer of the token endpoint, kept for the grace period in which a repeated refresh gets the same answer. */
const IssuedTokens = z.object({
  accessToken: z.string(),
  refreshToken: z.string().optional(),
  scopes: z.array(z.string()),
  /** Seconds since the epoch, of the access token. */
  expiresAt: z.number(),
});
export type IssuedTokens = z.infer<typeof IssuedTokens>;

export const Grant = z.object({
  version: z.literal(1),
  id: z.string(),
  clientId: z.string(),
  /** What the client called itself when the user allowed this. */
  clientName: z.string().optional(),
  subject: z.string(),
  resource: z.string(),
  /** What is left of what the user allowed: the provider gives less, or took some away since. */
  scopes: z.array(z.string()),
  /** What the user allowed, where that is more. Replicas of earlier versions drop it when they write the grant. */
  allowed: z.array(z.string()).optional(),
  claims: z.record(z.string(), z.unknown()),
  /** See UpstreamLogin. */
  renewable: z.array(z.string()).default([]),
  createdAt: z.number(),
  /** Seconds since the epoch; no use of the grant moves it. */
  expiresAt: z.number(),
  /** Authenticates this family's refresh tokens, see opaque-token. */
  familyKey: z.string(),
  code: z.object({
    hash: TokenHash,
    redirectUri: ValidatedRedirectUri,
    codeChallenge: z.string(),
    expiresAt: z.number(),
    redeemed: z.boolean(),
  }),
  accessTokens: z.array(
    z.object({
      hash: TokenHash,
      scopes: z.array(z.string()),
      expiresAt: z.number(),
      /** Unknown of a token of an earlier version, and of one that a replica of such a version wrote again. */
      issuedAt: z.number().optional(),
    }),
  ),
  /** The refresh token that is good now. */
  refreshToken: TokenHash.optional(),
  /** Refresh tokens replaced a moment ago, newest first, with what replaced them. */
  replaced: z.array(z.object({ hash: TokenHash, until: z.number(), answer: IssuedTokens })),
  upstream: UpstreamTokens,
});
export type Grant = z.infer<typeof Grant>;
export type IssuedAccessToken = Grant["accessTokens"][number];

/** What a client may name at refresh: it was granted by the user, whatever the provider gives of it today (RFC 6749 §6). */
export function allowedScopes({ allowed, scopes }: Pick<Grant, "allowed" | "scopes">): readonly string[] {
  return allowed ?? scopes;
}

/** What the user allowed and the provider does not give, today. Nothing is known of that in a grant of an earlier version. */
export function notGiven(
  { allowed = [], scopes }: Pick<Grant, "allowed" | "scopes">,
  catalogue: Pick<ScopeCatalogue, "expand" | "names">,
): string[] {
  return missingScopes(intersect(allowed, catalogue.names), catalogue.expand(scopes));
}

/** The grant with other scopes, and what the user allowed remembered. */
export function withScopes(grant: Grant, scopes: readonly string[]): Grant {
  const isLess = grant.scopes.some((scope) => !scopes.includes(scope));
  return { ...grant, scopes: [...scopes], ...(isLess && { allowed: [...allowedScopes(grant)] }) };
}

/** For the log and the audit log. */
export function whose({ id, subject, clientId }: Pick<Grant, "id" | "subject" | "clientId">): {
  grantId: string;
  subject: string;
  clientId: string;
} {
  return { grantId: id, subject, clientId };
}

/** The user and client that a refusal at the token endpoint concerns. */
export function about({ id, subject }: Pick<Grant, "id" | "subject">): { grantId: string; subject: string } {
  return { grantId: id, subject };
}

/** The answer of the token endpoint to a user who is no longer admitted. */
export function refuseAdmission({ message, reason, rule }: NotAdmitted, grant: Grant): OAuthError {
  return new OAuthError("invalid_grant", message, { reason, about: { ...about(grant), rule: rule?.name } });
}

/** The user and client of a grant, for the policy. */
export function askerOf({
  subject,
  claims,
  clientId,
  code,
}: Pick<Grant, "subject" | "claims" | "clientId" | "code">): Asker {
  return { subject, claims, clientId, redirectUri: code.redirectUri };
}

// An access token stays good when it is refreshed early; a client that refreshes all the time keeps the newest few.
const MAX_ACCESS_TOKENS = 8;
const MAX_REPLACED = 16;

/** Fresh secrets for one answer of the token endpoint, made before the change is decided. */
export interface NewTokens {
  accessToken: string;
  refreshToken: string | undefined;
}

export function mintTokens(
  grant: Grant,
  withRefreshToken: boolean,
  randomBytes: Runtime["randomBytes"],
): NewTokens {
  return {
    accessToken: mintToken("access", grant.id, randomBytes(SECRET_BYTES)),
    refreshToken: withRefreshToken
      ? mintRefreshToken(grant.id, randomBytes(SECRET_BYTES), grant.familyKey)
      : undefined,
  };
}

/**
 * The grant with new tokens added, and the answer that carries them. Pure: everything is an argument.
 * @param scopes what the token keeps, so that a policy that changes its mind can give back; `permitted` is what it is
 * worth today, and what the client gets as `scope`
 */
export function addTokens(
  grant: Grant,
  tokens: NewTokens,
  { scopes, permitted }: { scopes: readonly string[]; permitted: readonly string[] },
  lifetimes: Lifetimes,
  now: number,
): { grant: Grant; issued: IssuedTokens } {
  // Never outlives the grant, or the user's access token at the provider.
  const expiresAt = Math.min(
    now + lifetimes.accessTokenSeconds,
    grant.expiresAt,
    grant.upstream.expiresAt ?? Infinity,
  );
  const issued: IssuedTokens = {
    accessToken: tokens.accessToken,
    ...(tokens.refreshToken !== undefined && { refreshToken: tokens.refreshToken }),
    scopes: [...permitted],
    expiresAt,
  };
  const accessTokens = [
    { hash: hashToken(tokens.accessToken), scopes: [...scopes], expiresAt, issuedAt: now },
    ...grant.accessTokens.filter((token) => token.expiresAt > now),
  ].slice(0, MAX_ACCESS_TOKENS);
  const { refreshToken: _replaced, ...rest } = grant;
  return {
    issued,
    grant: {
      ...rest,
      accessTokens,
      ...(tokens.refreshToken !== undefined && { refreshToken: hashToken(tokens.refreshToken) }),
    },
  };
}

/** Adds a superseded refresh token with its successor, and removes those superseded before the grace period. */
export function rememberReplaced(
  grant: Grant,
  hash: TokenHash,
  answer: IssuedTokens,
  until: number,
  now: number,
): Grant {
  const replaced = [{ hash, until, answer }, ...grant.replaced.filter((entry) => entry.until > now)];
  return { ...grant, replaced: replaced.slice(0, MAX_REPLACED) };
}
