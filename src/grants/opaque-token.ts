/**
 * Our tokens on the wire: a prefix for the kind, the id of the grant, and a random secret. Only the hash is ever stored. With
 * the grant's id one look-up is enough; knowing the id gives no access.
 */
import { createHmac } from "node:crypto";
import { z } from "zod";
import { isEqualInConstantTime } from "../oauth/constant-time.ts";
import { sha256 } from "../oauth/sha256.ts";

const PREFIX = { code: "mcp_ac_", access: "mcp_at_", refresh: "mcp_rt_" } as const;

export type TokenKind = keyof typeof PREFIX;

/** SHA-256 of a token as it goes over the wire, prefix and all: a token of one kind never matches another. */
export const TokenHash = z.string().brand<"TokenHash">();
export type TokenHash = z.infer<typeof TokenHash>;

const GRANT_ID = "[A-Za-z0-9_-]{22}";
const SECRET = "[A-Za-z0-9_-]{43}";
const TAG = "[A-Za-z0-9_-]{22}";
const SYNTAX: Record<TokenKind, RegExp> = {
  code: new RegExp(`^${PREFIX.code}(${GRANT_ID})${SECRET}$`),
  access: new RegExp(`^${PREFIX.access}(${GRANT_ID})${SECRET}$`),
  refresh: new RegExp(`^${PREFIX.refresh}(${GRANT_ID})${SECRET}${TAG}$`),
};

export const SECRET_BYTES = 32;
const TAG_BYTES = 16;

/** A new token for a grant. `secret` is {@link SECRET_BYTES} random bytes. */
export function mintToken(kind: "code" | "access", grantId: string, secret: Buffer): string {
  return PREFIX[kind] + grantId + secret.toString("base64url");
}

/** A new refresh token: it carries a tag of its family, by which it is known as ours long after it was replaced. */
export function mintRefreshToken(grantId: string, secret: Buffer, familyKey: string): string {
  const body = PREFIX.refresh + grantId + secret.toString("base64url");
  return body + familyTag(body, familyKey);
}

/** True if this refresh token was once issued to this family, even if nothing else of it is stored any more. */
export function belongsToFamily(refreshToken: string, familyKey: string): boolean {
  const tag = familyTag(refreshToken.slice(0, -22), familyKey);
  return isEqualInConstantTime(tag, refreshToken.slice(-22));
}

function familyTag(body: string, familyKey: string): string {
  return createHmac("sha256", familyKey).update(body).digest().subarray(0, TAG_BYTES).toString("base64url");
}

export interface PresentedToken {
  value: string;
  hash: TokenHash;
  grantId: string;
}

/** Whether it begins like any token or code of this server: then nobody else is asked about it. */
export function looksLikeOurs(value: string): boolean {
  return Object.values(PREFIX).some((prefix) => value.startsWith(prefix));
}

/** Reads a token that somebody presented; undefined if it is not even shaped like one of this kind. */
export function readToken(kind: TokenKind, value: string): PresentedToken | undefined {
  const grantId = SYNTAX[kind].exec(value)?.[1];
  return grantId === undefined ? undefined : { value, hash: hashToken(value), grantId };
}

export function hashToken(value: string): TokenHash {
  return sha256(value) as TokenHash;
}
