/**
 * A grant: what one principal may do through one client at one resource, with its family of tokens, and the rules by which it
 * changes. Pure; stored-grant.ts reads and writes the records, grants.ts keeps them.
 */
import { z } from "zod";
import type { NotAdmitted } from "../access/permissions.ts";
import {
  ClientRef,
  Principal,
  type PrincipalFields,
  principalFields,
  type User,
} from "../access/principal.ts";
import { UpstreamTokens } from "../identity/identity-provider.ts";
import { OAuthError } from "../oauth/errors.ts";
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

/** The authorization code that a sign-in ended with (RFC 6749 §4.1.2). It was sent to `client.redirectUri`. */
const CodeState = z.object({
  hash: TokenHash,
  codeChallenge: z.string(),
  expiresAt: z.number(),
  redeemed: z.boolean(),
});
export type CodeState = z.infer<typeof CodeState>;

/** How a grant came about. */
const Origin = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("authorization_code"), code: CodeState }),
  /** RFC 6749 §4.4. */
  z.object({
    kind: z.literal("client_credentials"),
    /** With which of its credentials the client came. */
    credential: z.string(),
  }),
  /** RFC 7523: an assertion of an issuer that this server believes. */
  z.object({
    kind: z.literal("jwt_bearer"),
    profile: z.enum(["id-jag", "workload"]),
    issuer: z.string(),
  }),
]);

export type Origin = z.infer<typeof Origin>;

/** What all versions of the record have in common. */
export const grantFields = {
  id: z.string(),
  resource: z.string(),
  /** What is left of what the user allowed: the provider gives less, or took some away since. */
  scopes: z.array(z.string()),
  /** What the user allowed, where that is more. Replicas of earlier versions drop it when they write the grant. */
  allowed: z.array(z.string()).optional(),
  /** See UpstreamLogin. */
  renewable: z.array(z.string()).default([]),
  /** When and how the user signed in at the provider: no refresh changes it. Unknown is not enough for what asks for it. */
  authTime: z.number().optional(),
  acr: z.string().optional(),
  createdAt: z.number(),
  /** Seconds since the epoch; no use of the grant moves it. */
  expiresAt: z.number(),
  /** Authenticates this family's refresh tokens, see opaque-token. */
  familyKey: z.string(),
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
};

export const Grant = z.object({
  ...grantFields,
  version: z.literal(2),
  principal: Principal,
  client: ClientRef,
  origin: Origin,
  /** The principal's tokens at the identity provider; undefined if they did not sign in there. */
  upstream: UpstreamTokens.optional(),
});
export type Grant = z.infer<typeof Grant>;

/** The grant of somebody who signed in at the identity provider, where it can be renewed and revoked. */
export type SignedInGrant = Grant & { principal: User; upstream: UpstreamTokens };

export function isSignedIn(grant: Grant): grant is SignedInGrant {
  return grant.principal.kind === "user" && grant.upstream !== undefined;
}

/** What is thrown at who needs the tokens of somebody who signed in. */
export function noUpstreamTokens(): OAuthError {
  return new OAuthError(
    "unauthorized_client",
    "This needs a user who signed in at the identity provider through this server, and this client acts without one.",
    { reason: "no_upstream_tokens" },
  );
}

/** The authorization code of the grant, if that is how it came about. */
export function codeOf({ origin }: Pick<Grant, "origin">): CodeState | undefined {
  return origin.kind === "authorization_code" ? origin.code : undefined;
}

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
export function whose({
  id,
  principal,
  client,
  resource,
}: Pick<Grant, "id" | "principal" | "client" | "resource">): {
  grantId: string;
  clientId: string;
  protectedResource: string;
} & PrincipalFields {
  return {
    grantId: id,
    ...principalFields(principal),
    clientId: client.id,
    protectedResource: resource,
  };
}

/** Whom and what the token endpoint may refuse: a grant, or who would get one. */
type Refused = Pick<Grant, "principal" | "resource"> & Partial<Pick<Grant, "id">>;

/** The grant, principal and resource that a refusal at the token endpoint concerns. */
export function about({ id, principal, resource }: Refused): {
  grantId?: string;
  protectedResource: string;
} & PrincipalFields {
  return {
    ...(id !== undefined && { grantId: id }),
    ...principalFields(principal),
    protectedResource: resource,
  };
}

/** The answer of the token endpoint to a principal who is not admitted, or no longer. */
export function refuseAdmission({ message, reason, rule }: NotAdmitted, whom: Refused): OAuthError {
  return new OAuthError("invalid_grant", message, { reason, about: { ...about(whom), rule: rule?.name } });
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
  // Never outlives the grant, or the user's access token at the provider, if there is one.
  const expiresAt = Math.min(
    now + lifetimes.accessTokenSeconds,
    grant.expiresAt,
    grant.upstream?.expiresAt ?? Infinity,
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
