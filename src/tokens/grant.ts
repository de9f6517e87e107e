/**
 * What one user allowed one client for one resource, and the family of tokens that stands for it. A grant is ONE
 * record, changed only by compare-and-set: a rotation either happened or did not, and deleting the record ends
 * everything at once.
 */
import { z } from "zod";
import type { Lifetimes } from "../config.ts";
import { ValidatedRedirectUri } from "../oauth/redirect-uri.ts";
import type { Store } from "../storage/store.ts";
import type { Surroundings } from "../surroundings.ts";
import { type UpstreamLogin, UpstreamTokens } from "../upstream/identity-provider.ts";
import {
  GRANT_ID_BYTES,
  hashToken,
  mintRefreshToken,
  mintToken,
  SECRET_BYTES,
  TokenHash,
} from "./opaque-token.ts";

/** What the token endpoint answered, kept for the grace in which the same question gets the same answer. */
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
  subject: z.string(),
  resource: z.string(),
  scopes: z.array(z.string()),
  claims: z.record(z.string(), z.unknown()),
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
  accessTokens: z.array(z.object({ hash: TokenHash, scopes: z.array(z.string()), expiresAt: z.number() })),
  /** The refresh token that is good now. */
  refreshToken: TokenHash.optional(),
  /** Refresh tokens replaced a moment ago, newest first, with what replaced them. */
  replaced: z.array(z.object({ hash: TokenHash, until: z.number(), answer: IssuedTokens })),
  upstream: UpstreamTokens,
});
export type Grant = z.infer<typeof Grant>;

/** What the user approved, ready to become a grant. */
export interface ApprovedRequest {
  clientId: string;
  redirectUri: ValidatedRedirectUri;
  codeChallenge: string;
  resource: string;
  scopes: readonly string[];
}

export interface Grants {
  /** Makes the grant of a finished login and returns the authorization code that stands for it. */
  open(request: ApprovedRequest, login: UpstreamLogin): Promise<string>;
  find(id: string): Promise<Grant | undefined>;
  /** See {@link Store.update}. */
  update<Result>(id: string, decide: (grant: Grant | undefined) => GrantChange<Result>): Promise<Result>;
  /** Ends the grant and every token of it, everywhere. True for the caller who ended it. */
  end(id: string): Promise<boolean>;
}

export type GrantChange<Result> = { write?: Grant; result: Result };

// An access token stays good when it is refreshed early; a client that refreshes all the time keeps the newest few.
const MAX_ACCESS_TOKENS = 8;
const MAX_REPLACED = 16;

export function createGrants(
  store: Store<Grant>,
  lifetimes: Lifetimes,
  { now, randomBytes }: Pick<Surroundings, "now" | "randomBytes">,
): Grants {
  /** A grant lives as long as its code, then as long as it is used, and never beyond its end. */
  function ttlSeconds(grant: Grant): number {
    const idleEnd = grant.code.redeemed ? now() + lifetimes.grantIdleSeconds : grant.code.expiresAt;
    return Math.max(1, Math.min(idleEnd, grant.expiresAt) - now());
  }

  return {
    async open(request, login) {
      const id = randomBytes(GRANT_ID_BYTES).toString("base64url");
      const code = mintToken("code", id, randomBytes(SECRET_BYTES));
      const grant: Grant = {
        version: 1,
        id,
        clientId: request.clientId,
        subject: login.subject,
        resource: request.resource,
        scopes: [...request.scopes],
        claims: login.claims,
        createdAt: now(),
        expiresAt: grantEnd(login.tokens, now() + lifetimes.grantSeconds),
        familyKey: randomBytes(SECRET_BYTES).toString("base64url"),
        code: {
          hash: hashToken(code),
          redirectUri: request.redirectUri,
          codeChallenge: request.codeChallenge,
          expiresAt: now() + lifetimes.authorizationCodeSeconds,
          redeemed: false,
        },
        accessTokens: [],
        replaced: [],
        upstream: login.tokens,
      };
      await store.put(id, grant, ttlSeconds(grant));
      return code;
    },
    find: (id) => store.get(id),
    update: (id, decide) =>
      store.update(id, (grant) => {
        const { write, result } = decide(grant);
        return write === undefined ? { result } : { write, ttlSeconds: ttlSeconds(write), result };
      }),
    end: (id) => store.delete(id),
  };
}

/** Without a refresh token upstream there is no way to learn that the user lost access: the grant ends with theirs. */
function grantEnd(upstream: UpstreamTokens, latest: number): number {
  return upstream.refreshToken === undefined ? Math.min(latest, upstream.expiresAt ?? latest) : latest;
}

/** Fresh secrets for one answer of the token endpoint, made before the change is decided. */
export interface NewTokens {
  accessToken: string;
  refreshToken: string | undefined;
}

export function mintTokens(
  grant: Grant,
  withRefreshToken: boolean,
  randomBytes: Surroundings["randomBytes"],
): NewTokens {
  return {
    accessToken: mintToken("access", grant.id, randomBytes(SECRET_BYTES)),
    refreshToken: withRefreshToken
      ? mintRefreshToken(grant.id, randomBytes(SECRET_BYTES), grant.familyKey)
      : undefined,
  };
}

/** The grant with new tokens added, and the answer that carries them. Pure: everything is an argument. */
export function addTokens(
  grant: Grant,
  tokens: NewTokens,
  scopes: readonly string[],
  lifetimes: Lifetimes,
  now: number,
): { grant: Grant; issued: IssuedTokens } {
  // Never outlives what it stands for: the grant, and the user's own access token at the provider.
  const expiresAt = Math.min(
    now + lifetimes.accessTokenSeconds,
    grant.expiresAt,
    grant.upstream.expiresAt ?? Infinity,
  );
  const issued: IssuedTokens = {
    accessToken: tokens.accessToken,
    ...(tokens.refreshToken !== undefined && { refreshToken: tokens.refreshToken }),
    scopes: [...scopes],
    expiresAt,
  };
  const accessTokens = [
    { hash: hashToken(tokens.accessToken), scopes: [...scopes], expiresAt },
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

/** Remembers what replaced a refresh token, and forgets what was replaced longer ago than the grace. */
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
